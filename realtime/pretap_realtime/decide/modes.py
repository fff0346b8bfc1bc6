"""Modes: when a decision is made, at each hop or at cues. Pure; used by the pipeline."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pretap.config.serve import CueConfig
from pretap.decoder.decoder import Decoder
from pretap.decoder.output import Output
from pretap.decoder.stream import DecoderStream
from pretap.errors import UsageError
from pretap.recordings.epochs import TIE_SAMPLES
from pretap.signal.ring import Ring
from pretap.spelling import counted
from pretap_realtime.decide.cues import CuePatterns
from pretap_realtime.signal.chunk import Cue, Decision

CUE_HISTORY_S = 2.0  # how far back a cue may point, beyond its window
CUE_WAIT_S = 1.0  # how long a cue may wait for its samples, beyond the end of its window

_Samples = NDArray[np.float32]
_Times = NDArray[np.float64]


class Mode(Protocol):
    """When a decision is made.

    Attributes
    ----------
    n_skipped
        Decisions that were skipped in overloads.
    """

    n_skipped: int

    @property
    def cues(self) -> CuePatterns | None:
        """Which markers are cues, and which were not; None if decisions are not made at cues."""
        ...

    @property
    def lanes(self) -> DecoderStream | None:
        """The decoder, if it follows the stream and leaves some of its work for later."""
        ...

    @property
    def n_to_next(self) -> int:
        """How many samples the next decision still needs; 1 if that is not known."""
        ...

    def process(self, x_uv: _Samples, t_s: _Times, *, newest_only: bool) -> list[Decision]:
        """Return the decisions that clean, contiguous samples (n_new, n_channels) at (n_new,) complete."""
        ...

    def reset(self, *, delay_s: float) -> None:
        """Forget all samples: another stream follows, whose samples arrive `delay_s` late."""
        ...

    def interrupt(self, t_s: float, why: str) -> list[Decision]:
        """Note that the samples before and after `t_s` do not belong together."""
        ...

    def describe(self) -> str:
        """Return how decisions are made, and why so, for a log."""
        ...


def hop_samples(hop_ms: float, sfreq_hz: float) -> int:
    """Convert a hop to samples.

    Raises
    ------
    UsageError
        If it is shorter than one sample.
    """
    hop = round(hop_ms * sfreq_hz / 1000)
    if hop < 1:
        raise UsageError(
            f"decode.hop_ms: expected at least {1000 / sfreq_hz:g}, one sample at the bundle's {sfreq_hz:g} Hz; got "
            f"{hop_ms:g}."
        )
    return hop


def describe_hop(hop_ms: float, sfreq_hz: float) -> str:
    """Return the time between decisions, and what was asked for if samples do not allow it."""
    hop = hop_samples(hop_ms, sfreq_hz)
    actual_ms = 1000 * hop / sfreq_hz
    if math.isclose(actual_ms, hop_ms, rel_tol=1e-6):
        return f"{hop_ms:g} ms"
    return f"{actual_ms:g} ms ({counted(hop, 'sample')}; {hop_ms:g} ms asked for)"


class FreeRunning:
    """A decision every `hop` samples.

    Attributes
    ----------
    n_seen
        Samples since the last interruption.
    """

    cues = None

    def __init__(self, decoder: Decoder, *, hop: int) -> None:
        self.lanes = decoder.stream(hop)
        self.n_seen = self.n_skipped = 0
        self._is_warming_up = True

    @property
    def n_to_next(self) -> int:
        return self.lanes.n_to_next

    def reset(self, *, delay_s: float) -> None:  # noqa: ARG002 - no cue waits for a sample
        self._restart()

    def interrupt(self, t_s: float, why: str) -> list[Decision]:
        self._restart()
        return [Decision(t_s, None, why)]

    def _restart(self) -> None:
        self.lanes.reset()
        self.n_seen = 0

    def process(self, x_uv: _Samples, t_s: _Times, *, newest_only: bool) -> list[Decision]:
        if newest_only:
            outputs, n_skipped = self.lanes.process_newest(x_uv)
            self.n_skipped += n_skipped
        else:
            outputs = self.lanes.process(x_uv)
        return self.decisions(outputs, t_s)

    def decisions(self, outputs: Sequence[Output], t_s: _Times) -> list[Decision]:
        """Return as decisions what the stream found in the next samples, whose timestamps are (n_new,)."""
        before = self.n_seen
        self.n_seen += len(t_s)
        decisions = [Decision(float(t_s[o.n_end - before - 1]), o.probs) for o in outputs]
        if self._is_warming_up and len(t_s):
            self._is_warming_up = False
            decisions.insert(0, Decision(float(t_s[0]), None, "warm-up: the first window is not full yet"))
        return decisions

    def describe(self) -> str:
        return self.lanes.describe()


class _History:
    """The last samples at the bundle's rate, and where they were interrupted."""

    def __init__(self, n_samples: int, n_channels: int) -> None:
        self._ring = Ring(n_samples, n_channels)
        self._n_forgotten = 0  # samples of this connection
        self._breaks: deque[tuple[int, str]] = deque()  # (number of the first sample after it, why)
        self._is_interrupted = False  # no sample came since the last break

    def reset(self) -> None:
        self.forget()
        self._n_forgotten = 0

    def forget(self) -> None:
        self._n_forgotten += self._ring.n_seen
        self._ring.reset()
        self._breaks.clear()

    def interrupt(self, why: str) -> None:
        self._is_interrupted = True
        self._breaks.append((self._ring.n_seen, why))
        while self._breaks[0][0] < self._ring.n_seen - self._ring.n_held:
            self._breaks.popleft()

    def begin_run(self, t_s: _Times) -> None:
        """Prepare for samples; if the clock was set back before them, what is held lies in the future: forget it."""
        held = self.timestamps()
        if self._is_interrupted and len(held) and len(t_s) and t_s[0] < held[-1]:
            self.forget()
        self._is_interrupted = self._is_interrupted and not len(t_s)

    def append(self, x_uv: _Samples, t_s: _Times) -> None:
        self._ring.append(x_uv, t_s)

    def timestamps(self) -> _Times:
        """Return the timestamps of the samples that are held: a view."""
        return self._ring.timestamps(self._ring.n_seen, self._ring.n_held)

    def number(self, last: int) -> int:
        """Return the number of sample `last` of those that are held, counted from the first of the connection."""
        return self._n_forgotten + self._end(last) - 1

    def windows(self, last: int, *, n_window: int, ends_before: Sequence[int]) -> list[_Samples]:
        """Return the windows that end `ends_before` samples before sample `last` of those that are held: views."""
        end = self._end(last)
        return [self._ring.window(end - before, n_window) for before in ends_before]

    def why_incomplete(self, last: int, n_needed: int) -> str:
        """Return why the `n_needed` samples up to `last` cannot be used; empty if they can."""
        end = self._end(last)
        start = end - n_needed
        for first_after, why in self._breaks:
            if start < first_after < end:
                return why
        if start < self._ring.n_seen - self._ring.n_held:
            return f"only {last + 1} of {n_needed} samples of its window are there"
        return ""

    def is_interrupted_before(self, index: int) -> bool:
        """Whether there is a break right before sample `index` of those that are held."""
        first_after = self._end(index - 1)
        return any(number == first_after for number, _ in self._breaks)

    @property
    def why_silent(self) -> str:
        """Why no samples have come since the last break; empty if some have."""
        return self._breaks[-1][1] if self._is_interrupted and self._breaks else ""

    def _end(self, last: int) -> int:
        return self._ring.n_seen - self._ring.n_held + last + 1


