"""Scalp patterns of the decisions of any decoder: the signal that goes with them. Used by training and `lab`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from pretap.recordings.epochs import Epochs

Signal = NDArray[np.float64]
_N_INTERVALS = 5  # maps of the time course of a window
_BAND_HZ = (12.0, 30.0)
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


def decision_patterns(epochs: Epochs, probs: NDArray[np.float64]) -> list[Group]:
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
    if epochs.sfreq_hz > 2 * _BAND_HZ[1]:
        fast = sosfilt(butter(2, _BAND_HZ, "bandpass", fs=epochs.sfreq_hz, output="sos"), x - x[:, :1], axis=1)
        power = np.log(np.mean(fast**2, axis=1) + _FLOOR_UV2)  # (n_epochs, n_channels)
        band = HeadMap("{:g} to {:g} Hz".format(*_BAND_HZ), z @ (power - power.mean(axis=0)))
        groups.append(Group(f"The whole decision: log power that goes with {name}", (band,)))
    return groups


def intervals(values: Signal, *, step_ms: float, end_ms: float) -> tuple[HeadMap, ...]:
    """Average a time course (n_steps, n_channels) in a few intervals, the oldest first."""
    n_steps = len(values)
    edges_ms = end_ms - step_ms * np.arange(n_steps, -1, -1)  # (n_steps + 1,)
    return tuple(
        HeadMap(f"{edges_ms[steps[0]]:.0f} to {edges_ms[steps[-1] + 1]:.0f} ms", values[steps].mean(axis=0))
        for steps in np.array_split(np.arange(n_steps), min(n_steps, _N_INTERVALS))
    )
