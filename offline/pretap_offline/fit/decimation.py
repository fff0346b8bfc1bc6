"""Design of the low-pass filters for decimation. Used by `estimator`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pretap.config.train import ScalingConfig

_MAINS_WEIGHT, _MAINS_WIDTH_HZ = 30.0, 2.0  # mains is ten times the EEG around it, and drifts by less than 1 Hz


def design_fir(config: ScalingConfig, *, n_taps: int, sfreq_hz: float) -> NDArray[np.float64]:
    """Design a low-pass by least squares, (n_taps,), with the tap for the newest sample first.

    Up to `pass_hz` the filter approximates a pure delay of `delay_ms`, at most half its length. From `stop_hz` on it
    approximates zero; near each of `mains_hz`, an error has 30 times the weight. A constant passes unchanged.
    """
    pass_hz, stop_hz = config.pass_hz, config.stop_hz
    nyquist_hz = sfreq_hz / 2
    delay_s = min((n_taps - 1) / 2 / sfreq_hz, config.delay_ms / 1000)
    passed, stopped = np.linspace(0, pass_hz, 64), np.arange(stop_hz, nyquist_hz, 0.5)
    near_mains = (np.abs(stopped[:, None] - np.asarray(config.mains_hz)) <= _MAINS_WIDTH_HZ).any(axis=1)
    weights = np.concatenate(  # integrates over both bands: each point stands for its share of the frequencies
        [np.full(len(passed), pass_hz / len(passed)), 0.5 * np.where(near_mains, _MAINS_WEIGHT, 1.0)]
    )
    at_hz = np.concatenate([passed, stopped])
    response = np.exp(-2j * np.pi * np.outer(at_hz, np.arange(n_taps)) / sfreq_hz)  # (n_hz, n_taps)
    wanted = np.where(at_hz <= pass_hz, np.exp(-2j * np.pi * at_hz * delay_s), 0)
    root = np.sqrt(weights)
    system, target = response * root[:, None], wanted * root
    taps = np.linalg.lstsq(np.vstack([system.real, system.imag]), np.hstack([target.real, target.imag]))[0]
    return np.asarray(taps / taps.sum())
