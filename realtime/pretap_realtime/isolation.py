"""An LSL session that disturbs no other and is disturbed by none; importing this loads no liblsl."""

from __future__ import annotations

import secrets

__all__ = ["isolation"]


def isolation(*, session: str | None = None) -> str:
    """Give an ``lsl_api.cfg`` that keeps a session on this machine, on ports and under an id of its own."""
    port = 20_000 + secrets.randbelow(400) * 100
    return f"""[ports]
IPv6 = disable
MulticastPort = {port}
BasePort = {port + 1}
PortRange = 64
[multicast]
ResolveScope = machine
[lab]
SessionID = {session or "pretap-" + secrets.token_hex(8)}
KnownPeers = {{127.0.0.1}}
[tuning]
MulticastMinRTT = 0.1
UnicastMinRTT = 0.1
[log]
level = -3
"""
