"""The line on which the timestamps of a regular stream lie; the shift detector uses it to find losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.signal.plain_samples import ExpectedTimestamps

_Floats = NDArray[np.float64]

_EXACT: Final = 0.1  # samples of jitter; timestamps of 1.7e9 s resolve 2.4e-7 s, 0.005 samples at 20 kHz
_HALF: Final = 0.5  # samples; halfway to one lost sample
_SLIDE_S: Final = 10.0
_MAX_BLOCKS: Final = 10  # fitted together once the jitter is known: a fit costs as much as a decision
_MIN_RATE, _MAX_RATE = 0.99, 1.01  # of nominal
_MIN_PUSHES: Final = 32  # pushes of the device whose range stands for the jitter
_AGREEING_PUSHES: Final = 8  # pushes that must agree before a shift is believed
_MAX_BLOCK: Final = 256

MAX_PLAIN: Final = _MAX_BLOCKS * _MAX_BLOCK  # samples between two fits, at most

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
        Number of samples after which the jitter is known, if the device has pushed often enough.
    slide
        Samples that the line is fitted to, and after which a wild timestamp is forgotten.
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
            slide=whole_blocks(_SLIDE_S * sfreq_hz),
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
        return self.range <= _EXACT

    @property
    def limit(self) -> float:
        """An offset beyond this is off the line."""
        return _HALF + self.range

    @property
    def back(self) -> float:
        """An offset below this has come back to the line: all samples of a shift beyond the limit stay above it."""
        return _HALF + self.range / 2


class TimestampLine:
    """A line through the timestamps of the last 10 s, fitted to the samples that were accepted.

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
        How many samples must stay off the line before their shift is believed.
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
        self._set_line(math.nan, 0.0, self.sfreq_hz, 0.0)

    def start(self, n: float, t_s: float) -> None:
        """Begin with sample `n` at `t_s`."""
        self._fit.start(n)
        self._set_line(t_s, 0.0, self.expected.rate_hz, n)

    def _set_line(self, t0_s: float, s_ref: float, rate_hz: float, n_ref: float) -> None:
        self.expected = ExpectedTimestamps(t0_s, s_ref, rate_hz, n_ref, self.jitter.limit)

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
        self._set_line(line.t0_s + offset / line.rate_hz, line.s_ref, line.rate_hz, line.n_ref)

    def widen(self, jitter: float) -> None:
        """Assume that the jitter is at least this many samples, for 10 s or until it is learnt."""
        self.jitter.assumed = max(self.jitter.assumed, jitter)
        self.jitter.n_assumed = self.n_accepted + self.spans.slide
        line = self.expected
        self._set_line(line.t0_s, line.s_ref, line.rate_hz, line.n_ref)

    def accept(self, n: _Floats, t_s: _Floats) -> None:
        """Add samples `n` (n_new,) with timestamps `t_s` (n_new,) to the fit."""
        while n.size:
            m = self._fit.add(n, t_s - self.expected.t0_s)
            self.n_accepted += m
            n, t_s = n[m:], t_s[m:]
            if not self._fit.n_missing:
                self._refit()

    def _refit(self) -> None:
        spans, jitter, fitted = self.spans, self.jitter, self._fit.fit(self.n_accepted, trusts_slope=self.is_learnt)
        jitter.fitted = fitted.range
        if not self.is_learnt and self.n_accepted >= spans.learn:
            has_shown_it = fitted.range <= _EXACT or fitted.n_pushes >= _MIN_PUSHES
            self.is_learnt = has_shown_it or self.n_accepted >= spans.slide
            jitter.n_assumed *= not self.is_learnt
        if self.n_accepted >= jitter.n_assumed:
            jitter.assumed = 0.0
        per_push = fitted.n_samples / fitted.n_pushes if fitted.n_pushes else 0.0
        self.n_persist = min(max(spans.watch, round(_AGREEING_PUSHES * per_push)), spans.slide)
        rate_hz = self.sfreq_hz * min(max(1 / (1 + fitted.slope), _MIN_RATE), _MAX_RATE)
        self._set_line(self.expected.t0_s, fitted.s_mid, rate_hz, fitted.n_mid)
        self._fit.begin_blocks(_MAX_BLOCKS if self.is_learnt else 1)


class _Fitted(NamedTuple):
    slope: float
    range: float  # samples, from the earliest to the latest
    n_mid: float
    s_mid: float
    n_pushes: float
    n_samples: int


