"""Shifts of the timestamps: gaps, clock steps, and wild timestamps that mean nothing.

Used by the loss detector and by the reader of XDF files. Sample n of a regular stream should carry the timestamp
``t0 + n / rate``. The line is the `Timeline`, and the *offset* of a sample is how far its timestamp lies after the
line, in samples. The *jitter* is the range of the offsets of the last 10 s, from lowest to highest. With Gaussian
jitter of 3 ms at 1000 Hz that is about 24 samples or 8 standard deviations.

A gap is a step from the previous sample of more than 1.5 samples plus the jitter. In a regular stream the
step is 1, and it is 2 if one sample was lost. So the offset must exceed 0.5 samples plus the jitter. Only then is
``sent = received + lost`` exact for exact timestamps, and no window hides a lost sample.

A shift counts only if it persists. How that is judged depends on what is known of the jitter:

*exact* (jitter of at most 0.1 samples: replays, and devices that timestamp each sample): the first sample after a gap
    proves it, so the loss is counted there. If the timestamps come back within 0.25 s, the count is taken back in a
    break with a negative `n_lost`, so the sum of all `n_lost` is always the count. A packet with one timestamp looks
    exact inside. Shifts in the first 0.15 s therefore break at once, but are counted after another 0.15 s of exact
    timestamps; and in the first second a shift by a fraction of a sample, or back by a packet, shows that the
    timestamps jitter.
*learning* (jitter was seen; for the first second, or longer until 32 packets were seen): a timestamp off the line
    widens the jitter. No loss is counted, and none could be told from a late packet.
*jittered*: a late packet is no loss, and while a backlog lasts nobody can tell them apart. So a timestamp off the line
    is watched. If all timestamps of the next 0.25 s (at least 128 samples and 8 packets) stay off the line and agree
    within the jitter, their mean offset is the loss. A backlog runs back to the line: its timestamps do not agree. If
    the jitter exceeds 50 ms, the device is known for its backlogs, and its timestamps must agree for 30 times the
    jitter. A loss that turns out as a long backlog is taken back. If the jitter is smaller, and a timestamp lies off
    by more than twice of it, the stream breaks at once: a window across it could hide a gap.

A shift back, forward by more than an hour, or into the future is a clock step: a break without a loss. After a gap or a
step the line moves by the whole shift, so the rate is always fitted to received samples alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretap.signal.suspects import Suspects
from pretap.signal.timeline import Timeline
from pretap.signal.timeline_fit import PACKET_S
from pretap.spelling import counted

_Floats = NDArray[np.float64]

_WHOLE: Final = 0.02  # samples; one random shift in 25 passes for a whole number
_DRIFT: Final = 2e-4  # of a shift; the rate is not known at the very start
_CLOCK_STEP_S: Final = 3600.0
_UNKNOWN_STEP_S: Final = 1.0  # no jitter is that large: while it is being learnt, a larger shift starts over
_AGREE_JITTERS: Final = 30.0  # times the jitter for which such a device's timestamps must agree
_MAX_WATCH_S: Final = 20.0  # then a shift is believed, even if its timestamps do not agree
_TAKE_BACK_S: Final = 60.0  # how long a loss under jitter may turn out to be a backlog
_AHEAD_S: Final = 0.05  # timestamps may be as far in the future: two computers' clocks, amplifiers that extrapolate


@dataclass(frozen=True)
class Break:
    """The stream was interrupted before sample `index` of the chunk: a new segment begins there.

    `n_lost` samples are counted as lost here: 0 for values that are not finite, bad timestamps, clock steps and shifts
    that are not judged yet; negative if an earlier count is taken back. `why` is text for people.

    The line was moved by `shift` samples. The timestamps left it `n_late` samples before this one, and agree with each
    other since `n_agreed` samples.
    """

    index: int
    n_lost: int
    why: str
    shift: float = 0.0
    n_late: int = 0
    n_agreed: int = 0


@dataclass
class LossCounts:
    """Counts of samples.

    Attributes
    ----------
    n_received, n_lost
        Samples received, and counted as lost.
    n_nonfinite
        Samples with a value that is not finite.
    n_bad_timestamps
        Samples whose timestamp is not a time, or that came and went with a jump of more than a second.
    n_clock_steps
        How often the clock of the timestamps was set.
    """

    n_received: int = 0
    n_lost: int = 0
    n_nonfinite: int = 0
    n_bad_timestamps: int = 0
    n_clock_steps: int = 0


@dataclass(frozen=True)
class _Shift:
    """A shift that counted at once, and what to take back if the timestamps return."""

    n_at: float
    offset: float  # samples
    n_lost: int
    is_pending: bool
    clock_s: float


class ShiftDetector:
    """Follows the timestamps of a connection and finds gaps and clock steps. The module says how.

    Attributes
    ----------
    line
        Where the timestamps should lie.
    has_counter
        Whether a counter says what is lost, so that no shift of the timestamps is a loss.
    stepped_s
        By how much the clock of the timestamps was set since the connection began: the sum of steps up to an hour.
    """

    def __init__(self, counts: LossCounts, *, sfreq_hz: float) -> None:
        self.line = Timeline(sfreq_hz)
        self.has_counter = False
        self.stepped_s = 0.0
        self._counts, self._now_s = counts, math.inf
        self._breaks: list[Break] = []
        self._pending = [0, 0]  # losses and steps that count once the timestamps have proved exact
        self._n_proof = self.line.spans.proof  # accepted samples that prove it
        self._shifts: list[_Shift] = []  # that counted at once, of the last 0.25 s
        self._suspects = Suspects(2 * self.line.spans.slide)

    @property
    def n_plain(self) -> int:
        """How many plain samples the line may accept next; 0 if the next sample must be followed."""
        is_open = self._suspects.side or not self.line.is_started or any(self._pending)
        return 0 if is_open else self.line.n_to_fit

    def follow(
        self, at: NDArray[np.intp], n: _Floats, t_s: _Floats, *, now_s: float = math.inf
    ) -> tuple[list[Break], _Floats]:
        """Follow timestamps; return the breaks, and when the samples were taken.

        Parameters
        ----------
        at : array (n_new,)
            Positions of the samples in their chunk.
        n : array (n_new,)
            Their numbers, lost samples included.
        t_s : array (n_new,)
            Their timestamps, all usable.
        now_s : float
            The time on the clock of the timestamps, infinity if it is not known.
        """
        self._breaks, self._now_s = [], now_s
        if n.size and not self.line.is_started:
            self.line.start(float(n[0]), float(t_s[0]))
        times_s = np.empty(n.size)
        i = 0
        while i < n.size:
            step = self._suspect if self._suspects.side else self._walk
            i += step(at[i:], n[i:], t_s[i:], times_s[i:])
        return self._breaks, times_s

    def close(self) -> list[Break]:
        """Count what is pending: the shifts of exact timestamps, and a shift of the last samples that agree.

        Return the break of the latter, if there is one; its index counts back from the end.
        """
        self._breaks = []
        line, suspects = self.line, self._suspects
        if line.jitter.is_exact:
            self._counts.n_lost += self._pending[0]
            self._counts.n_clock_steps += self._pending[1]
        self._pending = [0, 0]
        if suspects.side and suspects.n_held >= line.n_persist:
            suspects.keep(line.n_persist, n_more=0)
            n, t_s = suspects.held
            offsets = line.expected.offsets(n, t_s)
            if np.ptp(offsets) <= line.jitter.limit:
                self._believe(-1, n, t_s, offsets)
            suspects.side = 0
        return self._breaks

    def _walk(self, at: NDArray[np.intp], n: _Floats, t_s: _Floats, times_s: _Floats) -> int:
        """Accept timestamps up to the first one off the line and judge that; return how many are done."""
        m = min(n.size, self.line.n_to_fit)
        offsets = self.line.expected.offsets(n[:m], t_s[:m])  # (m,)
        is_off = np.abs(offsets) > self.line.jitter.limit
        k = int(is_off.argmax()) if is_off.any() else m
        if k:
            times_s[:k] = self.line.expected.times_s(n[:k], t_s[:k])
            self._accept(at[:k], n[:k], t_s[:k])
        if k < m and self._judge(float(offsets[k]), float(n[k]), float(t_s[k]), int(at[k])):
            times_s[k : k + 1] = self.line.expected.times_s(n[k : k + 1], t_s[k : k + 1])
            self._accept(at[k : k + 1], n[k : k + 1], t_s[k : k + 1])
            k += 1
        return k

    def _accept(self, at: NDArray[np.intp], n: _Floats, t_s: _Floats) -> None:
        self.line.accept(n, t_s)
        if any(self._pending) and self.line.n_accepted >= self._n_proof and self.line.is_fitted:
            (n_lost, n_steps), self._pending = self._pending, [0, 0]
            if self.line.jitter.is_exact:
                self._counts.n_clock_steps += n_steps
                self._counts.n_lost += n_lost
                self._breaks.append(
                    Break(int(at[-1]), n_lost, f"gap: {counted(n_lost, 'sample')} lost" if n_lost else "clock step")
                )

    def _judge(self, offset: float, n: float, t_s: float, at: int) -> bool:
        """Judge a timestamp off the line; return whether it is on the line now. If not, it must be judged again."""
        line, is_exact = self.line, self.line.jitter.is_exact
        if is_exact and self._take_back(offset, n, at):
            return False
        is_huge = abs(offset) > _UNKNOWN_STEP_S * line.sfreq_hz
        is_packet = not self._shifts and 0 < -offset <= 1 + PACKET_S * line.sfreq_hz  # stamped on its arrival
        is_whole = not is_packet and abs(offset - round(offset)) <= _WHOLE + _DRIFT * abs(offset)
        if line.jitter.is_exact and (line.jitter.is_learnt or is_huge or is_whole):
            is_pending = line.n_accepted < self._n_proof
            if is_pending:
                self._n_proof = line.n_accepted + line.n_to_fit + line.spans.proof
            self._shifts = [shift for shift in self._shifts if n - shift.n_at <= line.spans.watch]
            before_s = self.stepped_s
            n_lost = self._count(offset, t_s, at, is_pending=is_pending)
            self._shifts.append(_Shift(n, offset, n_lost, is_pending, self.stepped_s - before_s))
            line.shift(offset)
            return True
        if line.jitter.is_learnt:
            self._suspects.begin(1 if offset > 0 else -1, n_due=line.n_persist)
            return False
        if is_huge:
            line.reset()
            line.start(n, t_s)
            self._pending, self._n_proof = [0, 0], line.spans.proof
            self._counts.n_clock_steps += 1
            self._set_clock(offset / line.sfreq_hz)
            step_s = offset / line.sfreq_hz
            self._breaks.append(Break(at, 0, f"clock step: {step_s:+.3f} s, jitter not known yet", shift=offset))
            return True
        if abs(offset) > self.line.jitter.far_off:
            self._breaks.append(Break(at, 0, "jitter of the timestamps not known yet"))
        line.widen(2 * abs(offset))
        return True

    def _set_clock(self, step_s: float) -> None:
        if abs(step_s) <= _CLOCK_STEP_S:  # beyond, these are no times of this session
            self.stepped_s = round(self.stepped_s + step_s, 6)  # a step that is taken back leaves nothing

    def _count(self, offset: float, t_s: float, at: int, *, is_pending: bool) -> int:
        """Count a shift of the timestamps, up to `t_s`, as a loss or a clock step; return the samples lost."""
        step_s = offset / self.line.expected.rate_hz
        is_gap = 0 < step_s <= _CLOCK_STEP_S
        # No sample is timestamped before it is taken: a step from the past into the future is the clock's.
        is_future = t_s > self._now_s + _AHEAD_S >= t_s - step_s
        is_set = not is_gap or is_future
        n_lost = round(offset) if not is_set and not self.has_counter else 0
        if is_set:
            self._set_clock(step_s)
        if is_pending:
            self._pending[0 if n_lost else 1] += n_lost or 1
            self._breaks.append(
                Break(at, 0, "shifted timestamps, counted once the timestamps have proved exact", shift=offset)
            )
        elif n_lost:
            self._counts.n_lost += n_lost
            self._breaks.append(Break(at, n_lost, f"gap: {counted(n_lost, 'sample')} lost", shift=offset))
        else:
            self._counts.n_clock_steps += 1
            self._breaks.append(Break(at, 0, f"clock step: {step_s:+.3f} s", shift=offset))
        return n_lost

    def _take_back(self, offset: float, n: float, at: int) -> bool:
        """Undo shifts, newest first, if the timestamps soon return: they were wild. Return whether any was."""
        line, first = self.line, n
        while self._shifts and self._shifts[-1].offset * offset < 0 and abs(offset) > line.jitter.limit:
            shift = self._shifts.pop()
            if n - shift.n_at > line.spans.watch:
                break
            if shift.is_pending:
                self._pending[0 if shift.n_lost else 1] -= shift.n_lost or 1
            else:
                self._counts.n_lost -= shift.n_lost
                self._counts.n_clock_steps -= not shift.n_lost
            self._set_clock(-shift.clock_s)
            if abs(shift.offset) > _UNKNOWN_STEP_S * line.sfreq_hz:
                self._counts.n_bad_timestamps += int(n - shift.n_at)
            n_back = 0 if shift.is_pending else -shift.n_lost
            why = f"timestamps came back: no shift of {shift.offset:.1f} samples"
            self._breaks.append(Break(at, n_back, why, shift=-shift.offset))
            line.shift(-shift.offset)
            first, offset = shift.n_at, offset + shift.offset
        if n - first > 1 or (n > first and abs(offset) > line.jitter.limit):  # more than one wild timestamp
            line.widen(2 * line.jitter.limit)
        return n > first

    def _suspect(self, at: NDArray[np.intp], n: _Floats, t_s: _Floats, times_s: _Floats) -> int:
        """Hold timestamps that stay off the line, and judge them when there are enough; return how many are done."""
        line, suspects = self.line, self._suspects
        m = min(n.size, suspects.n_due - suspects.n_held)
        offsets = suspects.side * line.expected.offsets(n[:m], t_s[:m])  # (m,)
        is_home = offsets <= line.jitter.back
        k = int(is_home.argmax()) if is_home.any() else m
        times_s[:k] = line.expected.times_s(n[:k], t_s[:k])
        if not suspects.has_broken and (far := np.flatnonzero(offsets[:k] > self.line.jitter.far_off)).size:
            suspects.has_broken = True
            self._breaks.append(Break(int(at[far[0]]), 0, suspects.why))
        suspects.add(n[:k], t_s[:k], offsets[:k])
        if k < m:
            suspects.side = 0
            if suspects.peak > _UNKNOWN_STEP_S * line.sfreq_hz:
                self._counts.n_bad_timestamps += suspects.n_seen
            if suspects.n_seen > 1:  # a single wild timestamp says nothing about the jitter
                line.widen(min(suspects.peak, 2 * line.jitter.limit))
        elif suspects.n_held == suspects.n_due:
            self._judge_suspects(int(at[m - 1]))
        return k

    def _judge_suspects(self, at: int) -> None:
        """Decide whether suspects that persisted are a shift."""
        line, suspects = self.line, self._suspects
        n, t_s = suspects.held
        offsets = line.expected.offsets(n, t_s)  # (n_held,)
        n_needed = line.n_persist
        if line.jitter.has_backlogs:
            n_needed = min(max(n_needed, round(_AGREE_JITTERS * line.jitter.range)), line.spans.slide)
        agrees = np.ptp(offsets) <= line.jitter.limit
        if (agrees and n.size >= n_needed) or suspects.n_seen >= _MAX_WATCH_S * line.sfreq_hz:
            self._believe(at, n, t_s, offsets)
            line.accept(n, t_s)
            suspects.side = 0
            return
        newest = offsets[-line.n_persist :]
        keeps_newest = not agrees and newest.size < n.size and np.ptp(newest) <= line.jitter.limit
        suspects.keep(n.size if agrees else newest.size if keeps_newest else 0, n_more=line.n_persist)
        if suspects.has_broken:
            self._breaks.append(Break(at, 0, suspects.why))

    def _believe(self, at: int, n: _Floats, t_s: _Floats, offsets: _Floats) -> None:
        """Count the shift that suspects show, and move the line."""
        line, suspects = self.line, self._suspects
        shift = float(offsets.mean()) - line.mean_offset
        suspects.believed = [each for each in suspects.believed if n[-1] - each[0] <= _TAKE_BACK_S * line.sfreq_hz]
        n_before = len(self._breaks)
        n_back = min(sum(n_lost for _, n_lost in suspects.believed), round(-shift))
        if n_back > 0 and -shift - n_back <= line.jitter.limit:
            self._counts.n_lost -= n_back
            suspects.believed = []
            self._breaks.append(
                Break(
                    at,
                    -n_back,
                    f"timestamps came back: {counted(n_back, 'sample was', 'samples were')} late, not lost",
                    shift=shift,
                )
            )
        elif n_lost := self._count(shift, float(t_s[-1]), at, is_pending=False):
            suspects.believed.append((float(n[-1]), n_lost))
        self._breaks[n_before:] = [
            replace(each, n_late=suspects.n_seen - 1, n_agreed=suspects.n_held - 1) for each in self._breaks[n_before:]
        ]
        line.shift(shift)
