"""When is decoded: at each hop, or at cues. Pure, like `pretap_realtime.decide.pipeline`, which hands them clean samples."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pretap.config.serve import CueConfig
from pretap.decoder.decoder import Decoder
from pretap.decoder.output import Native, Output
from pretap.errors import UsageError
from pretap.recordings.events import matches
from pretap.recordings.recording import TIE_SAMPLES
from pretap.signal.ring import Ring
from pretap_realtime.signal.chunk import Chunk, Cue, Decision

__all__ = ["CueLocked", "FreeRunning", "Mode", "cue_locked", "hop_samples"]

CUE_HISTORY_S = 2.0  # how far back a cue may point, beyond its window
CUE_WAIT_S = 1.0  # how long a cue may wait for its samples, beyond the end of its window


class Mode(Protocol):
    """When is decoded: at each hop, or at cues."""

    def push(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, newest_only: bool) -> list[Decision]:
        """Take clean, contiguous samples; give the decisions they complete."""
        ...

    def begin(self, *, delay_s: float) -> None:
        """Forget all samples: another stream follows, whose samples come `delay_s` late."""
        ...

    def interrupt(self, t_s: float, why: str) -> list[Decision]:
        """Note that the samples before and after this point do not belong together."""
        ...

    def ask(self, cue: Cue, arrived_s: float) -> list[Decision]:
        """Take a cue that arrived at `arrived_s` of the caller's clock."""
        ...

    def expire(self, now_s: float) -> list[Decision]:
        """Refuse the cues that have waited too long for their samples."""
        ...

    def settle(self) -> None:
        """Do what the last push left for later."""
        ...

    def audit(self) -> str:
        """Compare the newest decision with the reference's; says what is wrong."""
        ...

    @property
    def n_to_next(self) -> int:
        """How many samples the next decision still needs; 1 where nobody knows."""
        ...

    @property
    def words(self) -> str:
        """How decisions are made, and why that way, for a log."""
        ...

    @property
    def n_seen(self) -> int:
        """How many samples came since the last break."""
        ...

    @property
    def native(self) -> Native | None:
        """What C code may call in place of `push`, where there is such a thing."""
        ...

    def took(self, chunk: Chunk, ends: Sequence[int], probs: NDArray[np.float64]) -> list[Decision]:
        """Take over what `native` did."""
        ...

    @property
    def n_skipped(self) -> int: ...


class FreeRunning:
    """A decision each `hop` samples."""

    def __init__(self, decoder: Decoder, *, hop: int) -> None:
        self._stream = decoder.stream(hop)
        self.n_seen = 0
        self._warming_up = True
        self.n_skipped = 0

    def begin(self, *, delay_s: float) -> None:  # noqa: ARG002 - nobody waits
        self._restart()

    def _restart(self) -> None:
        self._stream.reset()
        self.n_seen = 0

    def push(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, newest_only: bool) -> list[Decision]:
        if newest_only:
            outputs, n_skipped = self._stream.push_newest(x_uv)
            self.n_skipped += n_skipped
        else:
            outputs = self._stream.push(x_uv)
        return self._decisions(outputs, t_s)

    @property
    def native(self) -> Native | None:
        return self._stream.native

    def took(self, chunk: Chunk, ends: Sequence[int], probs: NDArray[np.float64]) -> list[Decision]:
        return self._decisions(self._stream.took(chunk.x_uv, ends, probs), chunk.t_s)

    def _decisions(self, outputs: Sequence[Output], t_s: NDArray[np.float64]) -> list[Decision]:
        before = self.n_seen
        self.n_seen += len(t_s)
        decisions = [Decision(float(t_s[o.n_end - before - 1]), o.probs) for o in outputs]
        if self._warming_up and len(t_s):
            self._warming_up = False
            decisions.insert(0, Decision(float(t_s[0]), None, "warm-up: the first window is not full yet"))
        return decisions

    def interrupt(self, t_s: float, why: str) -> list[Decision]:
        self._restart()
        return [Decision(t_s, None, why)]

    def settle(self) -> None:
        self._stream.settle()

    def audit(self) -> str:
        return self._stream.audit()

    @property
    def n_to_next(self) -> int:
        return self._stream.n_to_next

    @property
    def words(self) -> str:
        """How decisions are made, and why that way."""
        return self._stream.words

    def ask(self, cue: Cue, arrived_s: float) -> list[Decision]:  # noqa: ARG002 - nobody asks a free-running decoder
        return []

    def expire(self, now_s: float) -> list[Decision]:  # noqa: ARG002
        return []


