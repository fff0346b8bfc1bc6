"""The health of a live stream: which samples are clean, where it was interrupted, how many samples were lost.

A received sample n should carry the stamp ``t0 + n / rate``. The line is fitted to the last 10 s (nominal rate until
there is enough, never more than 1 % from it), and a sample's *offset* is how far its stamp lies after the line, in
samples. The *jitter* is the whole range, highest minus lowest, of the offsets of those 10 s: with 3 ms Gaussian jitter
at 1000 Hz about 24 samples or 8 sigma, which an hour does not reach by chance; a sigma would be passed every minute.

What counts as a gap. WIRE.md asks for a shift of more than 1.5 samples plus the jitter that persists. It is read as
the distance to the place of the sample BEFORE (1 in a sound stream, 2 where one sample is lost), so the offset must
exceed 0.5 samples plus the jitter. Only so can `sent = received + lost` be exact with per-sample stamps, and a window
never hides a lost sample. `smallest_gap_samples` (1.5 + jitter) is that distance.

Persistence, in three regimes, each left as soon as the stamps say so:

*exact* (jitter up to 0.1 sample: replays, devices that stamp each sample): nothing to wait for; the break stands at the
    first sample after the gap and the loss is counted there. Stamps that come back within 0.25 s take the count back (a
    break with negative `n_lost`), so the sum of all `n_lost` is always the counter. A burst stamped once looks exact
    inside, so shifts in the first 0.15 s break at once and are counted when 0.15 s more have proved exact, and in the
    first second a shift by a fraction of a sample says that the stamps jitter.
*learning* (jitter seen; the first second, longer until 32 pushes are seen): a stamp off the line breaks and widens the
    jitter. No loss is counted.
*jittered*: a stamp off the line opens a watch and breaks at once, for a window across it could hide a gap. When all
    stamps of 0.25 s (at least 128 samples and 8 pushes of the amplifier) stay off the line and agree within the jitter,
    the mean offset is the loss, counted in a second break. A backlog after a stall is late too, but runs down to the
    line: its stamps do not agree, it breaks each 0.25 s and is no loss. Stamps that come back close the watch and widen
    the jitter, to at most twice the limit: one wild stamp must not blind the watch for 10 s.

A shift back, forward by more than an hour, or into the future is a clock step: a break and no loss. After a gap or a
step the line moves by the whole shift, so the rate is always fitted to received samples alone.

With a counter the counter decides: its jumps are the losses, counted at once, and the line's sample numbers jump
along, so that a loss shifts no stamps. What shifts them then is no loss.

All state moves sample by sample or at fixed counts of accepted samples; chunk boundaries decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.signal.counter import Counter
from pretap_realtime.signal.rate import StartRate
from pretap_realtime.signal.timestamp_line import MOST_ROOM, StampLine

__all__ = ["BAD_STAMP_S", "Break", "Checked", "Health"]

_Floats = NDArray[np.float64]

# Half the cost of the methods.
_all, _lowest, _highest = np.logical_and.reduce, np.minimum.reduce, np.maximum.reduce
_FEW: Final = 64  # for fewer stamps plain Python is faster than numpy
_COUNT: Final = np.arange(float(MOST_ROOM))
_WHOLE: Final = 0.02  # samples; one random shift in 25 passes for a whole number
_DRIFT: Final = 2e-4  # of a step; the rate is not known at the very start
_CLOCK_STEP_S: Final = 3600.0
_UNKNOWN_STEP_S: Final = 1.0  # no jitter is that large: while it is being learnt, a jump by more starts over
_AHEAD_S: Final = 0.05  # stamps may be as far in the future: clocks of two computers, amplifiers that reckon
BAD_STAMP_S: Final = 1e10  # 300 years; beyond, a float64 no longer resolves a sample


@dataclass(frozen=True)
class Break:
    """The stream was interrupted before sample `index` of the chunk: from there on it is a new segment.

    `n_lost` samples are counted as lost here: 0 for non-finite values, bad stamps, clock steps and stamps under watch,
    negative where an earlier count is taken back. `why` is plain text.
    """

    index: int
    n_lost: int
    why: str


@dataclass(frozen=True)
class Checked:
    """What `Health.check` says of a chunk: `clean` (n_new,), False where a sample may enter no window; `breaks`."""

    clean: NDArray[np.bool_]
    breaks: tuple[Break, ...]


@dataclass(frozen=True)
class _Step:
    """A shift taken at once, and what to take back if the stamps return."""

    n_at: float
    off_samples: float
    n_lost: int
    pending: bool
    clock_s: float


class Health:
    """Tells clean from broken samples and counts losses; the same for any chunking. The module says how.

    Parameters
    ----------
    sfreq_hz : float
        Nominal rate of the stream.
    counter_wraps_at : int
        Where a counter starts again, see `Counter`.

    Attributes
    ----------
    n_received, n_lost, n_nonfinite, n_bad_stamps, n_clock_steps : int
        Counts since construction: samples received, lost, with a non-finite value, with a stamp that is no
        number or came and went with a jump of more than a second; clock steps.
    now_s : callable
        Gives the time on the clock of the stamps, where that is known: a gap cannot lead into the future.
    stepped_s : float
        By how much the stamps' clock was set since the connection began: the sum of its steps up to an hour.
    """

    def __init__(self, *, sfreq_hz: float, counter_wraps_at: int = 0) -> None:
        self.now_s: Callable[[], float] = lambda: math.inf
        self._counter = Counter(wraps_at=counter_wraps_at)
        self.n_received = self.n_lost = self.n_nonfinite = self.n_bad_stamps = self.n_clock_steps = 0
        self._line: StampLine
        self.reset(sfreq_hz=sfreq_hz)

    def reset(self, *, sfreq_hz: float | None = None) -> None:
        """Forget stamps, rate and jitter for a new connection, which may have another rate; the counts survive."""
        if sfreq_hz is None:
            sfreq_hz = self._line.sfreq_hz
        if not (math.isfinite(sfreq_hz) and sfreq_hz > 0):
            raise ValueError(f"sfreq_hz must be a positive number, got {sfreq_hz!r}.")
        self._line = StampLine(sfreq_hz)
        self._start_rate = StartRate(sfreq_hz)
        self._counter.begin(sfreq_hz=sfreq_hz)
        self._counts = False  # there is a counter
        self._jumps: list[Break] = []  # of the counter, in samples still to come; index counts from `n_received`
        self._held = np.empty((2, self._line.n_slide))  # sample numbers and stamps under watch
        self._n_seen = 0
        self._unclean = False  # the last sample was not clean
        self._pending = [0, 0]  # losses and steps not counted yet: the stamps have to prove exact
        self._n_proof = self._line.n_proof  # accepted samples that prove it
        self._steps: list[_Step] = []  # taken at once, the last 0.25 s
        self.stepped_s = 0.0
        self._side = 0  # +1 late, -1 early stamps are under watch, 0 none
        self._n_held = self._n_watched = 0
        self._peak = 0.0

    @property
    def rate_hz(self) -> float:
        """Rate estimated over the last 10 s, within 1 % of nominal; nominal until there is enough."""
        return self._line.rate_hz

    @property
    def wrong_rate_hz(self) -> float:
        """The rate that the first stamps show, where it is not the nominal one; else 0. See `StartRate`."""
        return self._start_rate.wrong_hz

    def end(self) -> None:
        """Count the losses that still wait for the stamps to prove exact, and were so far: no more samples follow."""
        if self._line.exact:
            n_lost, n_steps = self._pending
            self.n_lost += n_lost
            self.n_clock_steps += n_steps
        self._pending = [0, 0]
        if self._counts:  # a chunk that was refused half-way was received, and the counter said what is missing in it
            self.n_received = self._n_counted
            self.n_lost += sum(jump.n_lost for jump in self._jumps)
            self._jumps = []

    @property
    def smallest_gap_samples(self) -> float:
        """Distance between consecutive stamps, in samples, beyond which a gap shows: 1.5 plus the jitter."""
        return 1 + self._line.limit

    def count(self, count: _Floats, t_s: _Floats) -> None:
        """Take the counter's values and the stamps (n_new,) of the samples that come next, before those are judged.

        Raises
        ------
        StreamRefusedError
            When the channel does not count samples.
        """
        self._counts, self._n_counted = True, self.n_received + len(count)
        self._jumps += [Break(self.n_received + j.index, j.n_lost, j.why) for j in self._counter.follow(count, t_s)]

    @property
    def place(self) -> tuple[float, float, float, float, float, float]:
        """What `is_sound` reckons with, see `StampLine.holds`: t0_s, s_ref, rate_hz, n_ref, samples seen, limit."""
        return (*self._line.terms, self._n_seen, self._line.limit)

    @property
    def room(self) -> int:
        """How many samples `is_sound` may judge; 0 where `check` has to look at all of them."""
        watching = self._jumps or self._side or self._unclean or not self._line.started or any(self._pending)
        return 0 if watching else self._line.room

    def is_sound(self, x_uv: NDArray[np.float32], t_s: _Floats) -> bool:
        """Say whether there is nothing to say of samples, at most `room`; then `pass_on` takes them instead of `check`.

        The quick way, for nearly all samples.
        """
        if not _all(np.isfinite(x_uv), None):  # a sum would be as fast, and warn where infinities meet
            return False
        line = self._line
        if len(t_s) <= _FEW:
            return line.holds(self._n_seen, t_s.tolist())
        off = line.offsets(self._n_seen + _COUNT[: len(t_s)], t_s)  # (n_new,)
        return bool(max(_highest(off), -_lowest(off)) <= line.limit)

    def pass_on(self, t_s: _Floats) -> None:
        """Take samples of which `is_sound` said that there is nothing to say."""
        n = self._n_seen + _COUNT[: len(t_s)]  # (n_new,)
        self._start_rate.follow(n, t_s)
        self._line.accept(n, t_s)
        self._n_seen += len(t_s)
        self.n_received += len(t_s)

    def check(self, x_uv: NDArray[Any], t_s: _Floats) -> Checked:
        """Judge a chunk.

        Parameters
        ----------
        x_uv : array (n_new, n_channels)
            Samples in microvolts.
        t_s : array (n_new,)
            Stamps in seconds.
        """
        if x_uv.ndim != 2 or t_s.shape != x_uv.shape[:1]:
            raise ValueError(f"Expected x_uv (n_new, n_channels) and t_s (n_new,), got {x_uv.shape} and {t_s.shape}.")
        breaks: list[Break] = []
        clean = np.abs(t_s) < BAD_STAMP_S  # (n_new,) False for NaN too
        at = np.arange(t_s.size)  # (n_new,)
        n = at.astype(np.float64) + self._n_seen  # (n_new,) whole numbers, exact
        n_lost = self._jump_counter(n, breaks) if self._jumps else 0
        finite = np.isfinite(x_uv)  # (n_new, n_channels)
        if clean.all():
            self._follow(at, n, t_s, breaks)
        else:
            self._follow(at[clean], n[clean], t_s[clean], breaks)
        if self._unclean or not (finite.all() and clean.all()):
            clean = self._find_unclean(finite, clean, breaks)
        breaks.sort(key=lambda b: b.index)
        self._n_seen += t_s.size + n_lost
        self.n_received += t_s.size
        return Checked(clean, tuple(breaks))

    def _find_unclean(
        self, finite: NDArray[np.bool_], stamped: NDArray[np.bool_], breaks: list[Break]
    ) -> NDArray[np.bool_]:
        rows = finite.all(axis=1)  # (n_new,)
        clean = rows & stamped
        self.n_nonfinite += int((~rows).sum())
        self.n_bad_stamps += int((~stamped).sum())
        before = np.concatenate([[not self._unclean], clean[:-1]])  # (n_new,) was the sample before clean?
        for i in np.flatnonzero(before & ~clean):
            why = f"non-finite: channel {finite[i].argmin()}" if stamped[i] else "non-finite: stamp"
            breaks.append(Break(int(i), 0, why))
        if clean.size:
            self._unclean = not clean[-1]
        return clean

    def _jump_counter(self, n: _Floats, breaks: list[Break]) -> int:
        """Move the sample numbers `n` (n_new,) by what the counter says is missing before them; says how much."""
        n_lost = 0
        while self._jumps and (at := self._jumps[0].index - self.n_received) < n.size:
            jump = self._jumps.pop(0)
            n[at:] += jump.n_lost
            n_lost += jump.n_lost
            breaks.append(Break(at, jump.n_lost, jump.why))
        self.n_lost += n_lost
        return n_lost

    def _follow(self, at: NDArray[np.intp], n: _Floats, t_s: _Floats, breaks: list[Break]) -> None:
        """Follow the usable stamps `t_s` (n,) of the samples `at` (n,) of the chunk, whose numbers are `n` (n,)."""
        if n.size and not self._line.started:
            self._line.start(float(n[0]), float(t_s[0]))
        self._start_rate.follow(n, t_s)
        i = 0
        while i < n.size:
            go = self._watch if self._side else self._walk
            i += go(at[i:], n[i:], t_s[i:], breaks)

    def _walk(self, at: NDArray[np.intp], n: _Floats, t_s: _Floats, breaks: list[Break]) -> int:
        """Accept stamps up to the first one off the line and judge that; returns how many are dealt with."""
        m = min(n.size, self._line.room)
        off = self._line.offsets(n[:m], t_s[:m])  # (m,)
        wild = np.abs(off) > self._line.limit
        k = int(wild.argmax()) if wild.any() else m
        if k:
            self._accept(at[:k], n[:k], t_s[:k], breaks)
        if k < m and self._jump(float(off[k]), float(n[k]), float(t_s[k]), int(at[k]), breaks):
            self._accept(at[k : k + 1], n[k : k + 1], t_s[k : k + 1], breaks)
            k += 1
        return k

    def _accept(self, at: NDArray[np.intp], n: _Floats, t_s: _Floats, breaks: list[Break]) -> None:
        self._line.accept(n, t_s)
        if any(self._pending) and self._line.n_good >= self._n_proof and self._line.is_fitted:
            (n_lost, n_steps), self._pending = self._pending, [0, 0]
            if self._line.exact:
                self.n_clock_steps += n_steps
                self.n_lost += n_lost
                breaks.append(Break(int(at[-1]), n_lost, f"gap: {n_lost} samples lost" if n_lost else "clock step"))

    def _jump(self, off: float, n: float, t_s: float, at: int, breaks: list[Break]) -> bool:
        """Judge a stamp off the line; False asks for it to be judged again."""
        line = self._line
        if line.exact and self._undo(off, n, at, breaks):
            return False
        huge = abs(off) > _UNKNOWN_STEP_S * line.sfreq_hz
        if line.exact and (line.learnt or huge or abs(off - round(off)) <= _WHOLE + _DRIFT * abs(off)):
            pending = line.n_good < self._n_proof
            if pending:
                self._n_proof = line.n_good + line.room + line.n_proof
            self._steps = [step for step in self._steps if n - step.n_at <= line.n_watch]
            before_s = self.stepped_s
            n_lost = self._count(off, t_s, at, breaks, pending=pending)
            self._steps.append(_Step(n, off, n_lost, pending, self.stepped_s - before_s))
            line.shift(off)
            return True
        if line.learnt:
            self._side = 1 if off > 0 else -1
            self._n_held = self._n_watched = 0
            self._peak = 0.0
            breaks.append(self._under_watch(at))
            return False
        if huge:
            line.reset()
            line.start(n, t_s)
            self._pending, self._n_proof = [0, 0], line.n_proof
            self.n_clock_steps += 1
            self._set_clock(off / line.sfreq_hz)
            breaks.append(Break(at, 0, f"clock step: {off / line.sfreq_hz:+.3f} s, jitter not known yet"))
            return True
        line.widen(2 * abs(off))
        breaks.append(Break(at, 0, "jitter of the stamps not known yet"))
        return True

    def _is_future(self, t_s: float, step_s: float) -> bool:
        """Say whether a step leads from the past into the future: no sample is stamped before it is taken."""
        return t_s > self.now_s() + _AHEAD_S >= t_s - step_s

    def _set_clock(self, step_s: float) -> None:
        if abs(step_s) <= _CLOCK_STEP_S:  # beyond, these are no times of this session
            self.stepped_s = round(self.stepped_s + step_s, 6)  # one that is taken back leaves nothing

    def _under_watch(self, at: int) -> Break:
        return Break(at, 0, f"{'late' if self._side > 0 else 'early'} stamps, under watch")

    def _count(self, off: float, t_s: float, at: int, breaks: list[Break], *, pending: bool) -> int:
        """Count a shift of the stamps, up to `t_s`, as a loss or a clock step; returns the samples lost."""
        step_s = off / self._line.rate_hz
        is_gap = 0 < step_s <= _CLOCK_STEP_S
        is_set = not is_gap or self._is_future(t_s, step_s)
        n_lost = round(off) if is_gap and not is_set and not self._counts else 0
        if is_set:
            self._set_clock(step_s)
        if pending:
            self._pending[0 if n_lost else 1] += n_lost or 1
            breaks.append(Break(at, 0, "shifted stamps, counted once the stamps have proved exact"))
        elif n_lost:
            self.n_lost += n_lost
            breaks.append(Break(at, n_lost, f"gap: {n_lost} samples lost"))
        else:
            self.n_clock_steps += 1
            breaks.append(Break(at, 0, f"clock step: {step_s:+.3f} s"))
        return n_lost

    def _undo(self, off: float, n: float, at: int, breaks: list[Break]) -> bool:
        """Take shifts back, newest first, when the stamps soon go the other way: they were wild, not the stream."""
        line, first = self._line, n
        while self._steps and self._steps[-1].off_samples * off < 0 and abs(off) > line.limit:
            step = self._steps.pop()
            if n - step.n_at > line.n_watch:
                break
            if step.pending:
                self._pending[0 if step.n_lost else 1] -= step.n_lost or 1
            else:
                self.n_lost -= step.n_lost
                self.n_clock_steps -= not step.n_lost
            self._set_clock(-step.clock_s)
            if abs(step.off_samples) > _UNKNOWN_STEP_S * line.sfreq_hz:
                self.n_bad_stamps += int(n - step.n_at)
            taken_back = 0 if step.pending else -step.n_lost
            breaks.append(Break(at, taken_back, f"stamps came back: no shift of {step.off_samples:.1f} samples"))
            line.shift(-step.off_samples)
            first, off = step.n_at, off + step.off_samples
        if n - first > 1 or (n > first and abs(off) > line.limit):  # more than one wild stamp
            line.widen(2 * line.limit)
        return n > first

    def _watch(self, at: NDArray[np.intp], n: _Floats, t_s: _Floats, breaks: list[Break]) -> int:
        """Hold stamps that stay off the line, and decide; returns how many are dealt with."""
        m, fill = min(n.size, self._line.n_persist - self._n_held), self._n_held
        off = self._side * self._line.offsets(n[:m], t_s[:m])  # (m,)
        home = off <= self._line.back
        k = int(home.argmax()) if home.any() else m
        self._held[:, fill : fill + k] = n[:k], t_s[:k]
        self._n_held += k
        self._peak = max(self._peak, float(off[:k].max(initial=0.0)))
        if k < m:
            self._side = 0
            if self._peak > _UNKNOWN_STEP_S * self._line.sfreq_hz:
                self.n_bad_stamps += self._n_watched + self._n_held
            if self._n_watched + self._n_held > 1:  # a single wild stamp says nothing of the jitter
                self._line.widen(min(self._peak, 2 * self._line.limit))
        elif self._n_held == self._line.n_persist:
            self._decide(int(at[m - 1]), breaks)
        return k

    def _decide(self, at: int, breaks: list[Break]) -> None:
        line = self._line
        n, t_s = self._held[:, : line.n_persist]
        off = line.offsets(n, t_s)  # (n_persist,)
        self._n_watched += n.size
        self._n_held = 0
        if off.max() - off.min() > line.limit and self._n_watched < line.n_slide:
            breaks.append(self._under_watch(at))
            return
        shift = float(off.mean())
        self._count(shift, float(t_s[-1]), at, breaks, pending=False)
        line.shift(shift)
        line.accept(n, t_s)
        self._side = 0
