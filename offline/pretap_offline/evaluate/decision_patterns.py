"""Scalp patterns of the decisions of any decoder: the signal that goes with them. Used by training and `lab`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from pretap.recordings.epochs import Epochs

Signal = NDArray[np.float64]
_N_INTERVALS = 5  # maps of the time course of a window
BETA_HZ, MU_HZ = (12.0, 30.0), (8.0, 12.0)
_FLOOR_UV2 = 1e-6  # power of a flat channel


@dataclass(frozen=True, eq=False)
class HeadMap:
    """One value per channel (n_channels,), with a title."""

    title: str
    values: Signal


@dataclass(frozen=True, eq=False)
class Group:
    """Maps that belong together; `one_scale` if their values can be compared."""

    title: str
    maps: tuple[HeadMap, ...]
    one_scale: bool = False


def decision_patterns(
    epochs: Epochs, probs: NDArray[np.float64], *, bands_hz: tuple[tuple[float, float], ...] = (BETA_HZ,)
) -> list[Group]:
    """Compute the signal that covaries with decisions `probs` (n_epochs, n_classes) of any kind of decoder.

    The result is potential or log power per standard deviation of the log-odds of the last class:
    ``Cov(x, z) / sd(z)``, the pattern of the decision (Haufe et al., NeuroImage 87, 2014). `probs` should be
    out of fold, so that no trial is evidence for a decoder fitted on it.
    """
    logs = np.log(np.clip(probs, 1e-9, None))
    odds = logs[:, -1] - logs[:, :-1].mean(axis=1)  # (n_epochs,)
    z = (odds - odds.mean()) / (odds.std() or 1.0) / len(odds)
    x = epochs.x_uv.astype(np.float64)
    x -= x.mean(axis=2, keepdims=True)
    slow = x - x[:, : max(1, epochs.n_samples // 10)].mean(axis=1, keepdims=True)
    name = epochs.classes[-1]
    maps = intervals(np.tensordot(z, slow, axes=1), step_ms=1000 / epochs.sfreq_hz, end_ms=epochs.window_end_ms)
    groups = [Group(f"The whole decision: slow potential that goes with {name}", maps, one_scale=True)]
    powers = []
    for low_hz, high_hz in bands_hz:
        if epochs.sfreq_hz > 2 * high_hz:
            sections = butter(2, (low_hz, high_hz), "bandpass", fs=epochs.sfreq_hz, output="sos")
            power = np.log(np.mean(sosfilt(sections, x - x[:, :1], axis=1) ** 2, axis=1) + _FLOOR_UV2)
            powers.append(HeadMap(f"{low_hz:g} to {high_hz:g} Hz", z @ (power - power.mean(axis=0))))  # (n_channels,)
    if powers:
        groups.append(Group(f"The whole decision: log power that goes with {name}", tuple(powers)))
    return groups


def intervals(values: Signal, *, step_ms: float, end_ms: float) -> tuple[HeadMap, ...]:
    """Average a time course (n_steps, n_channels) in a few intervals, the oldest first."""
    n_steps = len(values)
    edges_ms = end_ms - step_ms * np.arange(n_steps, -1, -1)  # (n_steps + 1,)
    return tuple(
        HeadMap(f"{edges_ms[steps[0]]:.0f} to {edges_ms[steps[-1] + 1]:.0f} ms", values[steps].mean(axis=0))
        for steps in np.array_split(np.arange(n_steps), min(n_steps, _N_INTERVALS))
    )
