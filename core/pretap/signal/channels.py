"""Matches channels and units of streams and recordings to those of a bundle, by name and never by position.

``electrodes.toml`` lists the names that mean the same electrode.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pretap.errors import PretapError, StreamRefusedError
from pretap.spelling import did_you_mean

MISSING = -1
_ELECTRODES = Path(__file__).with_name("electrodes.toml")
_MAX_LISTED = 40
_NUMBER = re.compile(r"\d+")
_GRID_NAME = re.compile(r"[A-H]\d{1,3}|VREF")  # names in the systems that number their electrodes
_UNIT = re.compile(r"(micro|u|mu|nano|n|milli|m|)[ _-]?(volts?|v)\.?")
_UV_PER = {"micro": 1.0, "u": 1.0, "mu": 1.0, "nano": 1e-3, "n": 1e-3, "milli": 1e3, "m": 1e3, "": 1e6}
# The micro sign and the Greek mu, also as UTF-8 read as Latin-1 and as a Latin-1 byte that is no UTF-8.
_MICRO = re.compile("Âµ|Î¼|[µμ\ufffd\udcb5](?=.*V)", re.IGNORECASE)


def canonical(label: str) -> str:
    """Reduce a channel label to the name of its electrode: ``EEG C3-Ref`` and ``c3..`` to ``C3``, ``T3`` to ``T7``."""
    name = label.strip().upper()
    name = re.sub(r"^EEG[ _:-]+", "", name)
    name = re.sub(r"[ _-](REF|LE|AVG|AV|A1|A2|M1|M2|A1A2|M1M2|LINKED)$", "", name)
    name = name.rstrip(". ")
    renamed: dict[str, str] = _table()["renamed"]
    return renamed.get(name, name)


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(_ELECTRODES.read_text(encoding="utf-8"))


def electrode_names(labels: Sequence[str]) -> list[str]:
    """Return the electrode of each label. All labels together decide which system A1, B7 or E36 belongs to."""
    return [canonical(name) for name in standard_names(labels)]


def standard_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels, with 10-20 names if together they are those of another system (BioSemi, EGI)."""
    names = [canonical(label) for label in labels]
    if any(_GRID_NAME.fullmatch(name) for name in names):
        for system in _table()["system"]:
            if set(system["all"]) <= set(names) and not set(system["none"]) & set(names):
                known: dict[str, str] = system["names"]
                return tuple(known.get(name, label) for name, label in zip(names, labels, strict=True))
    return tuple(labels)


def mirrored(name: str) -> str:
    """Return the electrode on the other side of the head: C4 for C3, AFF1H for AFF2H, Cz for Cz."""
    return _NUMBER.sub(lambda number: str(int(number[0]) + (1 if int(number[0]) % 2 else -1)), name)


def match_channels(
    wanted: Sequence[str],
    found: Sequence[str],
    *,
    stream: str = "stream",
    replaceable: Sequence[str] = (),
    error: type[PretapError] = StreamRefusedError,
) -> list[int]:
    """Return the index of each wanted channel among the found labels.

    An identical label wins, otherwise electrodes are compared (`electrode_names`). A missing channel that is one of the
    `replaceable` ones gets the index `MISSING`.

    Raises
    ------
    StreamRefusedError, or the given `error`
        If another channel is missing, or if two labels name the same electrode.
    """
    setting = "[stream]" if error is StreamRefusedError else "[recording]"
    labels, names, wanted_names = standard_names(found), electrode_names(found), electrode_names(wanted)
    index, missing = [], []
    for label, wanted_name in zip(wanted, wanted_names, strict=True):
        exact = [i for i, other in enumerate(labels) if other == label]
        same = exact or [i for i, name in enumerate(names) if name == wanted_name]
        if len(same) > 1:
            twins = ", ".join(repr(found[i]) for i in same)
            raise error(
                f"{stream}: channels {twins} both name electrode {label}. Name the channels in the configuration: "
                f"{setting} channels = [...]."
            )
        index.append(same[0] if same else MISSING)
        if not same and label not in replaceable:
            missing.append(label)
    if missing:
        raise error(
            f"{stream} lacks {len(missing)} of the {len(wanted)} channels of the bundle: {', '.join(missing)}. "
            f"It has {', '.join(found[:_MAX_LISTED]) or 'no labels'}. Check the montage, name the channels in the "
            f"configuration ({setting} channels = [...]), or train without them."
        )
    twice = [wanted[k] for k, i in enumerate(index) if i != MISSING and i in index[:k]]
    if twice:
        raise error(
            f"{stream}: two channels of the bundle are the same electrode of the stream, one of them {twice[0]}. "
            f"Name the channels in the configuration: {setting} channels = [...]."
        )
    return index


def unknown_channel(name: str, labels: Sequence[str]) -> str:
    """Return the refusal of a channel that a recording lacks, to follow the name of the recording."""
    listed = ", ".join(filter(None, labels[:_MAX_LISTED])) or "no labels"
    return f"has no channel {name!r}, which a setting or option names. It has {listed}.{did_you_mean(name, labels)}"


def unit_factor(unit: str) -> float | None:
    """Return the factor from `unit` to microvolts, or None if the unit is not a known voltage.

    Case is ignored: ``MV`` is an amplifier that writes capitals, since no EEG is in megavolts.
    """
    found = _UNIT.fullmatch(_MICRO.sub("u", unit.strip()).lower())
    return None if found is None else _UV_PER[found[1]]


def microvolts_per(unit: str, *, stream: str = "stream") -> float:
    """Return the factor from the unit of a live stream to microvolts; refuse an unknown unit."""
    factor = unit_factor(unit)
    if factor is None:
        raise StreamRefusedError(
            f"{stream} has the unit {unit!r}: expected microvolts, millivolts, volts or nanovolts. "
            'Set the unit in the configuration: [stream] unit = "uV".'
        )
    return factor
