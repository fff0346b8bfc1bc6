"""Losses: which samples of a stream are clean, where it was interrupted, and how many samples were lost.

Used by the front end. Two things interrupt a stream: values or timestamps that are not finite, found here, and shifts
of the timestamps, found by `ShiftDetector`. If the device counts its samples, the counter decides what was lost, and
shifts of the timestamps are never losses.

All state moves sample by sample or at fixed counts of accepted samples, so chunk boundaries decide nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pretap.signal.shifts import Break, LossCounts, ShiftDetector
from pretap_realtime.signal.counter import Counter
from pretap_realtime.signal.rate import StartRate

BAD_TIMESTAMP_S: Final = 1e10  # 300 years; beyond, a float64 no longer resolves a sample

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Attributes
    ----------
    clean
        (n_new,), False for a sample that must enter no window.
    times_s
        (n_new,), when the samples were taken; NaN if the timestamp is not usable.
    breaks
        The interruptions, in order.
    """

    clean: NDArray[np.bool_]
    times_s: NDArray[np.float64]
    breaks: tuple[Break, ...]


class LossDetector:
    """Tells clean from broken samples and counts losses; the same for any chunking.

    Parameters
    ----------
    sfreq_hz : float
        Nominal rate of the stream.
    counter_wraps_at : int
        The value at which the device's counter starts again from 0, see `Counter`.

    Attributes
    ----------
    counts
        Samples received and lost since construction; a `reset` keeps them.
    shifts
        Follows the timestamps of the current connection.
    """

    def __init__(self, *, sfreq_hz: float, counter_wraps_at: int = 0) -> None:
        self.counts = LossCounts()
        self._counter = Counter(wraps_at=counter_wraps_at)
        self.reset(sfreq_hz=sfreq_hz)

    def reset(self, *, sfreq_hz: float) -> None:
        """Forget timestamps, rate and jitter for a new connection at `sfreq_hz`; the counts survive."""
        if not (math.isfinite(sfreq_hz) and sfreq_hz > 0):
            raise ValueError(f"sfreq_hz must be a positive number, got {sfreq_hz!r}.")
        self.shifts = ShiftDetector(self.counts, sfreq_hz=sfreq_hz)
        self._start_rate = StartRate(sfreq_hz)
        self._counter.reset(sfreq_hz=sfreq_hz)
        self._jumps: list[Break] = []  # of the counter, in samples still to come; `index` counts all samples received
        self._n_counted = 0  # samples received, and those still to come whose counter was read
        self._n_first = 0  # number of the next sample, lost ones included
        self._was_clean = True

    @property
    def rate_hz(self) -> float:
        """Rate estimated over the last 10 s, within 1 % of nominal; nominal until there is enough."""
        return self.shifts.line.expected.rate_hz

    @property
    def wrong_rate_hz(self) -> float:
        """The rate that the first timestamps show if it is not the nominal one, otherwise 0. See `StartRate`."""
        return self._start_rate.wrong_hz

    @property
    def smallest_gap_samples(self) -> float:
        """Distance between consecutive timestamps, in samples, beyond which a gap shows: 1.5 plus the jitter."""
        return 1 + self.shifts.line.jitter.limit

    @property
    def n_first(self) -> int:
        """Number of the next sample, as `ExpectedTimestamps` counts them."""
        return self._n_first

    @property
    def n_plain(self) -> int:
        """How many plain samples may be accepted next; 0 if the next sample must be checked."""
        return 0 if self._jumps or not self._was_clean else self.shifts.n_plain

    def accept(self, t_s: _Floats) -> None:
        """Accept plain samples with these timestamps (n_new,), at most `n_plain` of them, as `check` would."""
        n = self._n_first + np.arange(float(len(t_s)))  # (n_new,)
        self._start_rate.follow(n, t_s)
        self.shifts.line.accept(n, t_s)
        self._n_first += len(t_s)
        self.counts.n_received += len(t_s)

    def follow_counter(self, values: _Floats, t_s: _Floats, *, n_ahead: int) -> None:
        """Read the device's counter of new samples: its values and the timestamps (n_new,).

        `n_ahead` samples before them are not accepted yet.

        Raises
        ------
        StreamRefusedError
            If the channel does not count samples.
        """
        self.shifts.has_counter = True
        n_received = self.counts.n_received + n_ahead
        self._n_counted = n_received + len(values)
        self._jumps += [Break(n_received + j.index, j.n_lost, j.why) for j in self._counter.follow(values, t_s)]

    def check(self, x_uv: NDArray[Any], t_s: _Floats, *, now_s: float = math.inf) -> Checked:
        """Check a chunk.

        Parameters
        ----------
        x_uv : array (n_new, n_channels)
            Samples in microvolts.
        t_s : array (n_new,)
            Timestamps in seconds.
        now_s : float
            The time on the clock of the timestamps, if it is known: a gap cannot lead into the future.
        """
        if x_uv.ndim != 2 or t_s.shape != x_uv.shape[:1]:
            raise ValueError(f"Expected x_uv (n_new, n_channels) and t_s (n_new,), got {x_uv.shape} and {t_s.shape}.")
        breaks: list[Break] = []
        clean = np.abs(t_s) < BAD_TIMESTAMP_S  # (n_new,) False for NaN too
        at = np.arange(t_s.size)  # (n_new,)
        n = at.astype(np.float64) + self._n_first  # (n_new,) whole numbers, exact
        n_lost = self._jump_counter(n, breaks) if self._jumps else 0
        finite = np.isfinite(x_uv)  # (n_new, n_channels)
        usable = slice(None) if clean.all() else clean
        self._start_rate.follow(n[usable], t_s[usable])
        shifts, times_s = self.shifts.follow(at[usable], n[usable], t_s[usable], now_s=now_s)
        breaks += shifts
        if times_s.size < t_s.size:
            every = np.full(t_s.size, math.nan)
            every[usable], times_s = times_s, every
        if not (self._was_clean and finite.all() and clean.all()):
            clean = self._find_unclean(finite, clean, breaks)
        breaks.sort(key=lambda b: b.index)
        self._n_first += t_s.size + n_lost
        self.counts.n_received += t_s.size
        return Checked(clean, times_s, tuple(breaks))

    def close(self) -> None:
        """Count what is still pending: no more samples follow."""
        self.shifts.close()
        if self.shifts.has_counter:  # of a chunk that was refused half-way all samples were received
            self.counts.n_received = self._n_counted
            self.counts.n_lost += sum(jump.n_lost for jump in self._jumps)
            self._jumps = []

    def _find_unclean(
        self, finite: NDArray[np.bool_], has_time: NDArray[np.bool_], breaks: list[Break]
    ) -> NDArray[np.bool_]:
        rows = finite.all(axis=1)  # (n_new,)
        clean = rows & has_time
        self.counts.n_nonfinite += int((~rows).sum())
        self.counts.n_bad_timestamps += int((~has_time).sum())
        before = np.concatenate([[self._was_clean], clean[:-1]])  # (n_new,) was the sample before clean?
        for i in np.flatnonzero(before & ~clean):
            why = f"non-finite: channel {finite[i].argmin()}" if has_time[i] else "non-finite: timestamp"
            breaks.append(Break(int(i), 0, why))
        if clean.size:
            self._was_clean = bool(clean[-1])
        return clean

    def _jump_counter(self, n: _Floats, breaks: list[Break]) -> int:
        """Move the sample numbers `n` (n_new,) by what the counter says is missing before them; return how much."""
        n_lost = 0
        while self._jumps and (at := self._jumps[0].index - self.counts.n_received) < n.size:
            jump = self._jumps.pop(0)
            n[at:] += jump.n_lost
            n_lost += jump.n_lost
            breaks.append(Break(at, jump.n_lost, jump.why))
        self.counts.n_lost += n_lost
        return n_lost
