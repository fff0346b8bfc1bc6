"""The monitor as a real process: which clients can read it, and what it shows of a service."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import secrets
import signal
import socket

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.send.messages import Message, encode

MARKUP = '<img src=x onerror="alert(1)">'


@pytest.fixture
def monitor(start):
    """Start a monitor that follows a service of its own; return the process and its port."""

    def begin(*arguments: str):
        child = start("monitor", "--port", "0", *(arguments or ("--service", f"none-{secrets.token_hex(4)}")))
        said = child.wait_for(r"http://127\.0\.0\.1:\d+/")
        return child, int(re.search(r":(\d+)/", said)[1])

    return begin


def page(port, **options):
    settings = {"origin": f"http://127.0.0.1:{port}", "compression": None, "open_timeout": 60} | options
    return connect(f"ws://127.0.0.1:{port}/live", **settings)


def read_on(socket_):
    """Read until the socket is closed."""
    while True:
        socket_.recv(timeout=60)


def get(port, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_only_the_files_of_the_page_are_served_with_a_content_policy(monitor):
    _, port = monitor()
    answer, body = get(port)
    assert (answer.status, answer.getheader("content-type")) == (200, "text/html; charset=utf-8")
    assert b"<title>pretap monitor</title>" in body
    assert "default-src 'none'" in answer.getheader("content-security-policy")
    assert answer.getheader("server") is None
    assert get(port, "/main.js")[0].getheader("content-type").startswith("text/javascript")
    for path in ("/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "//etc/passwd", "/static/", "/live"):
        assert get(port, path)[0].status == 404, path
    assert get(port, Host=f"evil.example:{port}")[0].status == 421
    assert get(port, Origin="http://evil.example")[0].status == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None])
def test_another_page_cannot_open_the_socket(monitor, origin):
    _, port = monitor()
    with pytest.raises(InvalidStatus) as refused:
        page(port, origin=origin)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("sent", ["hello", b"\0" * 16, "x" * 100_000])
def test_a_page_that_sends_a_message_is_closed_and_the_others_continue(monitor, sent):
    _, port = monitor()
    with page(port) as quiet, page(port) as loud:
        loud.send(sent)
        with pytest.raises(ConnectionClosed) as closed:
            read_on(loud)
        assert closed.value.rcvd.code in (1008, 1009)
        assert json.loads(quiet.recv(timeout=60))


def test_the_ninth_page_is_refused_until_another_is_closed(monitor, kit):
    _, port = monitor()
    with contextlib.ExitStack() as pages:
        for _ in range(7):
            pages.enter_context(page(port))
        with page(port), pytest.raises(InvalidStatus), page(port):
            pass

        def opens():
            try:
                pages.enter_context(page(port))
            except InvalidStatus:
                return False
            return True

        kit.until(opens, "a free place")


def test_a_port_in_use_is_exit_2_and_ctrl_c_is_exit_0(start, monitor):
    child, port = monitor()
    other = start("monitor", "--port", str(port))
    assert other.wait() == 2
    assert f"port {port}" in other.said
    with page(port):
        assert child.interrupt() == 0
    assert "Traceback" not in child.said
    assert monitor()[0].interrupt(signal.SIGTERM) == 0


def test_listening_on_other_addresses_causes_a_warning(start):
    child = start("monitor", "--host", "0.0.0.0", "--port", "0", "--allow-host", "lab-pc", "--service", "nobody")
    said = child.wait_for(r"WARNING: .*lab-pc:\d+/")
    assert "anyone who can reach this port can read the EEG" in said
    port = int(re.search(r"lab-pc:(\d+)", said)[1])
    assert get(port, Host=f"lab-pc:{port}")[0].status == 200
    assert get(port, Host=f"other-pc:{port}")[0].status == 421


class Service:
    """The three outlets of a service and a marker stream of another program, controlled by the test."""

    def __init__(self, name: str, classes=("left", "right"), *, described="", truth="string") -> None:
        self.name = name
        labels, facts = [*classes, "quality"], {"service": described} if described else {}
        self.rows = Outlet(f"{name}-probabilities", "Probabilities", labels=labels, format="float32", facts=facts)
        self.codes = Outlet(f"{name}-codes", "Markers", labels=["code"], format="int32")
        self.messages = Outlet(f"{name}-markers", "Markers", labels=["message"], format="string")
        self.truth = Outlet(f"{name}-task", "Markers", labels=["marker"], format=truth)
        self._seq = 0

    def say(self, **facts) -> None:
        now_s = local_clock()
        message = Message(
            **({"type": "heartbeat", "state": "RUNNING", "seq": self._seq, "t": now_s, "sent": now_s} | facts)
        )
        self._seq += 1
        self.messages.push_sample([encode(message)], now_s)

    def has_readers(self) -> bool:
        return all(outlet.has_consumers() for outlet in (self.rows, self.codes, self.messages, self.truth))


def collect(socket_, kit, condition):
    """Read updates until a condition on all of them holds."""
    updates, frames = [], []

    def look():
        data = socket_.recv(timeout=60)
        if isinstance(data, bytes):
            frames.append(data)
        else:
            updates.append(json.loads(data))
        return condition(updates, frames)

    kit.until(look, lambda: f"in {updates[-3:]}")
    return updates, frames


@pytest.mark.parametrize("as_json", [True, False])
def test_it_follows_a_service_and_counts_its_correct_verdicts_unless_it_sends_plain_labels(monitor, kit, as_json):
    service, n_judged = Service(f"svc-{secrets.token_hex(4)}"), 2 if as_json else 0
    amplifier = kit.Amplifier(sfreq_hz=1000.0)
    _, port = monitor("--service", service.name, "--query", amplifier.name, "--cue-query", f"{service.name}-task")
    with page(port) as socket_:
        amplifier.wait_for_reader()
        kit.until(service.has_readers, "the monitor on all outlets")
        x = kit.eeg(200)
        amplifier.push(x)
        if as_json:
            service.say(type="state", why="fits")
            kit.until(lambda: not service.rows.has_consumers(), "the numbers are left alone")
        now_s = local_clock()
        if as_json:
            service.say(type="verdict", label="left", p={"left": 0.9, "right": 0.1}, t=now_s)
        else:
            service.messages.push_sample(["left"], now_s)
            service.rows.push_sample([0.9, 0.1, 0.75], now_s)
            service.codes.push_sample([1], now_s)
        service.truth.push_sample(["trial/0/end/left"], now_s)
        service.truth.push_sample(["trial/1/end/right"], now_s)
        if as_json:
            service.say(lost=3, bad=("C3",), why="C3: railed")
        wanted = {"lost": 3} if as_json else {"quality": 0.75}
        updates, frames = collect(
            socket_,
            kit,
            lambda updates, frames: (
                any(wanted.items() <= (u.get("figures") or {}).items() for u in updates)
                and any((u.get("figures") or {}).get("n_judged") == n_judged for u in updates)
                and sum(e["kind"] == "marker" for u in updates for e in u.get("events", [])) == 2
                and sum(np.frombuffer(f[:4], "<u4")[0] for f in frames) == len(x)
            ),
        )
    samples = np.concatenate(
        [np.frombuffer(f, "<f4", offset=16 + 8 * int.from_bytes(f[:4], "little")).reshape(-1, 4) for f in frames]
    )
    np.testing.assert_array_equal(samples, x)
    assert [row[1] for u in updates for row in u.get("decisions", [])] == [[0.9, 0.1]]
    judged = [(j["truth"], j["label"], j["correct"]) for u in updates for j in u.get("judged", [])]
    assert judged == [("left", "left", True), ("right", "left", False)][:n_judged]
    figures = [u["figures"] for u in updates if u.get("figures")][-1]
    assert (figures["n_correct"], figures["n_judged"], figures["unreadable"]) == (n_judged // 2, n_judged, 0)
    assert ("plain labels" in figures["why_not_judged"]) == (not as_json)
    assert (figures["state"], figures["bad"]) == (("RUNNING", ["C3"]) if as_json else ("", []))


@pytest.mark.parametrize(
    ("described", "n_judged"),
    [('{"events":{"left":["1"],"right":["2"]},"offset_ms":-130.0}', 2), ("", 0), ("no json", 0)],
)
def test_a_number_is_a_true_marker_if_the_service_tells_its_class(monitor, kit, described, n_judged):
    service = Service(f"svc-{secrets.token_hex(4)}", described=described, truth="int32")
    _, port = monitor("--service", service.name, "--query", "name=nobody", "--cue-query", f"{service.name}-task")
    with page(port) as socket_:
        kit.until(service.has_readers, "the monitor on all outlets")
        now_s = local_clock()
        service.say(type="verdict", label="left", p={"left": 0.9, "right": 0.1}, t=now_s - 0.13)
        for code in (1, 2, 7):
            service.truth.push_sample([code], now_s)
        service.say(type="verdict", label="left", p={"left": 0.9, "right": 0.1}, t=now_s)
        updates, _ = collect(
            socket_,
            kit,
            lambda updates, _: (
                sum(event["kind"] == "marker" for u in updates for event in u.get("events", [])) == 3
                and any((u.get("figures") or {}).get("n_judged", -1) == n_judged for u in updates)
            ),
        )
    markers = [event["text"] for u in updates for event in u.get("events", []) if event["kind"] == "marker"]
    assert markers == ["1", "2", "7"]
    judged = [(j["truth"], j["label"], j["correct"]) for u in updates for j in u.get("judged", [])]
    assert judged == [("left", "left", True), ("right", "left", False)][:n_judged]


def test_two_services_are_listed_and_neither_is_followed(monitor, kit):
    first, second = (Service(f"two-{secrets.token_hex(4)}") for _ in range(2))
    _, port = monitor("--query", "name=nobody")
    with page(port) as socket_:
        updates, _ = collect(
            socket_,
            kit,
            lambda updates, _: any(first.name in (u.get("about") or {}).get("problem", "") for u in updates),
        )
    problem = next(u["about"]["problem"] for u in updates if first.name in (u.get("about") or {}).get("problem", ""))
    assert second.name in problem
    assert "--service" in problem
    assert not first.rows.has_consumers()


def test_a_flood_of_messages_does_not_affect_the_page(monitor, kit):
    service = Service(f"flood-{secrets.token_hex(4)}")
    _, port = monitor("--service", service.name, "--query", "name=nobody", "--cue-query", f"{service.name}-task")
    with page(port) as socket_:
        kit.until(service.has_readers, "the monitor on all outlets")
        for k in range(3000):
            service.truth.push_sample([MARKUP * 100], local_clock())
            service.messages.push_sample(["{" * 3000], local_clock())
            service.rows.push_sample([float("nan")] * 3, k)
        service.say(type="state", state="STALE", why="still here")
        updates, _ = collect(
            socket_, kit, lambda updates, _: any((u.get("figures") or {}).get("state") == "STALE" for u in updates)
        )
    events = [e for u in updates for e in u.get("events", [])]
    assert max(len(e["text"]) for e in events) <= 300
    assert max(len(u.get("events", [])) for u in updates) <= 600


def test_garbage_on_the_port_is_ignored(monitor):
    _, port = monitor()
    for garbage in (b"\0" * 1000, b"GET / HTTP/1.1\r\nHost: " + b"a" * 100_000, b"GET /live HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
            raw.sendall(garbage)
    assert get(port)[0].status == 200
