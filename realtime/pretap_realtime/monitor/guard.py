"""Guard: an ASGI layer that restricts who can use the page's server and what the page can do. Used by `server`.

The page is read-only: nothing that a browser sends changes anything, and the WebSocket accepts no messages.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

_HEADERS: Final = {
    # default-src 'none': no inline script or style, no eval, nothing from other servers, no frames.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_REFUSALS: Final = {  # status and text
    "method": (405, "only GET is allowed"),
    "host": (421, "not a name of this server"),
    "origin": (403, "not an origin of this server"),
}


def allowed_hosts(names: Collection[str], port: int) -> frozenset[str]:
    """Return the accepted values of a Host header; another name that resolves to this machine is not among them."""
    loopback = {"127.0.0.1", "localhost", "[::1]"}
    each = loopback | {name.lower() for name in names}
    return frozenset({f"{name}:{port}" for name in each} | (each if port == 80 else set()))


class Guard:
    """Refuses requests with another Host or Origin and methods other than GET and HEAD; adds `_HEADERS` to responses.

    A WebSocket must state its Origin, as browsers always do; otherwise any web page could read the EEG.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        why = self._refusal(scope)
        if scope["type"] == "websocket":
            if why:
                await receive()
                await WebSocketClose(1008, why)(scope, receive, send)  # before accept: HTTP 403
            else:
                await self._app(scope, receive, send)
        elif why:
            status, text = _REFUSALS[why]
            await PlainTextResponse(text, status)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> str:
        """Return the invalid part of a request (method, host or origin), or an empty string."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            return "method"
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "host"
        is_foreign = any(origin.lower() not in self._origins for origin in origins)
        is_missing = scope["type"] == "websocket" and len(origins) != 1
        return "origin" if is_foreign or is_missing else ""
