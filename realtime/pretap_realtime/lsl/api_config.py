"""liblsl's configuration file, ``lsl_api.cfg``: which one it reads, what is in it, and one for an isolated session.

Importing this loads no liblsl. Used by `doctor`, by the resolver, and by everything that starts an isolated session.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MEANINGS = {
    "knownpeers": "computers that are asked for streams, wherever they are",
    "sessionid": "only streams of this session are seen, and only this session sees ours",
    "resolvescope": "how far away streams are searched for",
    "addressesoverride": "the addresses at which streams are searched for",
    "listenaddress": "the network interface on which streams are searched for",
    "multicastport": "another port than LSL's 16571: programs that use that one are not seen",
    "baseport": "other ports than LSL's, which start at 16572",
    "portrange": "how many ports there are for streams",
    "allowrandomports": "whether streams use any port if those are taken",
    "ipv6": "whether IPv6 is used",
    "ttloverride": "how many routers a search for streams passes",
}


def find_configuration() -> Path | None:
    """Return the file that liblsl reads, the first one that exists in its order of search; None if there is none."""
    named = os.environ.get("LSLAPICFG")
    folders = (Path(), Path.home() / "lsl_api", Path("/etc/lsl_api"))
    files = [*([Path(named)] if named else []), *(folder / "lsl_api.cfg" for folder in folders)]
    return next((file for file in files if file.is_file()), None)


def settings(text: str) -> dict[str, str]:
    """Read the keys of an ``lsl_api.cfg``, in lower case, and their values."""
    given = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.strip().startswith((";", "#", "[")):
            given[key.strip().lower()] = value.strip()
    return given


def notes(given: Mapping[str, str]) -> list[str]:
    """Return a line for each setting that changes which streams are seen, or who sees ours."""
    return [f"{key} = {given[key]}: {meaning}" for key, meaning in _MEANINGS.items() if key in given]


@dataclass(frozen=True)
class Tuning:
    """How liblsl times its queries for streams.

    Attributes
    ----------
    second_half_s
        Time from the first half of a wave of queries, which is sent by multicast, to the second one.
    wave_s
        Time from one wave to the next.
    """

    second_half_s: float
    wave_s: float

    @classmethod
    def read(cls) -> Tuning:
        """Read the user's configuration; what it does not set has liblsl's defaults."""
        file = find_configuration()
        given = settings(file.read_text(encoding="utf-8", errors="replace")) if file is not None else {}
        second_half_s = _seconds(given.get("multicastminrtt"), default=0.5)
        pause_s = _seconds(given.get("continuousresolveinterval"), default=0.5)
        return cls(second_half_s, second_half_s + pause_s + _seconds(given.get("unicastminrtt"), default=0.75))


def _seconds(value: str | None, *, default: float) -> float:
    """Read a duration; return the default if it is missing or invalid."""
    try:
        seconds = float(value or default)
    except ValueError:
        return default
    return seconds if 0 <= seconds < math.inf else default


def isolation(*, n_ports: int = 64) -> str:
    """Return an ``lsl_api.cfg`` that keeps a session on this machine, with ports and an id of its own.

    At most `n_ports` outlets are found in it: further ones use random ports, at which nothing searches.
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
SessionID = pretap-{secrets.token_hex(8)}
KnownPeers = {{127.0.0.1}}
[tuning]
MulticastMinRTT = 0.1
UnicastMinRTT = 0.1
[log]
level = -3
"""
