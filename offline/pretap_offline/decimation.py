"""The low-pass filter that a decimation needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["design_fir"]


def design_fir(*, n_taps: int, sfreq_hz: float, pass_hz: float, stop_hz: float) -> NDArray[np.float64]:
    """Design a linear-phase low-pass by least squares, (n_taps,), `n_taps` odd; a constant passes it unchanged."""
    from scipy.signal import firls

    taps = firls(n_taps, [0, pass_hz, stop_hz, sfreq_hz / 2], [1, 1, 0, 0], fs=sfreq_hz)
    return np.asarray(taps / taps.sum())
