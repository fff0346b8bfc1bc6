"""Amplitudes of trials, and the rule that rejects unusual ones. Used by `channels` and `cut_trials`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.config.train import TrialsConfig

_UV_PER_V = 1e6
_N_RANGES = 3.0
_MIN_RANGE = 0.33  # of the log swing, about that of half a second of clean EEG: at least 2.7 times the upper quartile

Swings = NDArray[np.float64]


def swings_uv(epochs: Any, reference: Callable[..., Any] | None) -> Swings:
    """Compute the peak-to-peak amplitude of each channel in each trial, after a linear detrend.

    An amplifier's offset and drift can be larger than any EEG and are removed by every decoder.

    Parameters
    ----------
    epochs
        `mne.Epochs`, in volts.
    reference
        Computes the reference from the channels that are finite in a trial: `np.mean` for the average reference,
        `np.median` if some channels may be bad, or None.

    Returns
    -------
    (n_epochs, n_channels), in microvolts; NaN if a channel is not finite in a trial.
    """
    x_v = epochs.get_data(copy=False, verbose="error")  # (n_epochs, n_channels, n_samples)
    swings = np.full(x_v.shape[:2], np.nan)
    t = np.arange(x_v.shape[2]) - (x_v.shape[2] - 1) / 2
    for trial, found in zip(x_v, swings, strict=True):
        finite = np.isfinite(trial).all(axis=1)  # (n_channels,)
        if finite.any():
            x = trial[finite] - trial[finite].mean(axis=1, keepdims=True)
            if len(t) > 1:
                x -= np.outer(x @ t / (t @ t), t)
            found[finite] = np.ptp(x if reference is None else x - reference(x, axis=0), axis=1)
    return swings * _UV_PER_V


def is_flat(epochs: Any, limits: TrialsConfig) -> NDArray[np.bool_]:
    """Whether each channel is flat in each trial, before any reference, (n_epochs, n_channels)."""
    return np.asarray(swings_uv(epochs, None) < limits.flat_uv)


def is_too_large(swings: Swings, limits: TrialsConfig, files: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each channel swings far more in a trial than in the others of its file, or more than `reject_uv`.

    The logarithm of the swing may exceed its upper quartile by three interquartile ranges (Tukey, Exploratory Data
    Analysis, 1977: "far out"). Quartiles keep what is usual for one of two or three classes, such as blinks. A file is
    judged by its own trials, so evaluating a file that was trained on drops the same.

    Parameters
    ----------
    swings
        (n_epochs, n_channels), in microvolts; NaN is never too large.
    files
        (n_epochs,), the number of each trial's file.
    """
    if not limits.reject_uv:
        return np.zeros(swings.shape, bool)
    too_large = swings > limits.reject_uv
    logs = np.log(np.maximum(swings, 1e-6))
    for file in np.unique(files):
        here = np.flatnonzero(files == file)
        for channel in np.flatnonzero(np.isfinite(logs[here]).any(axis=0)):
            own = logs[here, channel]
            low, high = np.nanpercentile(own, [25, 75])
            too_large[here, channel] |= own > high + _N_RANGES * max(high - low, _MIN_RANGE)
    return too_large