class _BlockFit:
    """Least squares over blocks of samples: each is summed up once, and the sums of the last 10 s are kept."""

    def __init__(self, spans: Spans, sfreq_hz: float) -> None:
        self._n_block, self._sfreq_hz = spans.block, sfreq_hz
        n_max = _MAX_BLOCKS * spans.block
        self._samples = np.empty((2, n_max))  # sample numbers; seconds after the origin
        self._excess = np.empty(n_max + 1)  # samples late at the nominal rate; the first of the block before
        # One column a block: mean n, mean excess, their within-block sums nn and ne, highest and lowest offset, pushes.
        self._blocks = np.empty((7, spans.slide // spans.block))
        self.reset()

    def reset(self) -> None:
        self._slope = 0.0
        self.begin_blocks(1)

    def start(self, n: float) -> None:
        self._excess[0] = -n

    def begin_blocks(self, n_blocks: int) -> None:
        """Fit next when `n_blocks` more are complete."""
        self._n_due, self._n_filled = n_blocks * self._n_block, 0

    @property
    def n_missing(self) -> int:
        return self._n_due - self._n_filled

    @property
    def is_empty(self) -> bool:
        return not self._n_filled

    def add(self, n: _Floats, s: _Floats) -> int:
        """Add samples up to the next fit; return how many."""
        m, filled = min(n.size, self.n_missing), self._n_filled
        self._samples[:, filled : filled + m] = n[:m], s[:m]
        self._n_filled += m
        return m

    def fit(self, n_accepted: int, *, trusts_slope: bool) -> _Fitted:
        """Fit excess = slope * n, so that the rate is sfreq / (1 + slope); without trust only if it fits exactly."""
        self._sum_up(n_accepted)
        blocks = self._blocks[:, : n_accepted // self._n_block]  # (7, n_blocks)
        n, excess, nn, ne, high, low, pushes = blocks  # each (n_blocks,)
        n_mid, excess_mid = _sum(n) / n.size, _sum(excess) / n.size
        dn, de = n - n_mid, excess - excess_mid  # (n_blocks,)
        slope = (_sum(ne) + self._n_block * _sum(dn * de)) / (_sum(nn) + self._n_block * _sum(dn * dn))
        slope = min(max(slope, 1 / _MAX_RATE - 1), 1 / _MIN_RATE - 1)
        range_ = 0.0
        for self._slope in (float(slope), 0.0):
            level = de - self._slope * dn
            range_ = float((level + high).max() - (level + low).min())
            if trusts_slope or range_ <= _EXACT:
                break  # otherwise the slope of so short a time is noise, and the nominal rate is kept
        s_mid = float((n_mid + excess_mid) / self._sfreq_hz)
        return _Fitted(self._slope, range_, float(n_mid), s_mid, _sum(pushes), n.size * self._n_block)

    def _sum_up(self, n_accepted: int) -> None:
        n_due, n_block = self._n_due, self._n_block
        n, s = self._samples[:, :n_due]  # (n_due,) each
        excess = self._excess[1 : n_due + 1]  # (n_due,)
        np.subtract(s * self._sfreq_hz, n, out=excess)
        is_push = np.abs(excess - self._excess[:n_due]) > _EXACT
        self._excess[0] = excess[-1]
        n, excess, is_push = n.reshape(-1, n_block), excess.reshape(-1, n_block), is_push.reshape(-1, n_block)
        n_mean, excess_mean = _sum(n, 1) / n_block, _sum(excess, 1) / n_block  # (n_blocks,) each
        dn, de = n - n_mean[:, None], excess - excess_mean[:, None]  # (n_blocks, n_block)
        nn, ne = _sum(dn * dn, 1), _sum(dn * de, 1)  # (n_blocks,) each
        residual = de - (ne / nn)[:, None] * dn
        is_rough = residual.max(axis=1) - residual.min(axis=1) > _EXACT
        if is_rough.any():
            residual[is_rough] = (de - self._slope * dn)[is_rough]
        end = n_accepted // n_block  # of these blocks
        at = np.arange(end - len(n), end) % self._blocks.shape[1]
        high, low = residual.max(axis=1), residual.min(axis=1)
        self._blocks[:, at] = n_mean, excess_mean, nn, ne, high, low, _sum(is_push, 1)
