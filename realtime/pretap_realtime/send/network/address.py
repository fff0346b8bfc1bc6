"""Network addresses: resolved, described, listened on, and a warning if others can reach them."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from pretap.errors import UsageError

Address = tuple[socket.AddressFamily, Any]  # resolved: the family, and the argument of `bind` and `sendto`


def resolve(key: str, text: str, *, kind: socket.SocketKind) -> Address:
    """Return the address of ``host:port``; without a host it is this machine's loopback.

    Raises
    ------
    UsageError
        If the host does not exist.
    """
    host, _, port = text.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]") or "127.0.0.1", int(port), type=kind)
    except (OSError, UnicodeError) as error:  # UnicodeError: the name is too long
        raise UsageError(
            f"outputs.{key} = {text!r}: no such host ({error}). Expected an address such as 127.0.0.1:8765."
        ) from None
    family, _, _, _, address = found[0]
    return family, address


def describe(address: Address) -> str:
    """Return ``host:port``."""
    host, port = address[1][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def warning(address: Address, who: str) -> str:
    """Return a warning that ends a sentence, or an empty string if the address is a loopback one."""
    if ipaddress.ip_address(address[1][0].partition("%")[0]).is_loopback:
        return ""
    return f" (WARNING: not this machine alone: {who}, and nothing is encrypted; see docs/security.md)"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; raise UsageError if that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=32)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # Python adds the address
        raise UsageError(
            f"Cannot listen on {host}, port {port}: {why}. Choose another --port, or 0 for any free one."
        ) from None


def check_port(port: int) -> None:
    """Check that a page can be served on this machine's port, before the work that comes first.

    Raises
    ------
    UsageError
        If another program has the port.
    """
    listen("127.0.0.1", port).close()
