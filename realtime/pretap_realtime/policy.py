"""From decisions to verdicts: pure, and in data time.

`Evidence` weighs the decisions of a moment together, `Gate` says which class they are convincing for, and `Policy` is
the two of them, as the live service and `pretap score` use them. Time is the difference of two stamps in whole
microseconds, so that a recording on the clock of another day gives the same verdicts to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from pretap.config import PolicyConfig
from pretap.manifest import Manifest
from pretap_realtime.chunk import Decision

__all__ = ["NONE", "Evidence", "Gate", "Policy", "Verdict", "elapsed_us"]

NONE = "none"
_LEAST = 1e-6  # of a probability: one decision never rules a class out for good


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A class name, or ``none``; `code` is the class index + 1, or 0.

    `command` is true where the verdict is a class and the one before was another: what a game acts on. A verdict on a
    cue stands for itself, and is a command whenever it is a class.
    """

    label: str
    code: int
    command: bool


_IDLE = Verdict(NONE, 0, command=False)


def elapsed_us(from_s: float, to_s: float) -> int:
    """Give the time between two stamps in microseconds, of which the last one may be missing."""
    # 0.3: no rate's period falls on that fraction of a microsecond, so float noise in the stamps changes nothing.
    return math.floor((to_s - from_s) * 1e6 + 0.3)


class Evidence:
    """What the decisions so far say about the classes: numbers from 0 to 1 that sum to 1.

    ``latest`` is the newest decision's probabilities. ``average`` is their exponential average with the time constant
    `memory_ms`. ``accumulate`` adds up log-probabilities, which fade with that time constant, and normalises the sum:
    Bayes' rule with a leak, for equal priors. Windows overlap, so there a decision weighs the share of its window that
    is new.

    After `reset` the next decision is the first one.
    """

    def __init__(self, config: PolicyConfig, *, n_classes: int, window_us: int) -> None:
        self._kind, self._memory_us, self._window_us = config.evidence, 1000 * config.memory_ms, window_us
        self._sums = [0.0] * n_classes
        self.reset()

    def reset(self) -> None:
        """Forget all decisions."""
        self._is_first = True

    def add(self, probs: list[float], *, after_us: int) -> list[float]:
        """Take a decision's probabilities (n_classes,), `after_us` later than the one before; give the evidence."""
        if self._kind == "latest":
            return probs
        is_first, self._is_first = self._is_first, False
        kept = 0.0 if is_first else math.exp(-after_us / self._memory_us)
        if self._kind == "average":
            self._sums = [p + kept * (s - p) for s, p in zip(self._sums, probs, strict=True)]
            return self._sums
        new = 1.0 if is_first else min(1.0, after_us / self._window_us)
        sums = [kept * s + new * math.log(max(p, _LEAST)) for s, p in zip(self._sums, probs, strict=True)]
        highest = max(sums)
        self._sums = [s - highest for s in sums]
        odds = [math.exp(s) for s in self._sums]
        total = sum(odds)
        return [o / total for o in odds]


class Gate:
    """Which class the evidence is convincing for, if any.

    A class is given once it is the likeliest and has reached `threshold` for `dwell_ms` without a break, and
    `refractory_ms` after the last class that was given; a tie goes to the first class. It stays until its evidence falls
    below `release`, or another class takes its place.
    """

    def __init__(self, config: PolicyConfig) -> None:
        self._threshold = config.threshold
        self._release = config.threshold if config.release is None else config.release
        self._dwell_us, self._refractory_us = 1000 * config.dwell_ms, 1000 * config.refractory_ms
        self._given_us = -math.inf
        self.reset()

    def reset(self) -> None:
        """Give no class, and let none have begun its dwell; when the last one was given is still known."""
        self._given: int | None = None
        self._rising: int | None = None
        self._since_us = 0

    def forget(self) -> None:
        """Reset, and let no refractory period run."""
        self.reset()
        self._given_us = -math.inf

    def step(self, evidence: Sequence[float], *, now_us: int) -> tuple[int | None, bool]:
        """Give the class that stands, if any, and whether it is new."""
        highest = max(evidence)
        best = evidence.index(highest) if highest >= self._threshold else None
        if best != self._rising:
            self._rising, self._since_us = best, now_us
        given = self._given
        if best is None or best != given:
            if (
                best is not None
                and now_us - self._since_us >= self._dwell_us
                and now_us - self._given_us >= self._refractory_us
            ):
                self._given, self._given_us = best, now_us
                return best, True
            if given is not None and evidence[given] < self._release:
                self._given = None
        return self._given, False


class Policy:
    """Turns every decision into a verdict.

    Without a valid window, or where the service withholds it, the verdict is ``none``, and all evidence is forgotten:
    what was seen before a break says nothing about what comes after it. A refractory period goes on: it is about what
    was given, not about what was seen. Where stamps go back, the clock was set, and everything is forgotten.

    A cue is a question of its own: it is answered by its own decision and `threshold` alone.
    """

    def __init__(self, config: PolicyConfig, manifest: Manifest) -> None:
        classes = manifest.classes
        window_us = round(1e6 * manifest.n_window / manifest.sfreq_hz)
        self._threshold = config.threshold
        self._evidence = Evidence(config, n_classes=len(classes), window_us=window_us)
        self._gate = Gate(config)
        self._new = [Verdict(name, k + 1, command=True) for k, name in enumerate(classes)]
        self._standing = [Verdict(name, k + 1, command=False) for k, name in enumerate(classes)]
        self._now_us = 0
        self._last_s = -math.inf

    def judge(self, decision: Decision, *, withheld: bool = False) -> Verdict:
        """Give the verdict on a decision; on one that may not become a verdict it is ``none``."""
        if withheld or decision.why or decision.probs is None:
            self._evidence.reset()
            self._gate.reset()
            return _IDLE
        probs: list[float] = decision.probs.tolist()
        if decision.cue:
            highest = max(probs)
            return self._new[probs.index(highest)] if highest >= self._threshold else _IDLE
        after_us = 0 if self._last_s == -math.inf else elapsed_us(self._last_s, decision.t_s)
        self._last_s = decision.t_s
        if after_us < 0:
            self._evidence.reset()
            self._gate.forget()
            after_us = 0
        self._now_us += after_us
        given, is_new = self._gate.step(self._evidence.add(probs, after_us=after_us), now_us=self._now_us)
        if given is None:
            return _IDLE
        return (self._new if is_new else self._standing)[given]
