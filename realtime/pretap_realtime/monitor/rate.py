"""RateMeasurement: the rate of a stream whose nominal rate is 0, from its timestamps. Pure; used by `follower`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MIN_S: Final = 3.0
_MIN_SAMPLES: Final = 30


class RateMeasurement:
    """Keeps the first seconds of a stream until their rate can be measured."""

    def __init__(self) -> None:
        self._x_uv: list[NDArray[np.float32]] = []
        self._t_s: list[NDArray[np.float64]] = []

    def append(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Add samples (n_new, n_channels) and their timestamps (n_new,)."""
        self._x_uv.append(x_uv)
        self._t_s.append(t_s)

    def rate_hz(self) -> float:
        """Return the rate by a line through the timestamps, in tenths of a hertz; 0 if it is not known yet."""
        t_s = np.concatenate(self._t_s)
        if len(t_s) < _MIN_SAMPLES or not t_s[-1] - t_s[0] >= _MIN_S:
            return 0.0
        n = np.arange(len(t_s)) - (len(t_s) - 1) / 2
        period_s = float(n @ (t_s - t_s[0])) / float(n @ n)
        return round(1 / period_s, 1) if period_s > 0 else 0.0

    def samples(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return all samples so far, and their timestamps."""
        return np.concatenate(self._x_uv), np.concatenate(self._t_s)
