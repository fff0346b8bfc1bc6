"""Whether the first window of a stream has an amplitude that EEG can have. Used by the front end."""

from __future__ import annotations

import statistics
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretap.errors import StreamRefusedError
from pretap.signal.ring import Ring
from pretap.signal.statistics import Statistics
from pretap_realtime.signal.block_checks import describe_unit_error

# Median over channels of the standard deviation within a window. Scalp EEG has 2 to 100 uV; a unit error is a factor
# of 1000 or more.
_TYPICAL_UV: Final = 10.0  # if the bundle does not know its training signal
_PLAUSIBLE_UV: Final = (0.05, 2000.0)


class AmplitudeCheck:
    """Collects the first window of clean samples and judges it.

    Parameters
    ----------
    known
        Statistics of the training signal.
    removes_offsets
        Whether the bundle removes the electrodes' offsets.

    Attributes
    ----------
    is_done
        Whether the window was judged, and is plausible.
    """

    def __init__(self, known: Statistics | None, *, n_window: int, n_channels: int, removes_offsets: bool) -> None:
        self._typical_uv = _TYPICAL_UV
        if known is not None:
            self._typical_uv = statistics.median(known.scale_uv.tolist()) or _TYPICAL_UV
        self._removes_offsets = removes_offsets
        self._window = Ring(n_window, n_channels)
        self.is_done = False

    def update(self, x_uv: NDArray[np.float32]) -> None:
        """Add clean samples (n_new, n_channels).

        Raises
        ------
        StreamRefusedError
            If the first whole window has an amplitude that no EEG has.
        """
        window = self._window
        window.append(x_uv[: window.capacity - window.n_seen])
        if window.n_seen < window.capacity:
            return
        x = window.window(window.n_seen, window.capacity).astype(np.float64)  # (n_window, n_channels)
        # The mean is removed: amplifiers have offsets of many millivolts. np.median would import numpy.ma: 15 ms.
        typical_uv = statistics.median(x.std(axis=0).tolist())
        offset_uv = statistics.median(np.abs(x.mean(axis=0)).tolist())
        low, high = _PLAUSIBLE_UV
        if not low <= typical_uv <= high:
            raise StreamRefusedError(
                f"The signal's standard deviation is {typical_uv:.3g} uV (median over channels of the first window); "
                f"EEG lies between {low:g} and {high:g}. Check the electrodes, and the unit: [stream] unit = ... "
                f"{describe_unit_error(typical_uv / self._typical_uv)}".strip()
            )
        if not self._removes_offsets and offset_uv > high:
            raise StreamRefusedError(
                f"The electrodes have an offset of {offset_uv / 1000:.3g} mV (median over channels), and this bundle "
                "takes the signal as it is. Train with a baseline (scaling.baseline_ms), or set the amplifier's "
                "high-pass filter."
            )
        self.is_done = True
