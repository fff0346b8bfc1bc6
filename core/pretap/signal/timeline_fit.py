"""The fit of the timeline: packets of timestamps, and least squares through their ends. Used by `Timeline`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXACT: Final = 0.1  # samples of jitter; timestamps of 1.7e9 s resolve 2.4e-7 s, 0.005 samples at 20 kHz
_EVEN: Final = 0.01  # samples; steps within a packet differ by less
PACKET_S: Final = 0.15  # no packet is longer
_JITTER_S: Final = 10.0  # how long the jitter is remembered
_FIT_S: Final = 40.0  # how long the line is
MAX_BLOCKS: Final = 10  # fitted together once the jitter is known: a fit costs as much as a decision
MIN_RATE, MAX_RATE = 0.99, 1.01  # of nominal
_BACKLOG_SD_S: Final = 0.03  # beyond it a device's lateness says little about its rate,
_MAX_DRIFT: Final = 3e-3  # which is then within this of nominal
_RATE_PRIOR: Final = 2e-4  # standard deviation of a device's rate, relative to nominal
_COVER: Final = 2.3  # standard deviations; with what is unknown of rate and delay they cover 95 %
_MIN_POINTS: Final = 8  # whose residuals show how the packets scatter
MAX_BLOCK: Final = 256

_sum = np.add.reduce  # costs half of what the array method does


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
        block = min(max(32, round(0.05 * sfreq_hz)), MAX_BLOCK)

        def whole_blocks(n_samples: float) -> int:
            return block * math.ceil(n_samples / block)

        return cls(
            block=block,
            proof=whole_blocks(max(128, 0.15 * sfreq_hz)),
            learn=whole_blocks(max(256, sfreq_hz)),
            slide=whole_blocks(_JITTER_S * sfreq_hz),
            watch=max(128, round(0.25 * sfreq_hz)),
        )


class Fitted(NamedTuple):
    slope: float
    range: float  # samples, from the earliest to the latest
    mean_offset: float  # samples
    n_mid: float
    s_mid: float
    n_packets: float
    n_samples: int
    uncertainty_s: float


class BlockFit:
    """Least squares over blocks of samples: each is summed up once, and the sums of the last 40 s are kept."""

    def __init__(self, spans: Spans, sfreq_hz: float) -> None:
        self._n_block, self._sfreq_hz = spans.block, sfreq_hz
        self._n_jitter = spans.slide // spans.block  # blocks whose range is the jitter
        n_max = MAX_BLOCKS * spans.block
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

    def fit(self, n_accepted: int, n_last: float) -> Fitted:
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
        lowest, highest = 1 / MAX_RATE - 1, 1 / MIN_RATE - 1
        if variance > (_BACKLOG_SD_S * self._sfreq_hz) ** 2:
            lowest, highest = -_MAX_DRIFT, _MAX_DRIFT
        self._slope = min(max(slope, lowest), highest)
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
        return Fitted(
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
        is_dated = _is_dated(step)
        is_even = is_dated | is_stamped_on_arrival(step)
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
        is_point[:, -1] |= is_dated.reshape(is_end.shape).all(axis=1) & (n_since[:, -1] > PACKET_S * self._sfreq_hz)
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


def packet_ends(excess: Floats) -> NDArray[np.bool_]:
    """Return which samples end a packet, or all if the timestamps are exact: (n_samples,).

    `excess` (n_samples,) is how many samples each timestamp is late at the nominal rate.
    """
    step = np.diff(excess)
    is_even = _is_dated(step) | is_stamped_on_arrival(step)
    changes = np.abs(np.diff(step, prepend=step[:1])) > _EVEN
    is_end = np.append(~is_even | (np.append(False, is_even[:-1]) & changes), True)
    return is_end if is_end.sum() > 1 else np.ones(len(excess), bool)


def _is_dated(step: Floats) -> NDArray[np.bool_]:
    """Return which steps of the excess are those of timestamps that were dated back at the nominal rate."""
    return np.abs(step) <= _EVEN


def is_stamped_on_arrival(step: Floats) -> NDArray[np.bool_]:
    """Return which steps of the excess are those of timestamps that were made one after the other."""
    return (step >= -1 - _EVEN) & (step <= -1 + EXACT + _EVEN)
