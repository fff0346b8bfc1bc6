"""The WebSocket output: a server that only speaks. Each text frame is the JSON of one message."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from pretap.errors import MissingPackageError, UsageError
from pretap_realtime.send.address import Address
from pretap_realtime.send.messages import Message, encode
from pretap_realtime.send.sink import Item

try:
    from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
except ImportError:
    raise MissingPackageError.for_extra("outputs.websocket", missing="websockets", extra="outputs") from None

__all__ = ["WebSocketServer"]

MOST_CLIENTS = 16
_MOST_HANDSHAKES = 16  # connections that have not said yet what they want
_MOST_BEHIND = 64 * 1024  # bytes: some 200 messages
_MOST_HEARD = 1024  # bytes of a frame from a client; it has nothing to say
_MOST_NAMED = 10  # refused origins that are said
_OPEN_S, _PING_S, _CLOSE_S = 2.0, 5.0, 0.5


class WebSocketServer:
    """Sends messages to all clients; a newcomer gets the newest state at once.

    Programs may connect, and web pages whose origin is listed. A client that says anything is disconnected; so is one
    for which too much waits, or that does not answer pings: it would show decisions of the past.

    Raises
    ------
    UsageError
        Where the address cannot be listened on.
    """

    name = "outputs.websocket"

    def __init__(self, address: Address, *, origins: Collection[str], say: Callable[[str], None]) -> None:
        family, where = address
        try:
            self._socket = socket.create_server(where[:2], family=family)
        except OSError as error:
            raise UsageError(
                f"outputs.websocket: cannot listen on {where[0]} port {where[1]}: {error.strerror}. Is it another "
                "service's? Each decoder needs a port of its own."
            ) from None
        # Each accepted socket inherits it: less of the past is on the way to a slow client.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BEHIND)
        self.address: Address = (family, self._socket.getsockname())
        self._origins, self._say = frozenset(origins), say
        self._refused: set[str] = set()
        self._open: set[ServerConnection] = set()  # with those that have not said yet what they want
        self._clients: set[ServerConnection] = set()
        self._state = ""  # the newest message that tells it
        self._server: Server | None = None

    async def start(self) -> None:
        """Accept clients from now on."""
        silent = logging.getLogger("pretap.websocket")  # it would show a stack of each failed handshake
        silent.disabled = True
        self._server = await serve(
            self._attend,
            sock=self._socket,
            process_request=self._judge,
            create_connection=cast("type[ServerConnection]", partial(_Connection, self._open)),
            compression=None,
            open_timeout=_OPEN_S,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=_CLOSE_S,
            max_size=_MOST_HEARD,
            max_queue=1,
            server_header=None,
            logger=silent,
        )

    def send(self, message: Message, item: Item) -> None:  # noqa: ARG002 - of the protocol
        """Send a message to all clients."""
        text = encode(message).decode()
        if message.type != "verdict":
            self._state = text
        broadcast(self._clients, text)
        for client in [each for each in self._clients if each.transport.get_write_buffer_size() > _MOST_BEHIND]:
            self._clients.discard(client)
            client.transport.abort()
            self._say("WebSocket: a client was too slow, and was disconnected")

    async def stop(self) -> None:
        """Say goodbye to all clients."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse web pages whose origin is not listed: a browser connects to this machine for any page."""
        origins = request.headers.get_all("Origin")
        strange = [each for each in origins if each not in self._origins]
        if not strange:
            return None
        if strange[0] not in self._refused and len(self._refused) < _MOST_NAMED:
            self._refused.add(strange[0])
            self._say(
                f"WebSocket: refused a web page from {strange[0][:100]!r}; list its origin in "
                "outputs.websocket_origins if it may read along"
            )
        return connection.respond(HTTPStatus.FORBIDDEN, "This origin is not in outputs.websocket_origins.\n")

    async def _attend(self, client: ServerConnection) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            await client.close(1013, f"there are {MOST_CLIENTS} clients already")
            return
        try:
            if self._state:
                await client.send(self._state)
            self._clients.add(client)
            await client.recv()
            await client.close(1008, "nothing is heard here")
        except ConnectionClosed as end:
            if end.sent is not None and end.sent.code == 1011:
                self._say("WebSocket: a client did not answer, and was disconnected")
        finally:
            self._clients.discard(client)


class _Connection(ServerConnection):
    """A connection that ends at once where too many are open, whatever they say."""

    def __init__(self, siblings: set[ServerConnection], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._siblings = siblings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._siblings.add(self)
        if len(self._siblings) > MOST_CLIENTS + _MOST_HANDSHAKES:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._siblings.discard(self)
        super().connection_lost(exc)