class CueLocked:
    """One decision for each cue, for the window that ends `offset_s` from it.

    With `n_votes` more than 1 it is the mean of the probabilities of that window and of others, which end `vote_step`
    samples earlier each.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        offset_s: float,
        patterns: tuple[str, ...],
        n_votes: int = 1,
        vote_step: int = 1,
    ) -> None:
        manifest = decoder.manifest
        self._n_votes, self._vote_step = n_votes, vote_step
        self._n_needed = manifest.n_window + (n_votes - 1) * vote_step
        self._decoder, self._offset_s, self._patterns = decoder, offset_s, patterns
        self._n_window, self._period_s = manifest.n_window, 1 / manifest.sfreq_hz
        self._wait_s = CUE_WAIT_S + max(0.0, offset_s)
        n_history = self._n_needed + round((CUE_HISTORY_S + max(0.0, -offset_s)) * manifest.sfreq_hz)
        self._ring = Ring(n_history, len(manifest.channels))
        self._breaks: deque[tuple[int, str]] = deque()  # (number of the first sample after it, why)
        self._waiting: list[tuple[Cue, float]] = []
        self._after_break = False
        self.n_skipped = self.n_seen = 0

    @property
    def native(self) -> None:
        return None

    def took(self, chunk: Chunk, ends: Sequence[int], probs: NDArray[np.float64]) -> list[Decision]:
        raise NotImplementedError  # nothing is native

    def begin(self, *, delay_s: float) -> None:
        self._wait_s = CUE_WAIT_S + max(0.0, self._offset_s) + delay_s
        self._forget()

    def settle(self) -> None:
        pass

    def audit(self) -> str:
        return ""  # every window is computed as a whole already

    @property
    def n_to_next(self) -> int:
        return 1

    @property
    def words(self) -> str:
        return f"{self._decoder.engine}: a window for each cue, computed when its last sample is there"

    def _forget(self) -> None:
        self._ring.reset()
        self._breaks.clear()

    def push(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, newest_only: bool) -> list[Decision]:  # noqa: ARG002 - a cue is never skipped
        held = self._ring.timestamps(self._ring.n_seen, self._ring.n_held)
        if self._after_break and len(held) and len(t_s) and t_s[0] < held[-1]:
            self._forget()  # the clock was set back: on it, what came before lies in the future
        self._after_break = self._after_break and not len(t_s)
        decisions = []
        n_piece = self._ring.capacity - self._n_needed  # a long chunk must not push a waiting cue's window out
        for start in range(0, len(t_s), n_piece):
            self._ring.append(x_uv[start : start + n_piece], t_s[start : start + n_piece])
            decisions += self._answer()
        return decisions

    def interrupt(self, t_s: float, why: str) -> list[Decision]:  # noqa: ARG002 - said where a cue asks for it
        self._after_break = True
        self._breaks.append((self._ring.n_seen, why))
        while self._breaks[0][0] < self._ring.n_seen - self._ring.n_held:
            self._breaks.popleft()
        return []

    def ask(self, cue: Cue, arrived_s: float) -> list[Decision]:
        if not matches(cue.text, self._patterns):
            return []
        if not math.isfinite(cue.t_s):
            return [Decision(arrived_s, None, "its stamp is not a number", cue.text)]
        self._waiting.append((cue, arrived_s))
        return self._answer()

    def expire(self, now_s: float) -> list[Decision]:
        late = [cue for cue, arrived_s in self._waiting if now_s - arrived_s > self._wait_s]
        self._waiting = [(cue, arrived_s) for cue, arrived_s in self._waiting if now_s - arrived_s <= self._wait_s]
        why = f"its samples did not come within {self._wait_s:g} s"
        if self._after_break and self._breaks:  # none since then: that is the reason
            why = self._breaks[-1][1]
        return [self._refusal(cue, why) for cue in late]

    def _answer(self) -> list[Decision]:
        if not self._waiting:
            return []
        held = self._ring.timestamps(self._ring.n_seen, self._ring.n_held)
        # A quarter of a sample early is early enough: the next sample would lie further off. Float noise in a cue's
        # stamp must not make it wait for a sample that never comes.
        ready = [pair for pair in self._waiting if len(held) and held[-1] >= self._earliest(pair[0])]
        self._waiting = [pair for pair in self._waiting if pair not in ready]
        return [self._decide(cue, held) for cue, _ in ready]

    def _earliest(self, cue: Cue) -> float:
        return cue.t_s + self._offset_s - self._period_s / 4

    def _decide(self, cue: Cue, held: NDArray[np.float64]) -> Decision:
        wanted_s = cue.t_s + self._offset_s
        after = int(np.argmax(held >= self._earliest(cue)))
        # Of two that are equally near the later one, as in `sample_at`: float noise must not decide.
        tie_s = 2 * TIE_SAMPLES * self._period_s
        nearer = after and abs(held[after - 1] - wanted_s) + tie_s < abs(held[after] - wanted_s)
        last = after - 1 if nearer else after
        off_s = abs(float(held[last]) - wanted_s)
        if off_s > self._period_s * (0.5 + 2 * TIE_SAMPLES):
            return self._refusal(cue, f"no sample within half a sample of it; the nearest is {off_s * 1000:.1f} ms off")
        end = self._ring.n_seen - len(held) + last + 1
        start = end - self._n_needed
        for first_after, why in self._breaks:
            if start < first_after < end:
                return self._refusal(cue, why)
        if start < self._ring.n_seen - len(held):
            return self._refusal(cue, f"only {last + 1} of {self._n_needed} samples of its window are there")
        return Decision(float(held[last]), self._vote(end), cue=cue.text)

    def _vote(self, end: int) -> NDArray[np.float64]:
        if self._n_votes == 1:
            return self._decoder.decode(self._ring.window(end, self._n_window))
        ends = [end - k * self._vote_step for k in range(self._n_votes)]
        probs = self._decoder.decode(np.stack([self._ring.window(each, self._n_window) for each in ends]))
        mean: NDArray[np.float64] = probs.mean(axis=0)  # (n_votes, n_classes) -> (n_classes,)
        return mean

    def _refusal(self, cue: Cue, why: str) -> Decision:
        return Decision(cue.t_s + self._offset_s, None, why, cue.text)


def cue_locked(decoder: Decoder, config: CueConfig, *, patterns: tuple[str, ...], offset_s: float) -> CueLocked:
    """Build the mode that the configuration asks for; `offset_s` holds where it names no offset."""
    return CueLocked(
        decoder,
        offset_s=offset_s if config.offset_ms is None else config.offset_ms / 1000,
        patterns=patterns,
        n_votes=config.votes,
        vote_step=max(1, round(config.vote_step_ms * decoder.manifest.sfreq_hz / 1000)),
    )


def hop_samples(hop_ms: float, sfreq_hz: float) -> int:
    """Return the hop in samples, which must be at least one."""
    hop = round(hop_ms * sfreq_hz / 1000)
    if hop < 1:
        raise UsageError(
            f"decode.hop_ms: expected at least {1000 / sfreq_hz:g}, one sample at the bundle's {sfreq_hz:g} Hz; got "
            f"{hop_ms:g}."
        )
    return hop
