"""The configuration that liblsl finds, and what in it decides who is heard. Pure but for the file that is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["find_configuration", "notes", "settings"]

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
    """Give the file that liblsl reads: the first that is there, as it looks for it; None where its defaults hold."""
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
    """Say which settings change who is heard and who hears us."""
    return [f"{key} = {given[key]}: {what}" for key, what in _WHAT.items() if key in given]
