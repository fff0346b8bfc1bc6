"""The network interfaces of this machine that others can reach."""

from __future__ import annotations

import socket
import struct

__all__ = ["addresses"]

_SIOCGIFADDR = 0x8915


def addresses() -> list[tuple[str, str]]:
    """Give the name and IPv4 address of each interface but loopback ones, where the system tells (Linux).

    Elsewhere the one address that a packet to the network would carry, if any.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return _way_out()
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has none, or this is no Linux
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                found.append((name, address))
    return found or _way_out()


def _way_out() -> list[tuple[str, str]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("192.0.2.1", 9))  # sends nothing; an address of no machine (RFC 5737)
            address = any_socket.getsockname()[0]
        except OSError:
            return []
    return [] if address.startswith("127.") else [("network", address)]
