"""Design of the causal band-pass of the band-power networks. Used by `estimator`, `baselines` and `closed_form`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pretap.errors import UsageError


def bandpass_impulse(band_hz: tuple[float, float], *, order: int, sfreq_hz: float, n_steps: int) -> NDArray[np.float64]:
    """Design a Butterworth band-pass and return its impulse response over a window, (n_steps,)."""
    from scipy.signal import butter, sosfilt

    low, high = band_hz
    if not low < high < sfreq_hz / 2:
        raise UsageError(
            f"network.band_hz = [{low:g}, {high:g}]: expected low < high < {sfreq_hz / 2:g}, half the rate of "
            "the scaled steps. Choose another band, or keep more steps with a higher scaling.decimate_to_hz or without "
            "block_ms."
        )
    impulse = np.zeros(n_steps)
    impulse[0] = 1.0
    return np.asarray(sosfilt(butter(order, band_hz, "bandpass", fs=sfreq_hz, output="sos"), impulse))
