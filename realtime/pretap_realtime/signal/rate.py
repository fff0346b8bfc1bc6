"""Whether a stream keeps its nominal rate: at the start (`StartRate`) and during a session (`RateCheck`).

Pure: both see timestamps alone.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from itertools import compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretap.signal.timeline_fit import packet_ends

_STRETCH_S: Final = 0.5
_N_STRETCHES: Final = 4
_MIN_SAMPLES: Final = 8  # samples that make a rate
_OFF: Final = 0.1  # of nominal; timestamps that jitter by 34 ms reach 7 % of a stretch

_MAX_BLOCKS = 40  # 10 s
_CHECK_BLOCKS = 8  # one check every 2 s
_AGREE = 2  # checks in a row that must find a drift to the same side
_JITTERS = 4.0  # median deviations of a block's duration that the ends of the span may be off
_OUTLIER = 6.0


class StartRate:
    """Measures the rate of each of the first four half-seconds, by timestamps or by the number of samples.

    A loss or a pause slows one of them down, not all.

    Attributes
    ----------
    wrong_hz
        The typical rate if all stretches are too slow, or all too fast, by more than a tenth; otherwise 0.
    """

    def __init__(self, sfreq_hz: float) -> None:
        self._sfreq_hz = sfreq_hz
        self._n_stretch = max(_MIN_SAMPLES, round(_STRETCH_S * sfreq_hz))
        self._start: tuple[float, float] | None = None  # of the stretch: sample number, timestamp
        self._rates_hz: list[float] = []
        self.wrong_hz = 0.0

    def follow(self, n: NDArray[np.float64], t_s: NDArray[np.float64]) -> None:
        """Add the numbers and the usable timestamps (n_new,) of the next samples."""
        if len(self._rates_hz) == _N_STRETCHES:
            return
        for n_at, at_s in zip(n.tolist(), t_s.tolist(), strict=True):
            if self._start is None:
                self._start = n_at, at_s
            n_samples, took_s = n_at - self._start[0], at_s - self._start[1]
            if n_samples >= self._n_stretch or (n_samples >= _MIN_SAMPLES and took_s >= _STRETCH_S):
                self._rates_hz.append(n_samples / took_s if took_s > 0 else math.inf)
                self._start = n_at, at_s
                if len(self._rates_hz) == _N_STRETCHES:
                    self._judge(self._rates_hz)
                    return

    def _judge(self, rates: list[float]) -> None:
        low, high = (1 - _OFF) * self._sfreq_hz, (1 + _OFF) * self._sfreq_hz
        if all(r < low for r in rates) or all(r > high for r in rates):
            self.wrong_hz = statistics.median(rates)


class RateCheck:
    """Compares blocks of about `n_block` samples with the time that passed by their timestamps.

    Durations far from the median are left out, so that a gap or a clock step is no drift. How exact the rate can be
    known follows from the scatter of the durations: with exact timestamps 0.5 % shows within 4 s, with timestamps that
    jitter by 30 ms it takes 10 s, and 1.5 %.
    """

    def __init__(self, sfreq_hz: float, *, n_block: int, percent: float) -> None:
        self._sfreq_hz, self._n_block, self._share = sfreq_hz, n_block, percent / 100
        self._spans: deque[tuple[int, float]] = deque(maxlen=_MAX_BLOCKS)  # of each block: samples, seconds
        self._last = 0, math.nan  # the newest end of a packet: its position in the next block, and its timestamp
        self._t_s, self._n_filled = np.empty(n_block), 0
        self._n_since = 0
        self._n_off = 0  # checks in a row, negative if the stream is too slow
        self.now = ""

    def add(self, t_s: NDArray[np.float64]) -> None:
        """Add timestamps (n_new,) of the block, at most as many as it misses."""
        self._t_s[self._n_filled : self._n_filled + len(t_s)] = t_s
        self._n_filled += len(t_s)

    def update(self) -> str:
        """Judge the block, which is complete; return what is wrong, empty for nothing.

        The block ends with its last packet, because timestamps within a packet may be invented.
        """
        t_s, self._n_filled = self._t_s, 0
        if not np.isfinite(t_s).all():
            self._last = 0, math.nan
            return self.now
        ends = np.flatnonzero(packet_ends(t_s * self._sfreq_hz - np.arange(len(t_s)))[:-1])
        end = int(ends[-1]) if ends.size else len(t_s) - 1
        n_samples, duration_s = end - self._last[0], float(t_s[end]) - self._last[1]
        self._last = end - len(t_s), float(t_s[end])
        if not duration_s > 0:  # the first block, or a clock that was set back
            return self.now
        self._spans.append((n_samples, duration_s))
        self._n_since += 1
        if self._n_since == _CHECK_BLOCKS:
            self._n_since = 0
            self._check()
        return self.now

    def _check(self) -> None:
        durations_s = [duration_s * self._n_block / n_samples for n_samples, duration_s in self._spans]
        middle_s = statistics.median(durations_s)
        scatter_s = statistics.median([abs(d - middle_s) for d in durations_s])
        is_kept = [abs(d - middle_s) <= _OUTLIER * scatter_s + 1e-6 for d in durations_s]
        kept = list(compress(self._spans, is_kept))
        took_s = sum(duration_s for _, duration_s in kept)
        rate_hz = sum(n_samples for n_samples, _ in kept) / took_s  # the jitter within the span cancels
        off = rate_hz / self._sfreq_hz - 1
        side = 0
        n_ends = 1 + len(self._spans) - len(kept)  # jitter adds up at the ends of what is left
        if abs(off) > self._share + _JITTERS * n_ends * scatter_s / took_s:
            side = 1 if off > 0 else -1
        self._n_off = side + self._n_off if side * self._n_off > 0 else side
        if not side:
            self.now = ""
        elif abs(self._n_off) >= _AGREE and not self.now:
            self.now = (
                f"the samples come at {rate_hz:.5g} Hz, the stream says {self._sfreq_hz:g} Hz: the amplifier's clock "
                "has drifted, samples are lost, or [stream] sfreq_hz has to be set"
            )
