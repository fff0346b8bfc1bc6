"""When each sample of a recording was taken, from its timestamps. Used by `open_xdf`, `load` and `markers`.

Each unbroken segment gets one line through the ends of its packets. A recording shows what follows, so breaks are found
more surely than live (`find_starts`). If a device has backlogs, its shifts are found as in a live stream, by
`ShiftDetector`. But a break is where the timestamps left the line rather than where this was noticed, and a backlog
that was taken for a loss at first leaves none. pyxdf removes jitter too, but it finds only breaks of more than a second
and 500 samples, and blurs shorter ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.xdf.segments import find_starts, lateness
from pretap.signal.shifts import Break, LossCounts, ShiftDetector
from pretap.signal.timeline import BACKLOG_JITTER_S
from pretap.signal.timeline_fit import EXACT, packet_ends

_Floats = NDArray[np.float64]

_BACKLOG_S = 60.0  # a shift that is undone within this time was one
_OUTLIER = 2.5  # times the range of two thirds of a segment's packets
_LEVEL_S = 5.0  # before and after a break, over which its shift is measured
_CLOCK_STEP_S = 3600.0  # a longer shift is no loss
_MIN_RATE_SAMPLES = 9
_REGULAR_SAMPLES = 0.1  # timestamps this close to n / sfreq are not stored
_RATE_LAG_S, _RATE_SPAN_S = 2.0, 5.0  # short, so that few of the spans have a break
_WRONG_RATE = 0.009  # relative to nominal


@dataclass(frozen=True)
class SampleTimes:
    """The times of a recording's samples.

    Attributes
    ----------
    times_s
        (n_samples,), increasing within a segment.
    starts
        First sample of each segment; the first one is 0.
    bad
        Spans of samples, from the first to the one after the last, in which samples were lost one by one.
    rate_hz
        The rate within the segments; None if there are too few samples to measure it.
    jitter_s
        How far the timestamps scatter; losses below it cannot be detected.
    n_lost
        Samples that are missing.
    """

    times_s: _Floats
    starts: tuple[int, ...]
    bad: tuple[tuple[int, int], ...]
    rate_hz: float | None
    jitter_s: float
    n_lost: int

    def nearest(self, t_s: float) -> tuple[int, float]:
        """Return the sample nearest to a time, and by how many seconds the time is later than the sample."""
        return min(self._nearest_of_segments(t_s), key=lambda each: abs(each[1]))

    def fits_two_runs(self, t_s: float, *, sfreq_hz: float) -> bool:
        """Whether two samples far from each other were taken at this time, because a clock was set back in between."""
        fitting = [k for k, late_s in self._nearest_of_segments(t_s) if abs(late_s) * sfreq_hz <= 1]
        return bool(fitting) and fitting[-1] - fitting[0] > max(2.0, 2 * self.jitter_s * sfreq_hz)

    def _nearest_of_segments(self, t_s: float) -> Iterator[tuple[int, float]]:
        """Yield the nearest sample of each segment, and by how much the time is later."""
        for start, stop in pairwise([*self.starts, len(self.times_s)]):
            after = start + int(np.searchsorted(self.times_s[start:stop], t_s))
            near = ((k, t_s - float(self.times_s[k])) for k in range(max(after - 1, start), min(after + 1, stop)))
            yield min(near, key=lambda each: abs(each[1]))


def sample_times(t_s: _Floats, sfreq_hz: float) -> SampleTimes:
    """Compute the times of samples from their timestamps (n_samples,), at a nominal rate.

    If the timestamps show a rate that no drift explains, it is used instead: an example file is 8 % off.
    """
    hz = _actual_hz(t_s, sfreq_hz)
    jitter = _jitter(_lateness(t_s, hz), round(hz))
    has_backlogs = jitter > BACKLOG_JITTER_S * hz
    breaks = _find_breaks(t_s, hz, has_backlogs=has_backlogs)
    bad = tuple((each.start, each.stop) for each in breaks if each.stop > each.start)
    starts = sorted({0, *(k for each in breaks for k in (each.start, each.stop))})
    times_s = np.empty(len(t_s))
    n_steps, took_s = 0, 0.0
    for start, stop in pairwise([*starts, len(t_s)]):
        times_s[start:stop] = segment = _segment_times(t_s[start:stop], hz, has_backlogs=has_backlogs)
        if (start, stop) not in bad:
            n_steps, took_s = n_steps + stop - start - 1, took_s + float(segment[-1] - segment[0])
    rate_hz = n_steps / took_s if n_steps >= _MIN_RATE_SAMPLES and took_s > 0 else None
    n_lost = sum(max(0, round(each.shift)) for each in breaks if each.shift <= _CLOCK_STEP_S * hz)
    return SampleTimes(times_s, tuple(starts), bad, rate_hz, jitter / hz, n_lost)


def joined_times(t_s: _Floats, sfreq_hz: float, *, firsts: Sequence[int]) -> SampleTimes:
    """Compute the times of several streams' samples, of which each begins at one of `firsts`, after a break.

    The rate is that of the longest stream.
    """
    spans = list(pairwise([*firsts, len(t_s)]))
    parts = [sample_times(t_s[first:stop], sfreq_hz) for first, stop in spans]
    if len(parts) == 1:
        return parts[0]
    longest = max(parts, key=lambda each: len(each.times_s))
    return SampleTimes(
        np.concatenate([each.times_s for each in parts]),
        tuple(first + k for each, first in zip(parts, firsts, strict=True) for k in each.starts),
        tuple((first + a, first + b) for each, first in zip(parts, firsts, strict=True) for a, b in each.bad),
        longest.rate_hz,
        max(each.jitter_s for each in parts),
        sum(each.n_lost for each in parts),
    )


def _lateness(t_s: _Floats, hz: float) -> _Floats:
    """Return how many samples each timestamp is late at this rate, (n_samples,)."""
    late: _Floats = t_s - t_s[:1]
    late *= hz
    late -= np.arange(len(t_s))
    return late


def _actual_hz(t_s: _Floats, sfreq_hz: float) -> float:
    """Return the nominal rate, or the one that the timestamps show if it is another and fits them better."""
    n_lag = round(_RATE_LAG_S * sfreq_hz)
    if n_lag < 1 or len(t_s) <= 2 * n_lag:
        return sfreq_hz
    shown_hz = n_lag / max(float(np.median(t_s[n_lag:] - t_s[:-n_lag])), 0.5 * n_lag / sfreq_hz)
    if abs(shown_hz / sfreq_hz - 1) <= _WRONG_RATE:
        return sfreq_hz
    n_span = round(_RATE_SPAN_S * sfreq_hz)
    return min(sfreq_hz, shown_hz, key=lambda hz: _jitter(_lateness(t_s, hz), n_span))


@dataclass(frozen=True)
class _Break:
    """A shift of the timestamps, in samples, between samples `start` and `stop`; mostly they are the same."""

    start: int
    stop: int
    shift: float


def _jitter(late: _Floats, n_span: int) -> float:
    """Return by how much the lateness (n_samples,) varies within a span, in samples: the median over all spans."""
    n = len(late) // n_span * n_span
    if not n:
        return float(np.ptp(late))
    return float(np.median(np.ptp(late[:n].reshape(-1, n_span), axis=1)))


def _find_breaks(t_s: _Floats, hz: float, *, has_backlogs: bool) -> list[_Break]:
    if not has_backlogs:
        starts = [*find_starts(t_s, hz), len(t_s)]
        late, n_level = lateness(t_s, hz), round(_LEVEL_S * hz)
        breaks = []
        for first, k, end in zip(starts, starts[1:], starts[2:], strict=False):
            before, after = late[max(first, k - n_level) : k], late[k : min(k + n_level, end)]
            breaks.append(_Break(k, k, float(np.median(after) - np.median(before))))
        return breaks
    detector = ShiftDetector(LossCounts(), sfreq_hz=hz)
    at = np.arange(len(t_s))
    found, _ = detector.follow(at, at.astype(np.float64), t_s)
    found += [replace(each, index=len(t_s) + each.index) for each in detector.close()]
    found = _without_backlogs([each for each in found if each.shift], hz=hz, jitter=detector.line.jitter.limit)
    return [_Break(each.index - each.n_late, each.index - each.n_agreed, each.shift) for each in found]


def _without_backlogs(breaks: list[Break], *, hz: float, jitter: float) -> list[Break]:
    """Leave out shifts that were undone soon: they were backlogs, or wild timestamps."""
    kept: list[Break] = []
    for found in breaks:
        undone = [k for k, each in enumerate(kept) if found.index - each.index <= _BACKLOG_S * hz]
        rest = found.shift
        for n, k in enumerate(reversed(undone), start=1):
            rest += kept[k].shift
            if found.shift * kept[k].shift < 0 and abs(rest) <= jitter:
                del kept[-n:]
                break
        else:
            kept.append(found)
    return kept


def _segment_times(t_s: _Floats, sfreq_hz: float, *, has_backlogs: bool) -> _Floats:
    """Return the times of the samples of a segment: its timestamps if they are exact, otherwise a line."""
    n = np.arange(float(len(t_s)))
    ends = packet_ends(t_s * sfreq_hz - n)
    at, end_s = n[ends], t_s[ends]
    if at.size < 3:
        line: _Floats = t_s[0] + n / sfreq_hz
        return line
    step_s, start_s = _line(at, end_s)
    if has_backlogs:
        residual = end_s - (start_s + step_s * at)
        low, middle, high = np.quantile(residual, [1 / 6, 1 / 2, 5 / 6])
        kept = np.abs(residual - middle) <= _OUTLIER * (high - low)
        step_s, start_s = _line(at[kept], end_s[kept])
    line = start_s + step_s * n
    is_exact = bool(np.all(np.diff(t_s) > 0)) and float(np.ptp(t_s - line)) <= EXACT / sfreq_hz
    return t_s if is_exact else line


def _line(n: _Floats, t_s: _Floats) -> tuple[float, float]:
    """Return step and start of the least-squares line."""
    dn = n - n.mean()
    step_s = float((dn * (t_s - t_s.mean())).sum() / (dn * dn).sum())
    return step_s, float(t_s.mean() - step_s * n.mean())


def is_regular(t_s: NDArray[np.float64], sfreq_hz: float) -> bool:
    """Whether timestamps (n_samples,) are ``n / sfreq_hz`` after the first one, to a tenth of a sample."""
    off = _lateness(t_s, sfreq_hz)
    return bool(max(off.max(), -off.min()) <= _REGULAR_SAMPLES)


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
