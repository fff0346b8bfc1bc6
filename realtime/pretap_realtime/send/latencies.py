"""Latencies of a whole session in a fixed amount of memory. Used by the publisher and the summary."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_MIN_S, _RATIO = 1e-6, 1.01  # a bin is 1 % wide
_LOG_RATIO = math.log(_RATIO)
_N_BINS = 2048  # up to 700 s


def describe_negative(n: int, n_all: int, lowest_s: float, *, jitter_s: float = 0.0) -> str:
    """Return why `n` of `n_all` latencies are negative, empty if none is: an error, unless jitter explains it.

    The time of a sample is late by the mean delay of the timestamps, so one that comes early may seem to be ahead.
    """
    if not n:
        return ""
    negative = f"{n} of {n_all} latencies are negative, down to {1000 * lowest_s:.1f} ms"
    if -lowest_s <= jitter_s:
        return f"{negative}: the timestamps of the EEG jitter by {1000 * jitter_s:.1f} ms"
    return (
        f"ERROR: {negative}: decisions seem to be made before their samples were taken. The timestamps of the EEG lie "
        "ahead of its clock; see docs/lab.md"
    )


def percentile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that at least q percent of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(q / 100 * len(values)) - 1)]


class Latencies:
    """Counts in bins that are 1 % wide: an hour at 1000 decisions a second takes 16 kB, as does a minute at 20."""

    def __init__(self) -> None:
        self._counts = [0] * _N_BINS  # a list, because counting in an array takes three times as long
        self.n = self.n_negative = 0
        self.lowest_s = 0.0  # of the negative ones

    def add(self, latency_s: float) -> None:
        """Count a latency. One below a microsecond counts as a microsecond; negative ones are counted on their own."""
        if latency_s < 0:
            self.n_negative += 1
            self.lowest_s = min(self.lowest_s, latency_s)
            return
        bin_ = int(math.log(latency_s / _MIN_S) / _LOG_RATIO) if latency_s > _MIN_S else 0
        self._counts[bin_ if bin_ < _N_BINS else -1] += 1
        self.n += 1

    def percentile(self, q: float) -> float:
        """Return the latency in seconds that at least q percent do not exceed, within 1 %."""
        rank = max(1, math.ceil(q / 100 * self.n))
        bin_ = int(np.searchsorted(np.cumsum(self._counts), rank))
        return float(_MIN_S * _RATIO ** (bin_ + 0.5))
