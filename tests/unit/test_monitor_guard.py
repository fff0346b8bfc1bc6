"""Which requests the monitor answers, and what its page may do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import pretap_realtime.monitor as package
from pretap_realtime.monitor.guard import Guard, allowed_hosts


def ask(*, host="127.0.0.1:8010", origin=None, method="GET", kind="http"):
    """Send a request through a guard; return the status or close code, and whether it reached the application."""
    sent, reached = [], []

    async def app(scope, receive, send):
        reached.append(scope)
        if kind == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        else:
            await send({"type": "websocket.accept"})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", each.encode()) for each in ([host] if isinstance(host, str) else host)]
    headers += [(b"origin", origin.encode())] if origin is not None else []
    scope = {"type": kind, "method": method, "headers": headers}
    asyncio.run(Guard(app, hosts=allowed_hosts(["lab-pc"], 8010))(scope, receive, send))
    return sent[0].get("status") or sent[0].get("code", 0), bool(reached), sent[0]


@pytest.mark.parametrize("host", ["127.0.0.1:8010", "localhost:8010", "[::1]:8010", "LAB-PC:8010"])
def test_our_own_names_are_accepted(host):
    assert ask(host=host)[:2] == (200, True)


@pytest.mark.parametrize("host", ["evil.example:8010", "127.0.0.1", "127.0.0.1:80", "", [], ["localhost:8010"] * 2])
def test_another_host_is_refused(host):
    assert ask(host=host)[:2] == (421, False)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost:8010", "http://localhost:80"])
def test_another_origin_is_refused(origin):
    assert ask(origin=origin)[:2] == (403, False)
    assert ask(origin=origin, kind="websocket")[:2] == (1008, False)


def test_a_socket_without_an_origin_is_refused():
    assert ask(kind="websocket")[:2] == (1008, False)
    assert ask(kind="websocket", origin="http://localhost:8010")[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_get_and_head_are_allowed(method):
    assert ask(method=method)[:2] == (405, False)


def test_every_response_forbids_inline_scripts_and_frames():
    for status in (ask(), ask(host="evil:1")):
        headers = {key.decode(): value.decode() for key, value in status[2]["headers"]}
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_inline_script_or_style_and_writes_no_markup():
    static = Path(package.__file__).with_name("static")
    html = (static / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|style=|javascript:|//[a-z]", html)
    code = "".join(file.read_text() for file in static.glob("*.js")).replace("http://www.w3.org/2000/svg", "")
    assert "textContent" in code
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|https?://", code)
