"""The electrodes over the hand areas, and regions of the scalp. Used by `warnings`, and by `evaluate` for findings."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from pretap.recordings.mne_epochs import standard_montage
from pretap.signal.channels import canonical
from pretap_offline.trials.montage import known_positions

_OVER_HANDS = ("C3", "C4")
_MAX_DISTANCE_M = 0.05  # from C3 to its neighbours in the 10-20 system (FC3, C1, CP5 in the 10-10 system) or less
_REGION = re.compile(r"([A-Z]+?)(\d+H?|Z)")
_FRONTAL_OR_TEMPORAL = frozenset(["FP", "AFP", "AF", "AFF", "F", "FFT", "FT", "FTT", "T", "TTP", "TP"])
_CENTRAL = frozenset(["C", "CCP", "CP"])


def nearest_to_hands(channels: Sequence[str]) -> list[str]:
    """Return the channel nearest to C3 and the one nearest to C4, without those that are more than 5 cm away."""
    places = standard_montage().get_positions()["ch_pos"]  # metres
    known = known_positions(channels)
    nearest = []
    for hand in _OVER_HANDS:
        distances_m = {name: float(np.linalg.norm(places[at] - places[hand])) for name, at in known.items()}
        name = min(distances_m, key=lambda each: distances_m[each], default="")
        if name and distances_m[name] <= _MAX_DISTANCE_M:
            nearest.append(name)
    return list(dict.fromkeys(nearest))


def frontal_and_temporal(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the channels in front of and beside the motor areas, near the eyes and the jaw, with those named EOG."""
    return tuple(name for name in channels if _region(name) in _FRONTAL_OR_TEMPORAL or "EOG" in name.upper())


def central(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the channels over the hand areas and just behind them; those in front also see the eyes."""
    return tuple(name for name in channels if _region(name) in _CENTRAL)


def _region(name: str) -> str:
    """Return the letters of a 10-05 name: ``FC`` for FC3; empty for other names."""
    found = _REGION.fullmatch(canonical(name))
    return found[1] if found else ""
