"""NetworkSink: sends the messages of the LSL streams over WebSocket, OSC and UDP as well. See docs/outputs.md.

`serve` imports this only if an output is on, so that otherwise no library of an output is loaded.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pretap.config.serve import OutputsConfig
from pretap_realtime.console.background_writer import BackgroundWriter
from pretap_realtime.send.network.address import describe, resolve, warning
from pretap_realtime.send.network.datagrams import OscSender, UdpSender
from pretap_realtime.send.sink import Outgoing

if TYPE_CHECKING:
    from pretap_realtime.send.network.websocket import WebSocketServer

_MAX_PENDING: Final = 512  # messages: half a second at 1000 decisions a second
_CLOSE_S: Final = 1.0


class NetworkSink:
    """Sends every message with all senders, in a thread of its own. If too many are pending, the rest are dropped."""

    def __init__(self, senders: Sequence[UdpSender | WebSocketServer], *, say: Callable[[str], None]) -> None:
        self._senders, self._say = senders, say
        self._n_failed = 0
        self._failed: set[str] = set()  # names of senders whose failure was said
        self._writer = BackgroundWriter(self._send, name="outputs", max_pending=_MAX_PENDING)

    @property
    def n_dropped(self) -> int:
        """How many messages could not be sent."""
        return self._writer.n_dropped + self._n_failed

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Queue the messages."""
        had_dropped = self.n_dropped > 0
        for each in batch:
            if not self._writer.put(each) and not had_dropped:
                had_dropped = True
                self._say("WARNING: the outputs are slower than the decisions: messages are dropped, and counted")

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Send what is pending, then close connections and ports."""
        if self._writer.close(timeout_s) == 0:
            for sender in self._senders:
                sender.close()
        if self.n_dropped:
            self._say(f"the outputs dropped {self.n_dropped} messages")

    def _send(self, item: Outgoing) -> None:
        for sender in self._senders:
            try:
                sender.send(item)
            except OSError as error:
                self._n_failed += 1
                if sender.name not in self._failed:
                    self._failed.add(sender.name)
                    self._say(f"WARNING: {sender.name}: a message could not be sent: {error.strerror or error}")


def open_outputs(config: OutputsConfig, *, root: str, say: Callable[[str], None]) -> NetworkSink:
    """Open the outputs of the configuration, and tell the operator where.

    Raises
    ------
    UsageError
        If an address is invalid or taken.
    MissingPackageError
        If a library is not installed.
    """
    senders: list[UdpSender | WebSocketServer] = []
    if config.websocket:
        from pretap_realtime.send.network.websocket import WebSocketServer

        address = resolve("websocket", config.websocket, kind=socket.SOCK_STREAM)
        server = WebSocketServer(address, origins=config.websocket_origins, say=say)
        senders.append(server)
        say(f"WebSocket: ws://{describe(server.address)}{warning(server.address, 'anyone who reaches it can read')}")
    if config.osc:
        address = resolve("osc", config.osc, kind=socket.SOCK_DGRAM)
        senders.append(OscSender(address, root=root))
        say(f"OSC: /{root}/... to {describe(address)}{warning(address, 'anyone on the way can read')}")
    if config.udp:
        address = resolve("udp", config.udp, kind=socket.SOCK_DGRAM)
        senders.append(UdpSender(address))
        say(f"UDP: JSON to {describe(address)}{warning(address, 'anyone on the way can read')}")
    return NetworkSink(senders, say=say)
