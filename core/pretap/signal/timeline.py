"""The timeline of a regular stream: when each sample was taken, by a line through the jittered timestamps.

Real devices stamp their samples in packets, and late. So a timestamp is not the time of a sample, unless the timestamps
are exact. The timeline fits ``time = origin + n / rate`` to the timestamps of the last 40 s. It is causal: a sample's
time follows from earlier packets alone, and is never revised. `sample_times` does the same for whole recordings.

A *packet* is a run of samples whose timestamps step evenly, by 0 to 0.1 samples (stamped on arrival) or by 1 (dated
back at the nominal rate). Only the last timestamp of a packet enters the fit, because the others may be invented.

The estimator is least squares, with a prior of 300 ppm on the deviation from the nominal rate. So times are late by the
mean delay of a packet's last timestamp, a constant that no receiver can tell. A fit to the earliest timestamps would
not be free of it: with symmetric jitter it is early by several standard deviations, and one early timestamp moves it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXACT: Final = 0.1  # samples of jitter; timestamps of 1.7e9 s resolve 2.4e-7 s, 0.005 samples at 20 kHz
_HALF: Final = 0.5  # samples; halfway to one lost sample
_EVEN: Final = 0.01  # samples; steps within a packet differ by less
_PACKET_S: Final = 0.15  # no packet is longer
_JITTER_S: Final = 10.0  # how long the jitter is remembered
_FIT_S: Final = 40.0  # how long the line is
_MAX_BLOCKS: Final = 10  # fitted together once the jitter is known: a fit costs as much as a decision
_MIN_RATE, _MAX_RATE = 0.99, 1.01  # of nominal
_RATE_PRIOR: Final = 3e-4  # standard deviation of a device's rate, relative to nominal
_COVER: Final = 2.3  # standard deviations; with what is unknown of rate and delay they cover 95 %
_MIN_POINTS: Final = 8  # whose residuals show how the packets scatter
_MIN_PACKETS: Final = 32  # whose range stands for the jitter
_AGREEING_PACKETS: Final = 8  # that must agree before a shift is believed
_MAX_BLOCK: Final = 256
_SMALL: Final = 64  # for fewer timestamps plain Python is faster than numpy

MAX_PLAIN: Final = _MAX_BLOCKS * _MAX_BLOCK  # samples between two fits, at most

# ufunc.reduce costs half of what the array methods do.
_sum, _min, _max = np.add.reduce, np.minimum.reduce, np.maximum.reduce


class ExpectedTimestamps(msgspec.Struct, frozen=True, gc=False):
    """The line on which the timestamps of a regular stream lie, and how far off it they may be.

    Sample n is expected ``(n - n_ref) / rate_hz`` after ``t0_s + s_ref``. Its offset is how many samples its timestamp
    lies after that moment. `limit` is the largest offset of a sample that is on time.

    Times must increase. So if the line was moved back, the times after sample `n_floor`, taken at `floor_s`, advance at
    half the rate until they meet the line.
    """

    t0_s: float
    s_ref: float
    rate_hz: float
    n_ref: float
    limit: float
    is_exact: bool = True
    n_floor: float = 0.0
    floor_s: float = -math.inf

    def offsets(self, n: Floats, t_s: Floats) -> Floats:
        """Return how many samples the timestamps `t_s` of the samples `n` are late: (n,), element by element."""
        return ((t_s - self.t0_s) - self.s_ref) * self.rate_hz - (n - self.n_ref)

    def are_met(self, n_first: float, t_s: Floats) -> bool:
        """Whether consecutive timestamps, the first of sample `n_first`, all lie within the limit.

        The arithmetic is that of `offsets`, to the bit.
        """
        if len(t_s) > _SMALL:
            offsets = self.offsets(n_first + np.arange(float(len(t_s))), t_s)
            return bool(max(_max(offsets), -_min(offsets)) <= self.limit)
        t0_s, s_ref, rate_hz, n_ref, limit = self.t0_s, self.s_ref, self.rate_hz, self.n_ref, self.limit
        n = n_first
        for at_s in t_s.tolist():
            if not abs(((at_s - t0_s) - s_ref) * rate_hz - (n - n_ref)) <= limit:  # NaN is off the line too
                return False
            n += 1
        return True

    def times_s(self, n: Floats, t_s: Floats) -> Floats:
        """Return when the samples `n` were taken: their timestamps `t_s` if these are exact, otherwise the line."""
        if self.is_exact:
            return t_s
        line_s = self.t0_s + (self.s_ref + (n - self.n_ref) / self.rate_hz)
        return np.maximum(line_s, self.floor_s + _HALF * (n - self.n_floor) / self.rate_hz)


@dataclass(frozen=True)
class Spans:
    """Lengths in samples at a nominal rate.

    Attributes
    ----------
    block
        Samples that are summed up together.
    proof
        Number of samples without jitter after which the timestamps count as exact.
    learn
        Number of samples after which the jitter is known, if the device has sent enough packets.
    slide
        Samples for which the jitter is remembered, and after which a wild timestamp is forgotten.
    watch
        Samples that must stay off the line, at least, before a shift is believed.
    """

    block: int
    proof: int
    learn: int
    slide: int
    watch: int

    @classmethod
    def at(cls, sfreq_hz: float) -> Spans:
        """Return the lengths for a stream at `sfreq_hz`."""
        block = min(max(32, round(0.05 * sfreq_hz)), _MAX_BLOCK)

        def whole_blocks(n_samples: float) -> int:
            return block * math.ceil(n_samples / block)

        return cls(
            block=block,
            proof=whole_blocks(max(128, 0.15 * sfreq_hz)),
            learn=whole_blocks(max(256, sfreq_hz)),
            slide=whole_blocks(_JITTER_S * sfreq_hz),
            watch=max(128, round(0.25 * sfreq_hz)),
        )


class Jitter:
    """How far the timestamps of a stream scatter, in samples from the earliest to the latest.

    Attributes
    ----------
    fitted
        The range of the offsets of the last 10 s.
    assumed, n_assumed
        The least jitter to assume, until this number of samples was accepted.
    """

    def __init__(self) -> None:
        self.fitted = self.assumed = 0.0
        self.n_assumed = 0

    @property
    def range(self) -> float:
        """The jitter in samples."""
        return max(self.fitted, self.assumed)

    @property
    def is_exact(self) -> bool:
        """Whether the timestamps jitter by at most a tenth of a sample."""
        return self.range <= EXACT

    @property
    def limit(self) -> float:
        """An offset beyond this is off the line."""
        return _HALF + self.range

    @property
    def back(self) -> float:
        """An offset below this has come back to the line: all samples of a shift beyond the limit stay above it."""
        return _HALF + self.range / 2


class Timeline:
    """The times of a stream's samples, from the timestamps that were accepted; see the module.

    Attributes
    ----------
    spans
        Lengths in samples that follow from the rate.
    expected
        The line, and how far off it a sample may be.
    jitter
        How far the timestamps scatter around the line.
    is_learnt
        Whether the jitter is known.
    n_accepted
        Samples that were accepted since the start.
    n_persist
        How many samples must stay off the line before their shift is judged.
    mean_offset
        How far the timestamps of all samples lie after the line on average, in samples.
    uncertainty_s
        Half the width of the 95 % interval of a sample's time, apart from the constant delay; infinity if unknown.
    """

    def __init__(self, sfreq_hz: float) -> None:
        self.sfreq_hz = sfreq_hz
        self.spans = Spans.at(sfreq_hz)
        self._fit = _BlockFit(self.spans, sfreq_hz)
        self.reset()

    def reset(self) -> None:
        """Forget all timestamps."""
        self._fit.reset()
        self.jitter = Jitter()
        self.is_learnt = False
        self.n_accepted = 0
        self.n_persist = self.spans.watch
        self.mean_offset, self.uncertainty_s = 0.0, math.inf
        self._newest = (0.0, -math.inf)  # number and time of the newest sample that was accepted
        self._set_line(math.nan, 0.0, self.sfreq_hz, 0.0)

    def start(self, n: float, t_s: float) -> None:
        """Begin with sample `n` at `t_s`."""
        self._fit.start(n)
        self._set_line(t_s, 0.0, self.expected.rate_hz, n)

    def _set_line(self, t0_s: float, s_ref: float, rate_hz: float, n_ref: float) -> None:
        jitter = self.jitter
        self.expected = ExpectedTimestamps(t0_s, s_ref, rate_hz, n_ref, jitter.limit, jitter.is_exact, *self._newest)

    @property
    def is_started(self) -> bool:
        """Whether there is a line."""
        return not math.isnan(self.expected.t0_s)

    @property
    def n_to_fit(self) -> int:
        """Accepted samples that are missing for the next fit."""
        return self._fit.n_missing

    @property
    def is_fitted(self) -> bool:
        """Whether the line was fitted after the newest sample."""
        return self._fit.is_empty

    def shift(self, offset: float) -> None:
        """Move the line by `offset` samples."""
        line = self.expected
        self._newest = self._newest[0], self._newest[1] + offset / line.rate_hz
        self._set_line(line.t0_s + offset / line.rate_hz, line.s_ref, line.rate_hz, line.n_ref)

    def widen(self, jitter: float) -> None:
        """Assume that the jitter is at least this many samples, for 10 s or until it is learnt."""
        self.jitter.assumed = max(self.jitter.assumed, jitter)
        self.jitter.n_assumed = self.n_accepted + self.spans.slide
        line = self.expected
        self._set_line(line.t0_s, line.s_ref, line.rate_hz, line.n_ref)

    def accept(self, n: Floats, t_s: Floats) -> None:
        """Add samples `n` (n_new,) with timestamps `t_s` (n_new,) to the fit."""
        while n.size:
            m = self._fit.add(n, t_s - self.expected.t0_s)
            self.n_accepted += m
            self._newest = float(n[m - 1]), float(self.expected.times_s(n[m - 1 : m], t_s[m - 1 : m])[0])
            if not self._fit.n_missing:
                self._refit()
            n, t_s = n[m:], t_s[m:]

    def _refit(self) -> None:
        spans, jitter, fitted = self.spans, self.jitter, self._fit.fit(self.n_accepted, self._newest[0])
        jitter.fitted = fitted.range
        if not self.is_learnt and self.n_accepted >= spans.learn:
            has_shown_it = fitted.range <= EXACT or fitted.n_packets >= _MIN_PACKETS
            self.is_learnt = has_shown_it or self.n_accepted >= spans.slide
            jitter.n_assumed *= not self.is_learnt
        if self.n_accepted >= jitter.n_assumed:
            jitter.assumed = 0.0
        per_packet = fitted.n_samples / fitted.n_packets if fitted.n_packets else 0.0
        self.n_persist = min(max(spans.watch, round(_AGREEING_PACKETS * per_packet)), spans.slide)
        self.mean_offset = fitted.mean_offset
        self.uncertainty_s = 0.0 if jitter.is_exact else fitted.uncertainty_s
        rate_hz = self.sfreq_hz * min(max(1 / (1 + fitted.slope), _MIN_RATE), _MAX_RATE)
        self._set_line(self.expected.t0_s, fitted.s_mid, rate_hz, fitted.n_mid)
        self._fit.begin_blocks(_MAX_BLOCKS if self.is_learnt else 1)


class _Fitted(NamedTuple):
    slope: float
    range: float  # samples, from the earliest to the latest
    mean_offset: float  # samples
    n_mid: float
    s_mid: float
    n_packets: float
    n_samples: int
    uncertainty_s: float


class _BlockFit:
    """Least squares over blocks of samples: each is summed up once, and the sums of the last 40 s are kept."""

    def __init__(self, spans: Spans, sfreq_hz: float) -> None:
        self._n_block, self._sfreq_hz = spans.block, sfreq_hz
        self._n_packet = _PACKET_S * sfreq_hz
        self._n_jitter = spans.slide // spans.block  # blocks whose range is the jitter
        n_max = _MAX_BLOCKS * spans.block
        self._samples = np.empty((2, n_max))  # sample numbers; seconds after the origin
        # Of the newest sample: number, excess, step to it, whether that was even, samples since the end of a packet.
        self._before = np.zeros(5)
        # One column a block. Of its packets' ends: their number, mean n and mean excess, and the sums nn, ne, ee about
        # these means. Of all its samples: mean n, mean excess, highest and lowest offset. The ends of packets seen.
        self._blocks = np.empty((11, math.ceil(_FIT_S * sfreq_hz / spans.block)))
        self.reset()

    def reset(self) -> None:
        self._slope = 0.0
        self.begin_blocks(1)

    def start(self, n: float) -> None:
        self._before[:] = n, -n, math.nan, 0.0, math.inf
        self._mid = n, -n  # number and excess of a sample on the line

    def begin_blocks(self, n_blocks: int) -> None:
        """Fit next when `n_blocks` more are complete."""
        self._n_due, self._n_filled = n_blocks * self._n_block, 0

    @property
    def n_missing(self) -> int:
        return self._n_due - self._n_filled

    @property
    def is_empty(self) -> bool:
        return not self._n_filled

    def add(self, n: Floats, s: Floats) -> int:
        """Add samples up to the next fit; return how many."""
        m, filled = min(n.size, self.n_missing), self._n_filled
        self._samples[:, filled : filled + m] = n[:m], s[:m]
        self._n_filled += m
        return m

    def fit(self, n_accepted: int, n_last: float) -> _Fitted:
        """Fit excess = slope * n, so that the rate is sfreq / (1 + slope)."""
        n_blocks = n_accepted // self._n_block
        self._sum_up(n_blocks)
        blocks = self._blocks[:, :n_blocks]  # (11, n_blocks)
        count, n, excess, nn, ne, ee = blocks[:6]  # each (n_blocks,)
        n_points = _sum(count)
        if n_points:
            self._mid = _sum(count * n) / n_points, _sum(count * excess) / n_points
        n_mid, excess_mid = self._mid
        dn, de = n - n_mid, excess - excess_mid  # (n_blocks,)
        nn_all = _sum(nn) + _sum(count * dn * dn)
        ne_all = _sum(ne) + _sum(count * dn * de)
        ee_all = _sum(ee) + _sum(count * de * de)
        slope, prior, variance = _slope(nn_all, ne_all, ee_all, n_points)
        self._slope = min(max(slope, 1 / _MAX_RATE - 1), 1 / _MIN_RATE - 1)
        n_recent = min(n_blocks, self._n_jitter)
        recent = np.arange(n_blocks - n_recent, n_blocks) % self._blocks.shape[1]
        n_all, excess_all, high, low, n_packets = self._blocks[6:, recent]  # each (n_recent,)
        level = (excess_all - excess_mid) - self._slope * (n_all - n_mid)
        range_ = float((level + high).max() - (level + low).min())
        n_off = n_last - n_mid
        error = math.inf
        if n_points > 2:
            error = _COVER * math.sqrt(variance * (1 / n_points + n_off * n_off / (nn_all + prior)))
        s_mid = float((n_mid + excess_mid) / self._sfreq_hz)
        return _Fitted(
            self._slope,
            range_,
            float(_sum(level)) / n_recent,
            float(n_mid),
            s_mid,
            _sum(n_packets),
            n_recent * self._n_block,
            error / self._sfreq_hz,
        )

    def _sum_up(self, n_blocks: int) -> None:
        n_due, n_block = self._n_due, self._n_block
        n, s = self._samples[:, :n_due]  # (n_due,) each
        excess = s * self._sfreq_hz - n  # (n_due,)
        at = np.arange(n_blocks - n_due // n_block, n_blocks) % self._blocks.shape[1]
        is_end, is_point = self._find_packets(excess)
        n_before, excess_before = np.append(self._before[0], n[:-1]), np.append(self._before[1], excess[:-1])
        self._before[:2] = n[-1], excess[-1]
        points = _moments(n_before.reshape(-1, n_block), excess_before.reshape(-1, n_block), is_point)
        n, excess = n.reshape(-1, n_block), excess.reshape(-1, n_block)
        n_mean, excess_mean = _sum(n, 1) / n_block, _sum(excess, 1) / n_block  # (n_blocks,) each
        dn, de = n - n_mean[:, None], excess - excess_mean[:, None]  # (n_blocks, n_block)
        residual = de - (_sum(dn * de, 1) / _sum(dn * dn, 1))[:, None] * dn
        is_rough = residual.max(axis=1) - residual.min(axis=1) > EXACT
        if is_rough.any():
            residual[is_rough] = (de - self._slope * dn)[is_rough]
        high, low = residual.max(axis=1), residual.min(axis=1)
        self._blocks[:, at] = *points, n_mean, excess_mean, high, low, _sum(is_end, 1)

    def _find_packets(self, excess: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return whether a packet ends before each sample, and whether the sample before it enters the fit.

        Both are (n_blocks, n_block). If timestamps step by 1 for longer than any packet, the last of each block enters.
        """
        step = np.diff(excess, prepend=self._before[1])  # (n_due,) -1: stamped on arrival; 0: dated back
        is_dated = np.abs(step) <= _EVEN
        is_even = is_dated | ((step >= -1 - _EVEN) & (step <= -1 + EXACT + _EVEN))
        was_even = np.append(self._before[3], is_even[:-1]) > 0
        changes = np.abs(np.diff(step, prepend=self._before[2])) > _EVEN
        is_end = ~is_even | (was_even & changes)
        if math.isnan(self._before[2]):  # no packet ends before the first sample, and the step to the second is unknown
            is_end[:2] = False
        index = np.arange(float(step.size))
        n_since = index - np.maximum.accumulate(np.where(is_end, index, -1.0 - self._before[4]))  # (n_due,)
        self._before[2:] = step[-1], is_even[-1], n_since[-1]
        is_end, n_since = is_end.reshape(-1, self._n_block), n_since.reshape(-1, self._n_block)
        is_point = is_end.copy()
        is_point[:, -1] |= is_dated.reshape(is_end.shape).all(axis=1) & (n_since[:, -1] > self._n_packet)
        return is_end, is_point


