"""The timeline of a regular stream: when each sample was taken, by a line through the jittered timestamps.

Real devices stamp their samples in packets, and late. So a timestamp is not the time of a sample, unless the timestamps
are exact. The timeline fits ``time = origin + n / rate`` to the timestamps of the last 40 s. It is causal: a sample's
time follows from earlier packets alone, and is never revised. `sample_times` does the same for whole recordings.

A *packet* is a run of samples whose timestamps step evenly, by 0 to 0.1 samples (stamped on arrival) or by 1 (dated
back at the nominal rate). Only the last timestamp of a packet enters the fit, because the others may be invented.

The estimator is least squares, with a prior of 200 ppm on the deviation from the nominal rate. So times are late by the
mean delay of a packet's last timestamp, a constant that no receiver can tell. A fit to the earliest timestamps would
not be free of it: with symmetric jitter it is early by several standard deviations, and one early timestamp moves it.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from pretap.signal.timeline_fit import EXACT, MAX_BLOCK, MAX_BLOCKS, MAX_RATE, MIN_RATE, BlockFit, Floats, Spans

MAX_PLAIN: Final = MAX_BLOCKS * MAX_BLOCK  # samples between two fits, at most
BACKLOG_JITTER_S: Final = 0.05  # a device with more jitter has backlogs
_HALF: Final = 0.5  # samples; halfway to one lost sample
_MIN_PACKETS: Final = 32  # whose range stands for the jitter
_AGREEING_PACKETS: Final = 8  # that must agree before a shift is believed
_SMALL: Final = 64  # for fewer timestamps plain Python is faster than numpy

# ufunc.reduce costs half of what the array methods do.
_min, _max = np.minimum.reduce, np.maximum.reduce


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


class Jitter:
    """How far the timestamps of a stream scatter, in samples from the earliest to the latest.

    Attributes
    ----------
    fitted
        The range of the offsets of the last 10 s.
    assumed, n_assumed
        The least jitter to assume, until this number of samples was accepted.
    is_learnt
        Whether the jitter is known.
    """

    def __init__(self, sfreq_hz: float) -> None:
        self._sfreq_hz = sfreq_hz
        self.is_learnt = False
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
    def seconds(self) -> float:
        """The jitter in seconds."""
        return self.range / self._sfreq_hz

    @property
    def has_backlogs(self) -> bool:
        """Whether the device often sends so late that it is known for it."""
        return self.seconds > BACKLOG_JITTER_S

    @property
    def far_off(self) -> float:
        """An offset beyond this breaks the stream at once; infinity if the device has backlogs."""
        return math.inf if self.has_backlogs else self.limit + self.range

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
        self._fit = BlockFit(self.spans, sfreq_hz)
        self.reset()

    def reset(self) -> None:
        """Forget all timestamps."""
        self._fit.reset()
        self.jitter = Jitter(self.sfreq_hz)
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
        if not jitter.is_learnt and self.n_accepted >= spans.learn:
            has_shown_it = fitted.range <= EXACT or fitted.n_packets >= _MIN_PACKETS
            jitter.is_learnt = has_shown_it or self.n_accepted >= spans.slide
            jitter.n_assumed *= not jitter.is_learnt
        if self.n_accepted >= jitter.n_assumed:
            jitter.assumed = 0.0
        per_packet = fitted.n_samples / fitted.n_packets if fitted.n_packets else 0.0
        self.n_persist = min(max(spans.watch, round(_AGREEING_PACKETS * per_packet)), spans.slide)
        self.mean_offset = fitted.mean_offset
        self.uncertainty_s = 0.0 if jitter.is_exact else fitted.uncertainty_s
        rate_hz = self.sfreq_hz * min(max(1 / (1 + fitted.slope), MIN_RATE), MAX_RATE)
        self._set_line(self.expected.t0_s, fitted.s_mid, rate_hz, fitted.n_mid)
        self._fit.begin_blocks(MAX_BLOCKS if jitter.is_learnt else 1)