class CueLocked:
    """One decision for each cue, on the window that ends `offset_s` after it.

    With more than one vote it is the mean of the probabilities of that window and of others, each of which ends
    `vote_step` samples before the one before.

    Attributes
    ----------
    offset_s
        When the window of a cue ends, relative to the cue.
    """

    lanes = None
    n_to_next = 1
    n_skipped = 0  # a cue is never skipped

    def __init__(
        self,
        decoder: Decoder,
        *,
        offset_s: float,
        patterns: Sequence[str],
        n_votes: int = 1,
        vote_step: int = 1,
    ) -> None:
        manifest = decoder.manifest
        self._decoder, self.offset_s, self.cues = decoder, offset_s, CuePatterns(patterns)
        self._ends_before = [k * vote_step for k in range(n_votes)]
        self._n_needed = manifest.n_window + self._ends_before[-1]
        self._wait_s = CUE_WAIT_S + max(0.0, offset_s)
        # A long chunk must not push the window of a waiting cue out.
        self._n_piece = round((CUE_HISTORY_S + max(0.0, -offset_s)) * manifest.sfreq_hz)
        self._history = _History(self._n_needed + self._n_piece, len(manifest.channels))
        self._waiting: list[tuple[Cue, float]] = []  # cues, and when they arrived

    def reset(self, *, delay_s: float) -> None:
        self._wait_s = CUE_WAIT_S + max(0.0, self.offset_s) + delay_s
        self._history.reset()

    def interrupt(self, t_s: float, why: str) -> list[Decision]:  # noqa: ARG002 - a cue that it affects says so
        self._history.interrupt(why)
        return []

    def process(self, x_uv: _Samples, t_s: _Times, *, newest_only: bool) -> list[Decision]:  # noqa: ARG002
        self._history.begin_run(t_s)
        decisions = []
        for start in range(0, len(t_s), self._n_piece):
            self._history.append(x_uv[start : start + self._n_piece], t_s[start : start + self._n_piece])
            decisions += self._answer()
        return decisions

    def ask(self, cue: Cue, arrived_s: float) -> list[Decision]:
        """Return the decision on a cue that arrived at `arrived_s` of the caller's clock, if its samples are there."""
        if not self.cues.match(cue.text):
            return []
        if not math.isfinite(cue.t_s):
            return [Decision(math.nan, None, cue.why or "its timestamp is not a number", cue.text, cue.origin)]
        self._waiting.append((cue, arrived_s))
        return self._answer()

    def expire(self, now_s: float) -> list[Decision]:
        """Return refusals of the cues that have waited too long for their samples."""
        late = [cue for cue, arrived_s in self._waiting if now_s - arrived_s > self._wait_s]
        self._waiting = [(cue, arrived_s) for cue, arrived_s in self._waiting if now_s - arrived_s <= self._wait_s]
        why = self._history.why_silent or f"its samples did not come within {self._wait_s:g} s"
        return [self._refuse(cue, why) for cue in late]

    def describe(self) -> str:
        return f"{self._decoder.engine}: a window for each cue, computed when its last sample is there"

    def _answer(self) -> list[Decision]:
        if not self._waiting:
            return []
        held = self._history.timestamps()
        ready = [pair for pair in self._waiting if len(held) and held[-1] >= self._earliest_s(pair[0])]
        self._waiting = [pair for pair in self._waiting if pair not in ready]
        return [self._decide(cue, held) for cue, _ in ready]

    @property
    def _period_s(self) -> float:
        return 1 / self._decoder.manifest.sfreq_hz

    def _earliest_s(self, cue: Cue) -> float:
        """Return when the last sample of a cue's window may be timestamped at the earliest.

        A quarter of a sample early is early enough, because the next sample would be further off. Float noise in a
        cue's timestamp must not make it wait for a sample that never comes.
        """
        return cue.t_s + self.offset_s - self._period_s / 4

    def _decide(self, cue: Cue, held: _Times) -> Decision:
        wanted_s = cue.t_s + self.offset_s
        after = int(np.argmax(held >= self._earliest_s(cue)))
        # Of two that are equally near the later one, as in `sample_at`: float noise must not decide.
        tie_s = 2 * TIE_SAMPLES * self._period_s
        is_before = after and abs(held[after - 1] - wanted_s) + tie_s < abs(held[after] - wanted_s)
        last = after - 1 if is_before else after
        off_s = abs(float(held[last]) - wanted_s)
        is_between = after and not self._history.is_interrupted_before(after)  # of two that belong together
        if not is_between and off_s > self._period_s * (0.5 + 2 * TIE_SAMPLES):
            return self._refuse(cue, f"no sample within half a sample of it; the nearest is {off_s * 1000:.1f} ms off")
        why = self._history.why_incomplete(last, self._n_needed)
        if why:
            return self._refuse(cue, why)
        number = self._history.number(last)
        return Decision(float(held[last]), self._vote(last), cue=cue.text, origin=cue.origin, sample=number)

    def _vote(self, last: int) -> NDArray[np.float64]:
        n_window = self._decoder.manifest.n_window
        windows = self._history.windows(last, n_window=n_window, ends_before=self._ends_before)
        if len(windows) == 1:
            return self._decoder.decode(windows[0])
        mean: NDArray[np.float64] = self._decoder.decode(np.stack(windows)).mean(axis=0)  # (n_votes, n_classes)
        return mean

    def _refuse(self, cue: Cue, why: str) -> Decision:
        return Decision(cue.t_s + self.offset_s, None, why, cue.text, cue.origin)


def cue_locked(decoder: Decoder, config: CueConfig, *, patterns: tuple[str, ...], offset_s: float) -> CueLocked:
    """Build the mode that the configuration asks for; `offset_s` holds if it names no offset."""
    return CueLocked(
        decoder,
        offset_s=offset_s if config.offset_ms is None else config.offset_ms / 1000,
        patterns=patterns,
        n_votes=config.votes,
        vote_step=max(1, round(config.vote_step_ms * decoder.manifest.sfreq_hz / 1000)),
    )
