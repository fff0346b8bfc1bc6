"""The line that the stamps of a sound stream lie on; `pretap_realtime.signal.losses` says how it is used."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_ROOM", "StampLine"]

_Floats = NDArray[np.float64]

_EXACT: Final = 0.1  # samples of jitter; stamps of 1.7e9 s resolve 2.4e-7 s, 0.005 samples at 20 kHz
_HALF: Final = 0.5  # samples; halfway to one lost sample
_SLIDE_S: Final = 10.0
_MOST_BLOCKS: Final = 10  # fitted together, once the jitter is known
_MIN_RATE, _MAX_RATE = 0.99, 1.01  # of nominal
_MIN_PUSHES: Final = 32  # stampings whose range stands for the jitter
_WATCHED_PUSHES: Final = 8  # stampings that must agree before a shift is believed

_HIGHEST_BLOCK: Final = 256
MOST_ROOM: Final = _MOST_BLOCKS * _HIGHEST_BLOCK

_sum = np.add.reduce  # half the cost of the method


class StampLine:
    """Where stamps should lie: a line through the last 10 s.

    It is refitted after each block of accepted samples, and once the jitter is known after each ten: a fit costs as
    much as a decision.
    """

    def __init__(self, sfreq_hz: float) -> None:
        self.sfreq_hz = sfreq_hz
        self.n_block = n_block = min(max(32, round(0.05 * sfreq_hz)), _HIGHEST_BLOCK)
        self.n_proof = n_block * math.ceil(max(128, 0.15 * sfreq_hz) / n_block)  # exact so far: trust it
        self.n_learn = n_block * math.ceil(max(256, sfreq_hz) / n_block)
        self.n_slide = n_block * math.ceil(_SLIDE_S * sfreq_hz / n_block)
        self.n_watch = max(128, round(0.25 * sfreq_hz))
        n_most = _MOST_BLOCKS * n_block
        self._n = np.empty(n_most)  # (n_most,) sample numbers
        self._s = np.empty(n_most)  # (n_most,) seconds after the origin
        self._excess = np.empty(n_most + 1)  # the last one of the block before, then (n_most,)
        # One column a block: mean n, mean excess, their within-block sums nn and ne, highest and lowest offset, pushes.
        self._blocks = np.empty((7, self.n_slide // n_block))
        self.reset()

    def reset(self) -> None:
        self.rate_hz = self.sfreq_hz
        self.learnt = False  # the jitter is known
        self._n_due = self.n_block  # so many make the next fit
        self.n_good = self._n_filled = 0
        self.n_persist = self.n_watch
        self._t0_s = math.nan
        self._n_ref = self._s_ref = 0.0
        self._slope = self._range = self._widened = 0.0
        self._n_widened = 0
        self._set_jitter()

    def _set_jitter(self) -> None:
        jitter = max(self._range, self._widened)
        self.exact = jitter <= _EXACT
        self.limit = _HALF + jitter  # an offset beyond is off the line
        self.back = _HALF + jitter / 2  # one below has come back: every stamp of a shift > limit stays above

    @property
    def started(self) -> bool:
        return not math.isnan(self._t0_s)

    @property
    def room(self) -> int:
        return self._n_due - self._n_filled

    @property
    def is_fitted(self) -> bool:
        """Whether the line was fitted after the newest sample."""
        return not self._n_filled

    def start(self, n: float, t_s: float) -> None:
        self._t0_s, self._n_ref, self._s_ref, self._excess[0] = t_s, n, 0.0, -n

    def offsets(self, n: _Floats, t_s: _Floats) -> _Floats:
        """Return by how many samples stamps are late (n,); element by element, so that chunks cannot matter."""
        return ((t_s - self._t0_s) - self._s_ref) * self.rate_hz - (n - self._n_ref)

    @property
    def terms(self) -> tuple[float, float, float, float]:
        return self._t0_s, self._s_ref, self.rate_hz, self._n_ref

    def holds(self, n: float, stamps_s: list[float]) -> bool:
        """Say whether stamps in a row, the first of sample n, lie within the limit: as `offsets` says, to the bit."""
        t0_s, s_ref, n_ref, rate_hz, limit = self._t0_s, self._s_ref, self._n_ref, self.rate_hz, self.limit
        for t_s in stamps_s:
            if not abs(((t_s - t0_s) - s_ref) * rate_hz - (n - n_ref)) <= limit:  # NaN is off the line too
                return False
            n += 1
        return True

    def shift(self, off_samples: float) -> None:
        self._t0_s += off_samples / self.rate_hz

    def widen(self, off_samples: float) -> None:
        """Let the jitter be at least this, for 10 s or until it is learnt."""
        self._widened = max(self._widened, off_samples)
        self._n_widened = self.n_good + self.n_slide
        self._set_jitter()

    def accept(self, n: _Floats, t_s: _Floats) -> None:
        while n.size:
            m, fill = min(n.size, self.room), self._n_filled
            self._n[fill : fill + m] = n[:m]
            self._s[fill : fill + m] = t_s[:m] - self._t0_s
            self._n_filled += m
            self.n_good += m
            n, t_s = n[m:], t_s[m:]
            if not self.room:
                self._end_blocks()
                self._n_filled = 0

    def _end_blocks(self) -> None:
        n_due, n_block = self._n_due, self.n_block
        excess = self._excess[1 : n_due + 1]  # (n_due,) samples late, at the nominal rate
        np.subtract(self._s[:n_due] * self.sfreq_hz, self._n[:n_due], out=excess)
        pushed = np.abs(excess - self._excess[:n_due]) > _EXACT
        self._excess[0] = excess[-1]
        n, excess, pushed = (
            self._n[:n_due].reshape(-1, n_block),
            excess.reshape(-1, n_block),
            pushed.reshape(-1, n_block),
        )
        n_mean, excess_mean = _sum(n, 1) / n_block, _sum(excess, 1) / n_block  # (n_blocks,) each
        dn, de = n - n_mean[:, None], excess - excess_mean[:, None]  # (n_blocks, n_block)
        nn, ne = _sum(dn * dn, 1), _sum(dn * de, 1)  # (n_blocks,) each
        rest = de - (ne / nn)[:, None] * dn
        is_rough = rest.max(axis=1) - rest.min(axis=1) > _EXACT
        if is_rough.any():
            rest[is_rough] = (de - self._slope * dn)[is_rough]
        end = self.n_good // n_block  # of these blocks
        at = np.arange(end - len(n), end) % self._blocks.shape[1]
        self._blocks[:, at] = n_mean, excess_mean, nn, ne, rest.max(axis=1), rest.min(axis=1), _sum(pushed, 1)
        self._fit(self._blocks[:, :end])  # (7, n_blocks)
        self._n_due = n_block * (_MOST_BLOCKS if self.learnt else 1)

    def _fit(self, blocks: _Floats) -> None:
        """Least squares over all samples of the blocks: excess = slope * n, so the rate is sfreq / (1 + slope)."""
        n, excess, nn, ne, high, low, pushes = blocks  # each (n_blocks,)
        n_mid, excess_mid = _sum(n) / n.size, _sum(excess) / n.size
        dn, de = n - n_mid, excess - excess_mid  # (n_blocks,)
        slope = (_sum(ne) + self.n_block * _sum(dn * de)) / (_sum(nn) + self.n_block * _sum(dn * dn))
        slope = min(max(slope, 1 / _MAX_RATE - 1), 1 / _MIN_RATE - 1)
        n_pushes = _sum(pushes)
        for self._slope in (slope, 0.0):
            level = de - self._slope * dn
            self._range = float((level + high).max() - (level + low).min())
            if self.learnt or self._range <= _EXACT:
                break  # otherwise the slope of so short a time is noise: the nominal rate
        self.rate_hz = self.sfreq_hz * min(max(1 / (1 + float(self._slope)), _MIN_RATE), _MAX_RATE)
        self._n_ref, self._s_ref = float(n_mid), float((n_mid + excess_mid) / self.sfreq_hz)
        if not self.learnt and self.n_good >= self.n_learn:
            self.learnt = self._range <= _EXACT or n_pushes >= _MIN_PUSHES or self.n_good >= self.n_slide
            self._n_widened = self._n_widened * (not self.learnt)
        if self.n_good >= self._n_widened:
            self._widened = 0.0
        push = n.size * self.n_block / n_pushes if n_pushes else 0.0  # samples that share one stamping
        self.n_persist = min(max(self.n_watch, round(_WATCHED_PUSHES * push)), self.n_slide)
        self._set_jitter()
