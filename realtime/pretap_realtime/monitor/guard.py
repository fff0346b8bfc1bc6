"""Guard: an ASGI layer that restricts who can use the page's server and what the page can do. Used by `server`.

The page is read-only: nothing that a browser sends changes anything, and the WebSocket accepts no messages.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        why = self._refusal(scope)
        if scope["type"] == "websocket":
            if why:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": why})  # before accept: HTTP 403
                return
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        if why:
            code = 405 if why == "method" else 421 if why == "host" else 403
            body = {
                "method": b"only GET is allowed",
                "host": b"not a name of this server",
                "origin": b"not an origin of this server",
            }[why]
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await with_headers({"type": "http.response.start", "status": code, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> str:
        """Return the invalid part of a request (method, host or origin), or an empty string."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            return "method"
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "host"
        origins = _values(scope, b"origin")
        if any(origin.lower() not in self._origins for origin in origins):
            return "origin"
        if scope["type"] == "websocket" and len(origins) != 1:
            return "origin"
        return ""


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
