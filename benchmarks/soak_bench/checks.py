"""Invariants of all messages of a service, regardless of the faults in its stream. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pretap.decoder.decoder import Decoder
from pretap_realtime.send.messages import Message
from pretap_realtime.serve.verdicts import MAX_AGE_S
from soak_bench.truth import Truth

__all__ = ["Checks", "Resources", "check_growth", "check_numbering"]

_SAME_P = 1e-6  # across engines
_LOST_S = 0.5  # required: LOST within this time after a death
_SLOW_S = 3.0  # until samples flow again; the median must be 0.5 s
_QUIET_S = 0.9  # a longer silence must be announced: STALE may take this long with chunks of 50 ms on a busy machine
_MAX_MB = 8.0


@dataclass
class Checks:
    """Checks the messages of one replay after the other; `wrong` lists all violations."""

    decoder: Decoder
    hop: int
    wrong: list[str] = field(default_factory=list)
    n_verdicts: int = 0
    n_possible: int = 0
    lost_ms: list[float] = field(default_factory=list)
    again_ms: list[float] = field(default_factory=list)
    largest_difference: float = 0.0
    _late_s: float = 0.0  # of the last verdict: its time after that of the sample

    def day(self, messages: Sequence[Message], truth: Truth, *, frozen_s: Sequence[tuple[float, float]]) -> None:
        """Check the messages of a day, up to the announcement that its last outlet has ended."""
        for message in messages:
            if message.type == "verdict" and message.valid:
                self._verdict(message, truth)
        self.n_possible += truth.n_possible(self.decoder.manifest.n_window, self.hop)
        self._states([m for m in messages if m.type == "state"], truth, frozen_s)

    def _verdict(self, message: Message, truth: Truth) -> None:
        self.n_verdicts += 1
        rows = truth.rows_near(message.t - self._late_s)
        if not rows:
            self.wrong.append(f"seq {message.seq}: no sample was taken around {message.t!r}")
            return
        p = list(message.p.values())
        nearest = ""
        for row in rows:
            window = truth.window(row, self.decoder.manifest.n_window)
            if isinstance(window, str):
                nearest = nearest or f"the window that ends at sample {truth.n[row]}: {window}"
                continue
            difference = float(np.abs(self.decoder.decode(window) - p).max())
            if difference <= _SAME_P:
                self.largest_difference = max(self.largest_difference, difference)
                self._late_s = message.t - float(truth.t_s[row])
                break
            nearest = nearest or f"the window that ends at sample {truth.n[row]}: p is off by {difference:.1e}"
        else:
            self.wrong.append(f"seq {message.seq}: p {message.p} belongs to no window nearby; {nearest}")
        if message.state != "RUNNING":
            self.wrong.append(f"seq {message.seq}: a verdict in the state {message.state}")
        if message.sent - message.t > MAX_AGE_S + 0.1:
            self.wrong.append(f"seq {message.seq}: a verdict {message.sent - message.t:.2f} s old")

    def _states(self, states: Sequence[Message], truth: Truth, frozen_s: Sequence[tuple[float, float]]) -> None:
        deaths = [life.to_s for life in truth.lives]
        had = ("RUNNING", "STALE")  # a stream that ends while it is being checked is LOST too
        lost = [m.sent for before, m in pairwise(states) if m.state == "LOST" and before.state in had]
        running = [m.sent for m in states if m.state == "RUNNING"]
        for death_s in deaths:
            if not any(each.fits and each.from_s + _SLOW_S < death_s for each in truth.lives if each.to_s == death_s):
                continue  # it was refused, or not open for long enough to have a reader
            due_s = death_s + _stopped_s(frozen_s, death_s)  # a frozen replay closes its outlet later
            after = [s - due_s for s in lost if s > due_s - 0.05]
            if not after or after[0] > _LOST_S:
                self.wrong.append(f"a death at {due_s:.3f} was LOST after {after[:1]} s")
            else:
                self.lost_ms.append(1000 * after[0])
        for s in lost:
            if not any(d - 0.05 < s < d + _SLOW_S for d in deaths):
                self.wrong.append(f"LOST at {s:.3f}: no outlet had ended")
        for life in truth.lives[1:]:
            if not life.fits or life.to_s - life.from_s < _SLOW_S:
                continue
            due_s = life.from_s + _stopped_s(frozen_s, life.from_s)
            after = [s - due_s for s in running if due_s < s < life.to_s]
            if not after or after[0] > _SLOW_S:
                self.wrong.append(f"back at {due_s:.3f}, RUNNING after {after[:1]} s")
            else:
                self.again_ms.append(1000 * after[0])
        self._silences([m for m in states if m.state == "STALE"], truth, frozen_s)

    def _silences(self, said: Sequence[Message], truth: Truth, frozen_s: Sequence[tuple[float, float]]) -> None:
        """Check that every silence of a connected stream is announced, and that nothing else is."""
        stale = [m.sent for m in said]
        first_s, last_s = float(truth.pushed_s[0]), float(truth.pushed_s[-1])
        silences = [(a, b) for a, b in pairwise(truth.pushed_s.tolist()) if b - a > 0.2]
        silences = _merged([*silences, *frozen_s])
        for a, b in silences:
            whole = any(each.fits and each.from_s + _SLOW_S < a and b < each.to_s for each in truth.lives)
            if b - a > _QUIET_S and b < last_s and whole and not any(a < s < b + 0.1 for s in stale):
                self.wrong.append(f"no STALE in the silence of {b - a:.2f} s from {a:.3f} on")
        for message in said:
            s = message.sent
            is_refused = any(each.from_s < s < each.to_s for each in truth.lives if not each.fits)
            if first_s < s < last_s and not is_refused and not any(a + 0.2 < s < b + 0.2 for a, b in silences):
                pushed = [round(each, 3) for each in truth.pushed_s.tolist() if s - 1.0 < each < s + 0.3]
                self.wrong.append(f"STALE at {s:.3f} ({message.why}): samples arrived: {pushed}")


def _stopped_s(frozen_s: Sequence[tuple[float, float]], at_s: float) -> float:
    """Return how late a replay is at a time because it was frozen then."""
    return sum(b - at_s for a, b in frozen_s if a <= at_s <= b)


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Merge the spans that overlap."""
    merged: list[tuple[float, float]] = []
    for a, b in sorted(spans):
        if merged and a <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
        else:
            merged.append((a, b))
    return merged


def check_numbering(numbers: Sequence[int]) -> list[str]:
    """Return a line for each gap in the numbering of the marker stream."""
    return [f"seq {b} follows {a}" for a, b in pairwise(numbers) if b != a + 1]


@dataclass(frozen=True)
class Resources:
    """The resources of a process."""

    rss_mb: float
    n_threads: int
    n_files: int


def check_growth(seen: Sequence[Resources]) -> list[str]:
    """Compare the last quarter with the second, because the first is the warm-up."""
    quarter = len(seen) // 4
    if quarter < 5:
        return []
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    wrong = []
    for name, most in (("rss_mb", _MAX_MB), ("n_threads", 2), ("n_files", 4)):
        before, after = (float(np.median([getattr(r, name) for r in part])) for part in (early, late))
        if after - before > most:
            wrong.append(f"{name} grew from {before:g} to {after:g}")
    return wrong
