"""liblsl's configuration file, ``lsl_api.cfg``: the one it finds, what it says, and one for an isolated session.

Importing this loads no liblsl.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["find_configuration", "isolation", "notes", "settings"]

_WHAT = {
    "knownpeers": "machines that are asked for streams wherever they are",
    "sessionid": "only streams of this session are seen, and only it sees ours",
    "resolvescope": "how far away streams are looked for",
    "addressesoverride": "where streams are looked for",
    "listenaddress": "the interface on which streams are looked for",
    "multicastport": "another port than LSL's 16571: others are not seen",
    "baseport": "another port than LSL's 16572 and on",
    "portrange": "how many ports there are for streams",
    "allowrandomports": "whether streams take any port where those are taken",
    "ipv6": "whether IPv6 is used",
    "ttloverride": "how many routers a look for streams passes",
}


def find_configuration() -> Path | None:
    """Return the file that liblsl reads: the first that is there, as it looks for it; None where its defaults hold."""
    named = os.environ.get("LSLAPICFG")
    homes = (Path(), Path.home() / "lsl_api", Path("/etc/lsl_api"))
    files = [*([Path(named)] if named else []), *(home / "lsl_api.cfg" for home in homes)]
    return next((file for file in files if file.is_file()), None)


def settings(text: str) -> dict[str, str]:
    """Read an ``lsl_api.cfg``: its keys, in lower case, and their values."""
    given = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.strip().startswith((";", "#", "[")):
            given[key.strip().lower()] = value.strip()
    return given


def notes(given: Mapping[str, str]) -> list[str]:
    """Return which settings change who is heard and who hears us."""
    return [f"{key} = {given[key]}: {what}" for key, what in _WHAT.items() if key in given]


def isolation(*, session: str | None = None, n_ports: int = 64) -> str:
    """Return an ``lsl_api.cfg`` that keeps a session on this machine, on ports and under an id of its own.

    At most `n_ports` outlets are found in it: one beyond them takes any port, where nobody looks.
    """
    import secrets  # `serve` loads this module before it asks for its stream, and does not need this

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
