"""The causal band-pass that the band-power kinds filter a window with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pretap.errors import UsageError

__all__ = ["bandpass_impulse"]


def bandpass_impulse(band_hz: tuple[float, float], *, order: int, sfreq_hz: float, n_steps: int) -> NDArray[np.float64]:
    """Design a Butterworth band-pass and give its impulse response over a window, (n_steps,)."""
    from scipy.signal import butter, sosfilt

    low, high = band_hz
    if not low < high < sfreq_hz / 2:
        raise UsageError(
            f"network.band_hz = [{low:g}, {high:g}]: expected low < high < {sfreq_hz / 2:g}, half the rate of "
            "the scaled steps. Choose another band, or keep more steps: a higher scaling.decimate_to_hz, no block_ms."
        )
    impulse = np.zeros(n_steps)
    impulse[0] = 1.0
    return np.asarray(sosfilt(butter(order, band_hz, "bandpass", fs=sfreq_hz, output="sos"), impulse))
