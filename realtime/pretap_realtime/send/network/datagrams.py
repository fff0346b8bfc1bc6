"""UdpSender and OscSender: the network outputs that send datagrams. Used by `network_sink`."""

from __future__ import annotations

import socket
from typing import Final

from pretap.errors import MissingPackageError
from pretap.terminal import plain
from pretap_realtime.send.messages import encode
from pretap_realtime.send.network.address import Address
from pretap_realtime.send.sink import Outgoing

_MAX_INT32: Final = 2**31 - 1


class UdpSender:
    """The JSON of each message in a datagram. It does not learn whether a program receives it."""

    def __init__(self, address: Address, *, name: str = "outputs.udp") -> None:
        self.name = name
        family, self._to = address
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.settimeout(0)  # a datagram that does not fit into the buffer is dropped

    def send(self, item: Outgoing) -> None:
        """Send the JSON of the message, without waiting; raise OSError if that fails."""
        self.send_datagram(encode(item.message))

    def send_datagram(self, datagram: bytes) -> None:
        """Send these bytes."""
        self._socket.sendto(datagram, self._to)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class OscSender(UdpSender):
    """OSC: ``/NAME/verdict label code p... quality``; for states and heartbeats ``/NAME/state state why lost``.

    A verdict that is a command is followed by ``/NAME/command label code``. As in the probabilities stream, all numbers
    of a verdict without a valid window are 0.

    Raises
    ------
    MissingPackageError
        If python-osc is not installed.
    """

    def __init__(self, address: Address, *, root: str) -> None:
        try:
            from pythonosc.osc_message_builder import OscMessageBuilder
        except ImportError:
            raise MissingPackageError.for_extra("outputs.osc", missing="python-osc", extra="outputs") from None
        super().__init__(address, name="outputs.osc")
        self._build, self._root = OscMessageBuilder, root

    def send(self, item: Outgoing) -> None:
        """Send the message as OSC."""
        message = item.message
        if message.type == "verdict":
            self._send("verdict", "si" + "f" * len(item.row), message.label, item.code, *item.row)
            if message.command:
                self._send("command", "si", message.label, item.code)
        else:
            self._send("state", "ssi", message.state, plain(message.why), min(message.lost, _MAX_INT32))

    def _send(self, name: str, kinds: str, *values: str | float) -> None:
        message = self._build(f"/{self._root}/{name}")
        for value, kind in zip(values, kinds, strict=True):
            message.add_arg(value, kind)
        self.send_datagram(message.build().dgram)
