"""What is sent beside the LSL streams: the same messages over WebSocket, OSC and UDP. See docs/outputs.md.

A thread of its own sends; the thread that decodes only puts messages into a bounded queue. Where all outputs are off,
this is not imported, and no library loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pretap.errors import MissingPackageError, UsageError
from pretap.serve_config import OutputsConfig
from pretap.terminal import plain
from pretap_realtime.messages import Message, encode
from pretap_realtime.publisher import Item

__all__ = ["Address", "OscSender", "OutputSink", "Sender", "UdpSender", "open_outputs"]

_MOST_WAITING = 512  # messages: half a second at 1000 decisions a second
_CLOSE_S = 1.0
_MOST_INT32 = 2**31 - 1

Address = tuple[socket.AddressFamily, Any]  # resolved: the family, and what `bind` and `sendto` take


class Sender(Protocol):
    """A way out. All but its making happens in the thread of the outputs, and never waits."""

    name: str

    async def start(self) -> None: ...

    def send(self, message: Message, item: Item) -> None:
        """Send a message; raises OSError where that cannot be done."""
        ...

    async def stop(self) -> None: ...


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
            self._tell(f"the outputs dropped {self.n_dropped} messages")

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
                        self._tell(f"WARNING: {sender.name}: a message could not be sent: {error.strerror or error}")

    def _drop(self, n: int) -> None:
        if not self.n_dropped:
            self._tell("WARNING: the outputs are slower than the decisions: messages are dropped, and counted")
        self.n_dropped += n

    def _tell(self, sentence: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone
            self._say(sentence)


class UdpSender:
    """One datagram a message: its JSON. Nobody is told whether someone listens."""

    def __init__(self, address: Address, *, name: str = "outputs.udp") -> None:
        self.name = name
        family, self._to = address
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.settimeout(0)  # never wait: what does not fit is dropped

    async def start(self) -> None:
        """Nothing is to be started."""

    def send(self, message: Message, item: Item) -> None:  # noqa: ARG002 - of the protocol
        """Send the JSON of the message."""
        self.send_datagram(encode(message))

    def send_datagram(self, datagram: bytes) -> None:
        """Send these bytes."""
        self._socket.sendto(datagram, self._to)

    async def stop(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class OscSender(UdpSender):
    """OSC: ``/NAME/verdict label code p... quality``; for states and heartbeats ``/NAME/state state why lost``.

    A verdict that is a command is followed by ``/NAME/command label code``. As in the probabilities stream, all numbers
    of a verdict without a valid window are 0.

    Raises
    ------
    MissingPackageError
        Where python-osc is not installed.
    """

    def __init__(self, address: Address, *, root: str, classes: Sequence[str]) -> None:
        try:
            from pythonosc.osc_message_builder import OscMessageBuilder
        except ImportError:
            raise MissingPackageError.for_extra("outputs.osc", missing="python-osc", extra="outputs") from None
        super().__init__(address, name="outputs.osc")
        self._build, self._root, self._classes = OscMessageBuilder, root, tuple(classes)

    def send(self, message: Message, item: Item) -> None:
        """Send the message as OSC."""
        if message.type == "verdict":
            probs = [message.p.get(name, 0.0) for name in self._classes]
            quality = item.quality if message.p else 0.0
            kinds = "si" + "f" * (len(probs) + 1)
            self._send("verdict", kinds, message.label, item.code, *probs, quality)
            if message.command:
                self._send("command", "si", message.label, item.code)
        else:
            self._send("state", "ssi", message.state, plain(message.why), min(message.lost, _MOST_INT32))

    def _send(self, what: str, kinds: str, *values: str | float) -> None:
        message = self._build(f"/{self._root}/{what}")
        for value, kind in zip(values, kinds, strict=True):
            message.add_arg(value, kind)
        self.send_datagram(message.build().dgram)


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
        from pretap_realtime.websocket import WebSocketServer

        address = _resolve("websocket", config.websocket, kind=socket.SOCK_STREAM)
        server = WebSocketServer(address, origins=config.websocket_origins, say=say)
        senders.append(server)
        say(f"WebSocket: ws://{_words(server.address)}{_warning(server.address, 'whoever reaches it can read along')}")
    if config.osc:
        address = _resolve("osc", config.osc, kind=socket.SOCK_DGRAM)
        senders.append(OscSender(address, root=root, classes=classes))
        say(f"OSC: /{root}/... to {_words(address)}{_warning(address, 'whoever is on the way can read along')}")
    if config.udp:
        address = _resolve("udp", config.udp, kind=socket.SOCK_DGRAM)
        senders.append(UdpSender(address))
        say(f"UDP: JSON to {_words(address)}{_warning(address, 'whoever is on the way can read along')}")
    return OutputSink(senders, say=say)


def _resolve(key: str, text: str, *, kind: socket.SocketKind) -> Address:
    """Find the address that ``host:port`` means; without a host it is this machine's loopback."""
    host, _, port = text.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]") or "127.0.0.1", int(port), type=kind)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host's name can be so long
        raise UsageError(
            f"outputs.{key} = {text!r}: no such host ({error}). Expected an address such as 127.0.0.1:8765."
        ) from None
    family, _, _, _, where = found[0]
    return family, where


def _words(address: Address) -> str:
    host, port = address[1][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _warning(address: Address, what: str) -> str:
    if ipaddress.ip_address(address[1][0].partition("%")[0]).is_loopback:
        return ""
    return f" (WARNING: not this machine alone: {what}, and nothing is encrypted; see docs/security.md)"
