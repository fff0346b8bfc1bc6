"""Latencies of a whole session in a fixed amount of memory. Used by the publisher and the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_MIN_S, _RATIO = 1e-6, 1.01  # a bin is 1 % wide
_LOG_RATIO = math.log(_RATIO)
_N_BINS = 2048  # up to 700 s


def percentile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that at least q percent of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(q / 100 * len(values)) - 1)]


class Latencies:
    """Counts in bins that are 1 % wide: an hour at 1000 decisions a second takes 16 kB, as does a minute at 20."""

    def __init__(self) -> None:
        self._counts = [0] * _N_BINS  # a list, because counting in an array takes three times as long
        self.n = 0

    def add(self, latency_s: float) -> None:
        """Count a latency. One below a microsecond, or negative, counts as a microsecond."""
        bin_ = int(math.log(latency_s / _MIN_S) / _LOG_RATIO) if latency_s > _MIN_S else 0
        self._counts[bin_ if bin_ < _N_BINS else -1] += 1
        self.n += 1

    def percentile(self, q: float) -> float:
        """Return the latency in seconds that at least q percent do not exceed, within 1 %."""
        rank = max(1, math.ceil(q / 100 * self.n))
        bin_ = int(np.searchsorted(np.cumsum(self._counts), rank))
        return float(_MIN_S * _RATIO ** (bin_ + 0.5))