def _moments(n: Floats, excess: Floats, is_point: NDArray[np.bool_]) -> tuple[Floats, ...]:
    """Return number, mean n, mean excess, and the sums nn, ne, ee of the points of each block: (n_blocks,) each."""
    count = _sum(is_point, 1, np.float64)
    divisor = np.maximum(count, 1.0)
    n_mean, excess_mean = _sum(n * is_point, 1) / divisor, _sum(excess * is_point, 1) / divisor
    dn, de = (n - n_mean[:, None]) * is_point, (excess - excess_mean[:, None]) * is_point
    return count, n_mean, excess_mean, _sum(dn * dn, 1), _sum(dn * de, 1), _sum(de * de, 1)


def _slope(nn: float, ne: float, ee: float, n_points: float) -> tuple[float, float, float]:
    """Return the slope of a line with a prior, what the prior adds to `nn`, and the variance of the residuals.

    The prior's weight follows from the residuals of the line without a prior, or of the nominal rate for few points.
    """
    variance = ee / max(n_points, 1.0)
    if n_points >= _MIN_POINTS and nn > 0:
        variance = (ee - ne * ne / nn) / (n_points - 2)
    variance = max(variance, 0.0)
    prior = variance / _RATE_PRIOR**2
    return float(ne / (nn + prior)) if nn + prior > 0 else 0.0, float(prior), float(variance)
