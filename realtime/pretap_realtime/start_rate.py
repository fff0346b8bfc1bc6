"""Is the nominal rate of a stream its real one? The stamps of its first seconds tell."""

from __future__ import annotations

import math
import statistics
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["StartRate"]

_STRETCH_S: Final = 0.5
_N_STRETCHES: Final = 4
_FEWEST: Final = 8  # samples that make a rate
_OFF: Final = 0.1  # of nominal; stamps that jitter by 34 ms reach 7 % of a stretch


class StartRate:
    """Measures the rate of each of the first four half-seconds, by the stamps or by the number of samples.

    A loss or a pause makes one of them slow, not each. `wrong_hz` is then the typical rate, where all stretches are too
    slow or all too fast by more than a tenth; else 0.
    """

    def __init__(self, sfreq_hz: float) -> None:
        self._sfreq_hz = sfreq_hz
        self._n_stretch = max(_FEWEST, round(_STRETCH_S * sfreq_hz))
        self._start: tuple[float, float] | None = None  # of the stretch: sample number, stamp
        self._rates_hz: list[float] = []
        self.wrong_hz = 0.0

    def follow(self, n: NDArray[np.float64], t_s: NDArray[np.float64]) -> None:
        """Take the numbers and the usable stamps (n_new,) of the next samples."""
        if len(self._rates_hz) == _N_STRETCHES:
            return
        for n_at, at_s in zip(n.tolist(), t_s.tolist(), strict=True):
            if self._start is None:
                self._start = n_at, at_s
            n_samples, took_s = n_at - self._start[0], at_s - self._start[1]
            if n_samples >= self._n_stretch or (n_samples >= _FEWEST and took_s >= _STRETCH_S):
                self._rates_hz.append(n_samples / took_s if took_s > 0 else math.inf)
                self._start = n_at, at_s
                if len(self._rates_hz) == _N_STRETCHES:
                    self._judge(self._rates_hz)
                    return

    def _judge(self, rates: list[float]) -> None:
        low, high = (1 - _OFF) * self._sfreq_hz, (1 + _OFF) * self._sfreq_hz
        if all(r < low for r in rates) or all(r > high for r in rates):
            self.wrong_hz = statistics.median(rates)
