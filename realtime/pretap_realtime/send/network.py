"""Network outputs: the same messages as the LSL streams over WebSocket, OSC and UDP. See docs/outputs.md.

A thread of its own sends; the thread that decodes only puts messages into a bounded queue. `serve` imports this only if
an output is on, so that otherwise no library is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from pretap.config.serve import OutputsConfig
from pretap_realtime.send.address import describe, resolve, warning
from pretap_realtime.send.datagrams import OscSender, Sender, UdpSender
from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Item

__all__ = ["OutputSink", "open_outputs"]

_MOST_WAITING = 512  # messages: half a second at 1000 decisions a second
_CLOSE_S = 1.0


class OutputSink:
    """Sends every message by all ways that are on; what finds too many waiting is dropped, counted and said."""

    def __init__(self, senders: Sequence[Sender], *, say: Callable[[str], None]) -> None:
        self.n_dropped = 0
        self._senders, self._say = senders, say
        self._failed: set[str] = set()  # names of those whose failure was said
        self._waiting: deque[tuple[Message, Item]] = deque()
        self._is_woken = False  # the thread is about to look at `_waiting`
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="outputs", daemon=True)
        self._thread.start()

    def hurry(self, items: Sequence[Item]) -> None:
        """Wait for the messages."""

    def send(self, batch: Sequence[tuple[Message, Item]]) -> None:
        """Put messages into the queue; never waits."""
        n_free = _MOST_WAITING - len(self._waiting)
        self._waiting.extend(batch[:n_free])
        if len(batch) > n_free:
            self._drop(len(batch) - n_free)
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._send_all)

    @property
    def may_hang(self) -> bool:
        return True

    def rescue(self) -> str:
        """Nothing waits in here."""
        return "the outputs were slow to take messages"

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Send what waits, say goodbye and let go of ports."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, by a bug
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(timeout_s)
        if self.n_dropped:
            self._say(f"the outputs dropped {self.n_dropped} messages")

    def _work(self) -> None:
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._loop.close()  # `send` raises from now on: the publisher says it, and goes on without this sink

    async def _run(self) -> None:
        for sender in self._senders:
            await sender.start()
        await self._ended.wait()
        self._send_all()
        for sender in self._senders:
            await sender.stop()

    def _send_all(self) -> None:
        self._is_woken = False
        waiting = self._waiting
        while waiting:
            message, item = waiting.popleft()
            for sender in self._senders:
                try:
                    sender.send(message, item)
                except OSError as error:
                    self.n_dropped += 1
                    if sender.name not in self._failed:
                        self._failed.add(sender.name)
                        self._say(f"WARNING: {sender.name}: a message could not be sent: {error.strerror or error}")

    def _drop(self, n: int) -> None:
        if not self.n_dropped:
            self._say("WARNING: the outputs are slower than the decisions: messages are dropped, and counted")
        self.n_dropped += n


def open_outputs(config: OutputsConfig, *, root: str, classes: Sequence[str], say: Callable[[str], None]) -> OutputSink:
    """Open what the configuration wants, and say where.

    Raises
    ------
    UsageError
        For an address that is none or is taken.
    MissingPackageError
        Where a library is not installed.
    """
    senders: list[Sender] = []
    if config.websocket:
        from pretap_realtime.send.websocket import WebSocketServer

        address = resolve("websocket", config.websocket, kind=socket.SOCK_STREAM)
        server = WebSocketServer(address, origins=config.websocket_origins, say=say)
        senders.append(server)
        say(f"WebSocket: ws://{describe(server.address)}{warning(server.address, 'whoever reaches it can read along')}")
    if config.osc:
        address = resolve("osc", config.osc, kind=socket.SOCK_DGRAM)
        senders.append(OscSender(address, root=root, classes=classes))
        say(f"OSC: /{root}/... to {describe(address)}{warning(address, 'whoever is on the way can read along')}")
    if config.udp:
        address = resolve("udp", config.udp, kind=socket.SOCK_DGRAM)
        senders.append(UdpSender(address))
        say(f"UDP: JSON to {describe(address)}{warning(address, 'whoever is on the way can read along')}")
    return OutputSink(senders, say=say)
