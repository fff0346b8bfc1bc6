"""WebSocketServer: sends each message to its clients, as JSON in a text frame. Used by `network`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

from pretap.errors import MissingPackageError, UsageError
from pretap_realtime.send.messages import Message, encode
from pretap_realtime.send.network.address import Address
from pretap_realtime.send.sink import Outgoing

try:
    from websockets.asyncio.server import ServerConnection, broadcast, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
except ImportError:
    raise MissingPackageError.for_extra("outputs.websocket", missing="websockets", extra="outputs") from None

MAX_CLIENTS: Final = 16
_MAX_HANDSHAKES: Final = 16  # connections that have not sent their request yet
_MAX_UNSENT_BYTES: Final = 64 * 1024  # some 200 messages
_MAX_FRAME_BYTES: Final = 1024  # from a client, which has nothing to send
_MAX_REFUSALS: Final = 10  # origins that are said to be refused
_OPEN_S, _PING_S, _CLOSE_S = 2.0, 5.0, 0.5


class WebSocketServer:
    """Sends messages to all clients; a new one gets the newest state at once.

    Programs may connect, and web pages whose origin is listed. A client that sends anything is disconnected. So is one
    that reads too slowly or does not answer pings, because it would show decisions of the past.

    Raises
    ------
    UsageError
        If the address cannot be listened on.
    """

    name = "outputs.websocket"

    def __init__(self, address: Address, *, origins: Collection[str], say: Callable[[str], None]) -> None:
        family, host_port = address[0], address[1][:2]
        try:
            self._socket = socket.create_server(host_port, family=family)
        except OSError as error:
            raise UsageError(
                f"outputs.websocket: cannot listen on {host_port[0]} port {host_port[1]}: {error.strerror}. Is it "
                "another service's? Each decoder needs a port of its own."
            ) from None
        # Each accepted socket inherits it: fewer old messages are on the way to a slow client.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_UNSENT_BYTES)
        self.address: Address = (family, self._socket.getsockname())
        self._admission = _Admission(origins, say)
        self._say = say
        self._clients: set[ServerConnection] = set()
        self._state = ""  # the newest message that tells it
        self._loop, self._must_end = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="websocket", daemon=True)
        self._thread.start()

    def send(self, item: Outgoing) -> None:
        """Send a message to all clients, without waiting."""
        self._loop.call_soon_threadsafe(self._broadcast, item.message)

    def close(self) -> None:
        """Close all connections and the port."""
        with contextlib.suppress(RuntimeError):  # the event loop has ended, by a bug
            self._loop.call_soon_threadsafe(self._must_end.set)
        self._thread.join(2 * _CLOSE_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()  # from now on `send` raises, and the publisher leaves the network outputs out

    async def _serve(self) -> None:
        silent = logging.getLogger("pretap.websocket")  # it would show a traceback of each failed handshake
        silent.disabled = True
        async with serve(
            self._attend,
            sock=self._socket,
            process_request=self._admission.check,
            create_connection=cast("type[ServerConnection]", partial(_Connection, self._admission.connections)),
            compression=None,
            open_timeout=_OPEN_S,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=_CLOSE_S,
            max_size=_MAX_FRAME_BYTES,
            max_queue=1,
            server_header=None,
            logger=silent,
        ):
            await self._must_end.wait()

    def _broadcast(self, message: Message) -> None:
        text = encode(message).decode()
        if message.type != "verdict":
            self._state = text
        broadcast(self._clients, text)
        for client in [each for each in self._clients if each.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES]:
            self._clients.discard(client)
            client.transport.abort()
            self._say("WebSocket: a client was too slow, and was disconnected")

    async def _attend(self, client: ServerConnection) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            await client.close(1013, f"there are {MAX_CLIENTS} clients already")
            return
        try:
            if self._state:
                await client.send(self._state)
            self._clients.add(client)
            await client.recv()
            await client.close(1008, "this server accepts no messages")
        except ConnectionClosed as end:
            if end.sent is not None and end.sent.code == 1011:
                self._say("WebSocket: a client did not answer, and was disconnected")
        finally:
            self._clients.discard(client)


class _Admission:
    """Decides which requests may connect, and holds all connections, also those without a request yet."""

    def __init__(self, origins: Collection[str], say: Callable[[str], None]) -> None:
        self.connections: set[ServerConnection] = set()
        self._origins, self._say = frozenset(origins), say
        self._refused: set[str] = set()

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse web pages whose origin is not listed, because a browser connects to this machine for any page."""
        foreign = [each for each in request.headers.get_all("Origin") if each not in self._origins]
        if not foreign:
            return None
        if foreign[0] not in self._refused and len(self._refused) < _MAX_REFUSALS:
            self._refused.add(foreign[0])
            self._say(
                f"WebSocket: refused a web page from {foreign[0][:100]!r}; list its origin in "
                "outputs.websocket_origins if it may read the decisions"
            )
        return connection.respond(HTTPStatus.FORBIDDEN, "This origin is not in outputs.websocket_origins.\n")


class _Connection(ServerConnection):
    """A connection that closes at once if too many are open, with or without a request."""

    def __init__(self, siblings: set[ServerConnection], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._siblings = siblings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._siblings.add(self)
        if len(self._siblings) > MAX_CLIENTS + _MAX_HANDSHAKES:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._siblings.discard(self)
        super().connection_lost(exc)
