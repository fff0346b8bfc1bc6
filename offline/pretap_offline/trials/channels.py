"""Selects the channels of trials: configured, present in every recording, and not bad. Used by `cut_trials`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.config.train import TrainConfig
from pretap.errors import DataError
from pretap.recordings.recording import Recording
from pretap.signal.channels import canonical, match_channels
from pretap.spelling import counted
from pretap_offline.trials.amplitude import is_flat, swings_uv


def common_channels(
    recordings: Sequence[Recording], config: TrainConfig
) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Return the channels to cut, in the order of the first file, and those that some files lack as (name, reason)."""
    wanted, first = config.trials, recordings[0]
    names = wanted.channels or first.channels
    for name in wanted.channels:
        for left, why in first.left_out:
            if canonical(left) == canonical(name) and name not in first.channels:
                raise DataError(
                    f"trials.channels names {name}, which is left out of {first.source}: {why}. To use it, name it in "
                    "[recording] eeg too."
                )
    if wanted.channels:
        where = f"trials.channels: {first.source}"
        found = match_channels(names, first.channels, stream=where, error=DataError)
        names = tuple(first.channels[i] for i in found)
    excluded = {canonical(name) for name in wanted.exclude}
    known = {canonical(name) for each in recordings for name in (*each.channels, *dict(each.left_out))}
    if not excluded <= known:
        raise DataError(f"trials.exclude names channels that no recording has: {', '.join(sorted(excluded - known))}.")
    names = tuple(name for name in names if canonical(name) not in excluded)
    everywhere = [{canonical(name) for name in recording.channels} for recording in recordings]
    common = tuple(name for name in names if all(canonical(name) in each for each in everywhere))
    if not common:
        raise DataError("No channel is left that all recordings have. Check channels and exclude in [trials].")
    union = {canonical(name): name for recording in reversed(recordings) for name in recording.channels}
    missing = [] if wanted.channels else [k for k in union if k not in excluded and not all(k in e for e in everywhere)]
    missing += [canonical(name) for name in names if wanted.channels and name not in common]

    def lacking(key: str) -> str:
        return ", ".join(each.source for each, has in zip(recordings, everywhere, strict=True) if key not in has)

    return common, [(union[key], f"missing from {lacking(key)}") for key in missing]


def bad_channels(epochs: Any, config: TrainConfig, *, is_missing: NDArray[np.bool_]) -> list[tuple[str, str]]:
    """Return the channels that are not finite, flat or too large in more than half of the trials, as (name, reason).

    With the average reference, the median over the channels is subtracted, because a bad channel would spoil the mean.
    `is_missing` (n_epochs, n_channels) marks the trials of files that lack a channel; they do not count.
    """
    limits = config.trials
    swing_uv = swings_uv(epochs, np.median if config.scaling.reference == "average" else None)  # (n_epochs, n_channels)
    flat = is_flat(epochs, limits)
    faults = {
        "not finite": ~np.isfinite(swing_uv),
        f"flat (below {limits.flat_uv:g} uV)": flat,
        f"above {limits.reject_uv:g} uV peak to peak": ~flat & (swing_uv > (limits.reject_uv or np.inf)),
    }
    bad = []
    for k, name in enumerate(epochs.ch_names):
        counts = {what: int((found[:, k] & ~is_missing[:, k]).sum()) for what, found in faults.items()}
        n = int((~is_missing[:, k]).sum())
        if 2 * sum(counts.values()) > n:
            seen = " and ".join(f"{what} in {count}" for what, count in counts.items() if count)
            bad.append((name, f"{seen} of {counted(n, 'trial')}"))
    if len(bad) == len(epochs.ch_names):
        raise DataError(
            f"Every channel is bad, such as {bad[0][0]}: {bad[0][1]}. Expected EEG in volts, as in MNE, or with its "
            "unit in the file. Set the unit (such as --unit V), or check reject_uv and flat_uv in [trials]."
        )
    return bad
