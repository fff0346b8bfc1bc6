"""An LSL session that disturbs no other and is disturbed by none; importing this loads no liblsl."""

from __future__ import annotations

import secrets

__all__ = ["isolation"]


def isolation(*, session: str | None = None, n_ports: int = 64) -> str:
    """Give an ``lsl_api.cfg`` that keeps a session on this machine, on ports and under an id of its own.

    At most `n_ports` outlets are found in it: one beyond them takes any port, where nobody looks.
    """
    port = 20_000 + secrets.randbelow(400) * 100
    return f"""[ports]
IPv6 = disable
MulticastPort = {port}
BasePort = {port + 1}
PortRange = {n_ports}
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
