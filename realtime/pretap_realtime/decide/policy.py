"""From decisions to verdicts: pure, and in data time.

`Evidence` weighs the decisions of a moment together, `Gate` says which class they are convincing for, and `Policy` is
the two of them, as the live service and `pretap score` use them. Time is the difference of two stamps in whole
microseconds, so that a recording on the clock of another day gives the same verdicts to the bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from pretap.bundle.manifest import Manifest
from pretap.config.serve import PolicyConfig
from pretap_realtime.signal.chunk import Decision

__all__ = ["NONE", "Evidence", "Gate", "Policy", "Verdict", "Weighed"]

NONE = "none"
_LEAST = 1e-6  # of a probability: one decision never rules a class out for good
_LONG_US = 10**15  # longer than any of the policy's spans


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A class name, or ``none``; `code` is the class index + 1, or 0.

    `command` is true where the verdict is a class and the one before was another: what a game acts on. A verdict on a
    cue stands for itself, and is a command whenever it is a class.
    """

    label: str
    code: int
    command: bool


_IDLE = Verdict(NONE, 0, command=False)


class Weighed(NamedTuple):
    """The evidence at a moment: `shares` of the classes, which sum to 1; `is_first` after a break."""

    now_us: int
    is_first: bool
    shares: list[float]


class Evidence:
    """What the decisions since the last break say about the classes.

    ``latest`` is the newest decision's probabilities. ``average`` is their exponential average with the time constant
    `memory_ms`. ``accumulate`` adds up log-probabilities, which fade with that time constant, and normalises the sum:
    Bayes' rule with a leak, for equal priors. Windows overlap, so there a decision weighs the share of its window that
    is new.
    """

    def __init__(self, config: PolicyConfig, manifest: Manifest) -> None:
        self._kind, self._memory_us = config.evidence, 1000 * config.memory_ms
        self._window_us = round(1e6 * manifest.n_window / manifest.sfreq_hz)
        self._sums = [0.0] * len(manifest.classes)
        self._now_us, self._last_s = 0, math.nan
        self.reset()

    def reset(self) -> None:
        """Forget all decisions; time goes on."""
        self._is_first = True

    def add(self, t_s: float, probs: list[float]) -> Weighed:
        """Take the probabilities (n_classes,) of the window that ends at `t_s`."""
        # 0.3: no rate's period ends on that fraction of a microsecond, so float noise in the stamps changes nothing.
        after_us = 0 if math.isnan(self._last_s) else math.floor((t_s - self._last_s) * 1e6 + 0.3)
        self._last_s = t_s
        if after_us < 0:  # the clock was set: a break, and nobody knows how long it was
            self._is_first, after_us = True, _LONG_US
        self._now_us += after_us
        is_first, self._is_first = self._is_first, False
        return Weighed(self._now_us, is_first, self._weigh(probs, after_us=after_us, is_first=is_first))

    def _weigh(self, probs: list[float], *, after_us: int, is_first: bool) -> list[float]:
        if self._kind == "latest":
            return probs
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
    `refractory_ms` after the last class that was given; a tie goes to the first class. It stays until its evidence
    falls below `release`, or another class takes its place.
    """

    def __init__(self, config: PolicyConfig) -> None:
        self._threshold = config.threshold
        self._release = config.threshold if config.release is None else config.release
        self._dwell_us, self._refractory_us = 1000 * config.dwell_ms, 1000 * config.refractory_ms
        self._given: int | None = None
        self._given_us = -math.inf
        self._rising: int | None = None  # the likeliest class, where it has reached the threshold
        self._since_us = 0

    def step(self, weighed: Weighed) -> tuple[int | None, bool]:
        """Give the class that stands, if any, and whether it is new."""
        now_us, is_first, shares = weighed
        if is_first:
            self._given = self._rising = None
        highest = max(shares)
        best = shares.index(highest) if highest >= self._threshold else None
        if best != self._rising:
            self._rising, self._since_us = best, now_us
        given = self._given
        if best is not None and best == given:
            return given, False
        is_ripe = now_us - self._since_us >= self._dwell_us and now_us - self._given_us >= self._refractory_us
        if best is not None and is_ripe:
            self._given, self._given_us = best, now_us
            return best, True
        if given is not None and shares[given] < self._release:
            self._given = None
        return self._given, False


class Policy:
    """Turns every decision into a verdict.

    Without a valid window, or where the service withholds it, the verdict is ``none``, and all evidence is forgotten:
    what was seen before a break says nothing about what comes after it. A refractory period goes on: it is about what
    was given, not about what was seen. Where stamps go back the clock was set, and it ends too.

    A cue is a question of its own: it is answered by its own decision and `threshold` alone.
    """

    def __init__(self, config: PolicyConfig, manifest: Manifest) -> None:
        self._threshold = config.threshold
        self._evidence, self._gate = Evidence(config, manifest), Gate(config)
        self._new = [Verdict(name, k + 1, command=True) for k, name in enumerate(manifest.classes)]
        self._standing = [Verdict(name, k + 1, command=False) for k, name in enumerate(manifest.classes)]

    def judge(self, decision: Decision, *, withheld: bool = False) -> Verdict:
        """Give the verdict on a decision; on one that may not become a verdict it is ``none``."""
        if withheld or decision.why or decision.probs is None:
            self._evidence.reset()
            return _IDLE
        probs: list[float] = decision.probs.tolist()
        if decision.cue:
            highest = max(probs)
            return self._new[probs.index(highest)] if highest >= self._threshold else _IDLE
        given, is_new = self._gate.step(self._evidence.add(decision.t_s, probs))
        if given is None:
            return _IDLE
        return (self._new if is_new else self._standing)[given]
