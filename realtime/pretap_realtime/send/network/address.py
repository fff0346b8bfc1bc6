"""Network addresses of the outputs: resolved, described, and a warning if others can reach them."""

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
