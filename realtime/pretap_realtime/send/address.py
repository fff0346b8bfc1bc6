"""Network addresses of the outputs: resolved, described, and a warning if others can reach them."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from pretap.errors import UsageError

__all__ = ["Address", "describe", "resolve", "warning"]

Address = tuple[socket.AddressFamily, Any]  # resolved: the family, and what `bind` and `sendto` take


def resolve(key: str, text: str, *, kind: socket.SocketKind) -> Address:
    """Return the address that ``host:port`` means; without a host it is this machine's loopback.

    Raises
    ------
    UsageError
        If there is no such host.
    """
    host, _, port = text.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]") or "127.0.0.1", int(port), type=kind)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host's name can be so long
        raise UsageError(
            f"outputs.{key} = {text!r}: no such host ({error}). Expected an address such as 127.0.0.1:8765."
        ) from None
    family, _, _, _, where = found[0]
    return family, where


def describe(address: Address) -> str:
    """Return ``host:port``."""
    host, port = address[1][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def warning(address: Address, what: str) -> str:
    """Return a warning that ends a sentence, or an empty string if the address is a loopback one."""
    if ipaddress.ip_address(address[1][0].partition("%")[0]).is_loopback:
        return ""
    return f" (WARNING: not this machine alone: {what}, and nothing is encrypted; see docs/security.md)"
