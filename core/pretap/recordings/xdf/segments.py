"""Breaks of a recording's timestamps: lasting shifts of the median over a second. Used by `sample_times`.

A recording shows what follows, so even a shift of 1.5 samples under jitter is found. That holds for devices whose
lateness varies less within a second than over it; `sample_times` has another way for those with backlogs. If a device
sends few packets a second, their jitter moves even the median, and a shift must exceed what the jitter can do.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretap.signal.timeline_fit import EXACT, is_stamped_on_arrival, packet_ends

_GAP_SAMPLES = 1.5  # a lasting shift by more than this is a break
_SURE_S = 0.9  # a jump by more than this is a break at once
_MARGIN = 1.3  # on the largest of n normal numbers, which is about sqrt(2 ln n) standard deviations
_MIN_SECONDS = 4  # from which the jitter of the medians can be told
_MAX_DRIFT = 0.01  # relative to the nominal rate; more is not drift, but a break every second


def find_starts(t_s: NDArray[np.float64], sfreq_hz: float) -> list[int]:
    """Return the first sample of each segment: timestamps break at lasting shifts by more than 1.5 samples.

    Late chunks, and chunks with one timestamp for all samples, jump too, but not the median over the second around
    them. If packets jitter so much that even these medians differ, a shift must exceed what the jitter can do. A jump
    by almost a second is always a break, since it can be one for pyxdf.
    """
    n_around = max(2, round(sfreq_hz))
    late = lateness(t_s, sfreq_hz)  # (n_samples,)
    error = largest_error(t_s, sfreq_hz)
    medians = _Medians(late, n_around)
    jumps = np.abs(np.diff(late))  # (n_samples - 1,)
    candidates = np.flatnonzero(jumps > _GAP_SAMPLES)
    starts = [0]
    for i in (candidates[np.argsort(-jumps[candidates], kind="stable")] + 1).tolist():  # the largest jump first
        index = bisect_right(starts, i)
        start, stop = starts[index - 1], starts[index] if index < len(starts) else len(late)
        if jumps[i - 1] > _SURE_S * sfreq_hz:
            starts.insert(index, i)
            continue
        n_shortest = min(i - start, stop - i, n_around)
        if n_shortest < n_around // 4:
            continue  # too short to distinguish a shift from a late chunk
        smallest = max(_GAP_SAMPLES, error * math.sqrt(n_around / n_shortest))
        if abs(medians.after(i, stop) - medians.before(i, start)) > smallest:
            starts.insert(index, i)
    return starts


def lateness(t_s: NDArray[np.float64], sfreq_hz: float) -> NDArray[np.float64]:
    """Return how many samples each timestamp is late, (n_samples,), apart from the drift of the device's clock.

    Timestamps of a packet that were made on its arrival count from its last one; the others are not times of samples.
    """
    late: NDArray[np.float64] = t_s - t_s[:1]
    late *= sfreq_hz
    late -= np.arange(len(t_s))
    is_end = np.append(~is_stamped_on_arrival(np.diff(late)), True)[: len(t_s)]
    if not is_end.all():
        late = late[is_end][np.cumsum(is_end) - is_end]
    n_lag = max(2, round(sfreq_hz))
    if len(late) > 2 * n_lag:
        drift = float(np.median(late[n_lag:] - late[:-n_lag])) / n_lag
        if abs(drift) <= _MAX_DRIFT:
            late -= drift * np.arange(len(t_s))
    return late


def largest_error(t_s: NDArray[np.float64], sfreq_hz: float) -> float:
    """Return by how much the medians of two seconds in a row may differ because of jitter, in samples.

    It is 0 for exact timestamps. Otherwise three of four differences are within 1.15 standard errors, and breaks are
    too few to change that. Packets that wait for each other do not jitter independently, so no formula is as good.
    """
    excess = t_s * sfreq_hz - np.arange(len(t_s))
    packets = excess[packet_ends(excess)]  # (n_packets,)
    n_around = max(2, round(sfreq_hz))
    n_seconds = len(t_s) // n_around
    if n_seconds < _MIN_SECONDS or packets.size < 3 or _range_of_half(np.diff(packets)) <= EXACT:
        return 0.0
    late = lateness(t_s, sfreq_hz)[: n_seconds * n_around]
    medians = np.median(late.reshape(n_seconds, n_around), axis=1)
    error = float(np.quantile(np.abs(np.diff(medians)), 0.75, method="lower")) / 1.15
    return _MARGIN * math.sqrt(2 * math.log(len(t_s))) * error


def _range_of_half(x: NDArray[np.float64]) -> float:
    low, high = np.quantile(x, [0.25, 0.75])
    return float(high - low)


class _Medians:
    """Medians of up to `n_around` samples before or after any sample, in about a microsecond each.

    With a jitter of several samples, nearly every sample is a candidate for a break. So each median is computed from
    the previous one: near a break outwards from it, and in blocks if it is at least `n_around` samples away.
    """

    def __init__(self, x: NDArray[np.float64], n_around: int) -> None:
        self._x, self._n = x, n_around
        self._blocks: dict[int, list[float]] = {}
        self._from: dict[int, list[float]] = {}
        self._to: dict[int, list[float]] = {}

    def before(self, i: int, start: int) -> float:
        """Return the median of the `n_around` samples before `i`, or of those from `start` on."""
        if i - start >= self._n:
            return self._whole(i)
        if start not in self._from:
            self._from[start] = _growing(self._x[start : start + self._n].tolist())
        return self._from[start][i - start - 1]

    def after(self, i: int, stop: int) -> float:
        """Return the median of the `n_around` samples from `i` on, or of those before `stop`."""
        if stop - i >= self._n:
            return self._whole(i + self._n)
        if stop not in self._to:
            self._to[stop] = _growing(self._x[max(0, stop - self._n) : stop][::-1].tolist())
        return self._to[stop][stop - i - 1]

    def _whole(self, stop: int) -> float:
        """Return the median of the `n_around` samples before `stop`."""
        block, offset = divmod(stop - self._n, self._n)
        if block not in self._blocks:
            first = block * self._n
            self._blocks[block] = _sliding(self._x[first : first + 2 * self._n - 1].tolist(), self._n)
        return self._blocks[block][offset]


def _growing(x: Sequence[float]) -> list[float]:
    """Compute the medians of the first 1, 2, 3 ... values."""
    ordered: list[float] = []
    medians = []
    for each in x:
        insort(ordered, each)
        medians.append(_middle(ordered))
    return medians


def _sliding(x: Sequence[float], n: int) -> list[float]:
    """Compute the medians of every n consecutive values."""
    ordered = sorted(x[:n])
    medians = [_middle(ordered)]
    for old, new in zip(x, x[n:], strict=False):
        del ordered[bisect_left(ordered, old)]
        insort(ordered, new)
        medians.append(_middle(ordered))
    return medians


def _middle(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
