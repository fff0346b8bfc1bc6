"""Matching a stream's channels and units to a bundle's, by name and never by position.

Which names mean the same electrode stands in ``electrodes.toml`` beside this file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pretap.errors import StreamRefusedError

__all__ = [
    "MISSING",
    "canonical",
    "electrode_names",
    "match_channels",
    "microvolts_per",
    "mirrored",
    "standard_names",
    "unit_factor",
]

MISSING = -1
_ELECTRODES = Path(__file__).with_name("electrodes.toml")
_NUMBER = re.compile(r"\d+")
_GRID_NAME = re.compile(r"[A-H]\d{1,3}|VREF")  # names in systems with a numbering of their own
_UNITS = {
    "microvolts": 1.0,
    "microvolt": 1.0,
    "uv": 1.0,
    "nanovolts": 1e-3,
    "nanovolt": 1e-3,
    "nv": 1e-3,
    "millivolts": 1e3,
    "millivolt": 1e3,
    "mv": 1e3,
    "volts": 1e6,
    "volt": 1e6,
    "v": 1e6,
}


def canonical(label: str) -> str:
    """Reduce a channel label to the electrode's name: ``EEG C3-Ref`` and ``c3..`` are both ``C3``, ``T3`` is ``T7``."""
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
    """Give the electrode of each label as `canonical` writes it; A1, B7 or E36 by the system that all labels show."""
    return [canonical(name) for name in standard_names(labels)]


def standard_names(labels: Sequence[str]) -> tuple[str, ...]:
    """Give the labels as they are, but where they show a system of their own (BioSemi, EGI) the 10-20 names of it."""
    names = [canonical(label) for label in labels]
    if any(_GRID_NAME.fullmatch(name) for name in names):
        for system in _table()["system"]:
            if set(system["all"]) <= set(names) and not set(system["none"]) & set(names):
                known: dict[str, str] = system["names"]
                return tuple(known.get(name, label) for name, label in zip(names, labels, strict=True))
    return tuple(labels)


def mirrored(name: str) -> str:
    """Give the electrode on the other side of the head: C4 of C3, AFF1H of AFF2H, Cz of Cz."""
    return _NUMBER.sub(lambda number: str(int(number[0]) + (1 if int(number[0]) % 2 else -1)), name)


def match_channels(
    wanted: Sequence[str], found: Sequence[str], *, stream: str = "stream", replaceable: Sequence[str] = ()
) -> list[int]:
    """Give, for each wanted channel, its index among the found labels.

    A label that is equal to the letter wins; otherwise electrodes are compared (`electrode_names`). A missing channel
    that is among the `replaceable` ones gets the index `MISSING`.

    Raises
    ------
    StreamRefusedError
        When another channel is missing, or two labels name the same electrode.
    """
    labels, names, wanted_names = standard_names(found), electrode_names(found), electrode_names(wanted)
    index, missing = [], []
    for label, wanted_name in zip(wanted, wanted_names, strict=True):
        exact = [i for i, other in enumerate(labels) if other == label]
        same = exact or [i for i, name in enumerate(names) if name == wanted_name]
        if len(same) > 1:
            twins = ", ".join(repr(found[i]) for i in same)
            raise StreamRefusedError(
                f"{stream}: channels {twins} both name electrode {label}. Name the channels in the configuration: "
                "[stream] channels = [...]."
            )
        index.append(same[0] if same else MISSING)
        if not same and label not in replaceable:
            missing.append(label)
    if missing:
        raise StreamRefusedError(
            f"{stream} lacks {len(missing)} of the {len(wanted)} channels of the bundle: {', '.join(missing)}. "
            f"It has {', '.join(found[:40]) or 'no labels'}. Check the montage, name the channels in the "
            "configuration ([stream] channels = [...]), or train without them."
        )
    twice = [wanted[k] for k, i in enumerate(index) if i != MISSING and i in index[:k]]
    if twice:
        raise StreamRefusedError(
            f"{stream}: two channels of the bundle are the same electrode of the stream, one of them {twice[0]}. "
            "Name the channels in the configuration: [stream] channels = [...]."
        )
    return index


def unit_factor(unit: str) -> float | None:
    """Give the factor that turns values in `unit` into microvolts; None for a unit that is no voltage known here."""
    return _UNITS.get(unit.strip().lower().replace("µ", "u").replace("μ", "u"))  # micro sign, Greek mu


def microvolts_per(unit: str, *, stream: str = "stream") -> float:
    """Do what `unit_factor` does for a live stream, and refuse an unknown unit."""
    factor = unit_factor(unit)
    if factor is None:
        raise StreamRefusedError(
            f"{stream} gives its values in {unit!r}: expected one of microvolts, millivolts, volts, nanovolts. "
            'Say it in the configuration: [stream] unit = "uV".'
        )
    return factor
