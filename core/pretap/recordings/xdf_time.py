"""Timestamps in XDF files: finds their breaks and removes their jitter. Used by the XDF reader.

pyxdf removes jitter too, but it finds only breaks of more than a second and 500 samples, and blurs shorter ones. Here
each unbroken segment gets its own least-squares line. These segments subdivide those of pyxdf, and a least-squares line
through least-squares lines is the line through the timestamps themselves. So pyxdf reads a copy of a recording that has
these timestamps exactly like the recording.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GAP_SAMPLES = 1.5  # a lasting shift by more than this is a break
_SURE_S = 0.9  # a jump by more than this is a break at once
_REGULAR_SAMPLES = 0.1  # timestamps this close to n / sfreq are not stored


@dataclass(frozen=True)
class Segment:
    """An unbroken segment: without jitter, sample ``start + k`` has the timestamp ``t_s + k * step_s``."""

    start: int
    n_samples: int
    t_s: float
    step_s: float


def find_segments(t_s: NDArray[np.float64], sfreq_hz: float) -> tuple[Segment, ...]:
    """Split timestamps at lasting shifts by more than 1.5 samples, and fit a line to each segment.

    Late chunks, and chunks with one timestamp for all samples, jump too, but not the median over the second around
    them. A jump by almost a second is always a break, since it can be one for pyxdf.
    """
    n_around = max(2, round(sfreq_hz))
    step_s, lag = 1 / sfreq_hz, 10 * n_around
    if len(t_s) > 2 * lag:  # measured, since an example file is 8 % from the nominal rate
        step_s = max(float(np.median(t_s[lag:] - t_s[:-lag])) / lag, 0.5 * step_s)
    late: NDArray[np.float64] = t_s / step_s - np.arange(len(t_s))  # how late each sample is, in samples
    medians = _Medians(late, n_around)
    jumps = np.abs(np.diff(late))  # (n_samples - 1,)
    n_candidates = np.count_nonzero(jumps > _GAP_SAMPLES)
    starts = [0]
    for i in (np.argsort(-jumps, kind="stable")[:n_candidates] + 1).tolist():  # the largest jump first
        index = bisect_right(starts, i)
        start, stop = starts[index - 1], starts[index] if index < len(starts) else len(late)
        if jumps[i - 1] * step_s > _SURE_S:
            starts.insert(index, i)
        elif min(i - start, stop - i, n_around) < n_around // 4:
            continue  # too short to distinguish a shift from a late chunk
        elif abs(medians.after(i, stop) - medians.before(i, start)) > _GAP_SAMPLES:
            starts.insert(index, i)
    ends = [*starts[1:], len(t_s)]
    return tuple(_fit(t_s[a:b], start=a, sfreq_hz=sfreq_hz) for a, b in zip(starts, ends, strict=True))


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


def fill_timestamps(
    t_s: NDArray[np.float64], is_valid: NDArray[np.bool_], *, before_s: float | None, step_s: float
) -> NDArray[np.float64]:
    """Extrapolate invalid timestamps of (n_samples,) from the last valid one.

    `before_s` is the timestamp before the first one. If it is None, the first timestamps are extrapolated backwards.
    """
    index = np.arange(len(t_s))
    known = np.maximum.accumulate(np.where(is_valid, index, -1))  # (n_samples,), -1: none so far
    start_s = t_s[is_valid.argmax()] - step_s * (is_valid.argmax() + 1) if before_s is None else before_s
    from_s = np.where(known < 0, start_s, t_s[known])
    filled: NDArray[np.float64] = np.where(is_valid, t_s, from_s + step_s * (index - known))
    return filled


def _fit(t_s: NDArray[np.float64], *, start: int, sfreq_hz: float) -> Segment:
    k = np.arange(len(t_s), dtype=np.float64)
    if len(t_s) < 3 or np.ptp(t_s) <= 0:
        return Segment(start, len(t_s), float(t_s[0]), 1 / sfreq_hz)
    step_s = float(np.sum((k - k.mean()) * (t_s - t_s.mean())) / np.sum((k - k.mean()) ** 2))  # least squares
    if step_s <= 0:
        step_s = 1 / sfreq_hz
    return Segment(start, len(t_s), float(t_s.mean() - step_s * k.mean()), step_s)


def timestamps(segments: Sequence[Segment]) -> NDArray[np.float64]:
    """Return the timestamps (n_samples,) without jitter."""
    return np.concatenate([each.t_s + np.arange(each.n_samples) * each.step_s for each in segments])


def is_regular(t_s: NDArray[np.float64], sfreq_hz: float) -> bool:
    """Whether timestamps (n_samples,) are ``n / sfreq_hz`` after the first one, to a tenth of a sample."""
    off = (t_s - t_s[0]) * sfreq_hz - np.arange(len(t_s))  # (n_samples,)
    return bool(np.abs(off).max() <= _REGULAR_SAMPLES)


def measured_hz(segments: Sequence[Segment]) -> float | None:
    """Return the rate within the segments, or None if there are too few samples to measure it."""
    n_steps = sum(each.n_samples - 1 for each in segments)
    if n_steps < 9:
        return None
    return n_steps / sum((each.n_samples - 1) * each.step_s for each in segments)


def nearest_sample(t_s: float, segments: Sequence[Segment]) -> tuple[int, float]:
    """Return the sample nearest to a time, and by how many seconds the time is later than the sample."""
    best = (0, np.inf)
    for each in segments:
        k = min(max(round((t_s - each.t_s) / each.step_s), 0), each.n_samples - 1)
        late_s = t_s - each.t_s - k * each.step_s
        if abs(late_s) < abs(best[1]):
            best = (each.start + k, late_s)
    return best
