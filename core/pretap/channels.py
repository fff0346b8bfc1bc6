"""Matching a stream's channels and units to a bundle's, by name and never by position."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pretap.errors import StreamRefusedError

__all__ = ["canonical", "match_channels", "microvolts_per", "unit_factor"]

# The names of the 10-20 system before and after its revision (American EEG Society, 1994).
_RENAMED = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
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
    return _RENAMED.get(name, name)


def match_channels(wanted: Sequence[str], found: Sequence[str], *, stream: str = "stream") -> list[int]:
    """Give, for each wanted channel, its index among the found labels.

    A label that is equal to the letter wins; otherwise electrodes are compared (`canonical`).

    Raises
    ------
    StreamRefusedError
        When a channel is missing, or two labels name the same electrode.
    """
    names = [canonical(label) for label in found]
    index, missing = [], []
    for label in wanted:
        exact = [i for i, other in enumerate(found) if other == label]
        same = exact or [i for i, name in enumerate(names) if name == canonical(label)]
        if len(same) > 1:
            twins = ", ".join(repr(found[i]) for i in same)
            raise StreamRefusedError(
                f"{stream}: channels {twins} both name electrode {label}. Name the channels in the configuration: "
                "[stream] channels = [...]."
            )
        if same:
            index.append(same[0])
        else:
            missing.append(label)
    twice = [wanted[k] for k, i in enumerate(index) if i in index[:k]] if not missing else []
    if twice:
        raise StreamRefusedError(
            f"{stream}: two channels of the bundle are the same electrode of the stream, one of them {twice[0]}. "
            "Name the channels in the configuration: [stream] channels = [...]."
        )
    if missing:
        raise StreamRefusedError(
            f"{stream} lacks {len(missing)} of the {len(wanted)} channels of the bundle: {', '.join(missing)}. "
            f"It has {', '.join(found[:40]) or 'no labels'}. Check the montage, name the channels in the "
            "configuration ([stream] channels = [...]), or train without them."
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
