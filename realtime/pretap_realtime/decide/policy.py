"""Policy: turns decisions into verdicts. Used by `serve` and `score`; pure, and in data time.

`EvidenceFilter` combines the decisions up to now, `Gate` decides which class their evidence activates, and `Policy`
runs both. Time is counted in whole microseconds between timestamps, so that a recording on another clock gives exactly
the same verdicts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from pretap.bundle.manifest import Manifest
from pretap.config.serve import PolicyConfig
from pretap_realtime.signal.chunk import Decision

NONE = "none"
_MIN_PROB = 1e-6  # one decision never rules a class out forever
_UNKNOWN_US = 10**15  # longer than any span of the policy


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A class name, or ``none``; `code` is the class index + 1, or 0.

    `command` is true if the verdict is a class and the verdict before was not the same class: this is what a game acts
    on. A verdict on a cue does not depend on the one before, so it is a command whenever it is a class.
    """

    label: str
    code: int
    command: bool


_NO_CLASS = Verdict(NONE, 0, command=False)


class Evidence(NamedTuple):
    """The evidence at one moment: `probs` of the classes, which sum to 1; `is_first` after a break."""

    now_us: int
    is_first: bool
    probs: list[float]


class EvidenceFilter:
    """Combines the decisions since the last break into evidence for each class.

    ``latest`` is the newest decision's probabilities. ``average`` is their exponential average with the time constant
    `memory_ms`. ``accumulate`` sums log-probabilities that decay with that time constant, and normalises the sum. This
    is Bayes' rule with a leak, for equal priors. Windows overlap, so a decision is weighted by the new share of its
    window.
    """

    def __init__(self, config: PolicyConfig, manifest: Manifest) -> None:
        self._kind, self._memory_us = config.evidence, 1000 * config.memory_ms
        self._window_us = round(1e6 * manifest.n_window / manifest.sfreq_hz)
        self._sums = [0.0] * len(manifest.classes)
        self._now_us, self._last_s = 0, math.nan
        self.reset()

    def reset(self) -> None:
        """Forget all decisions; time continues."""
        self._is_first = True

    def process(self, t_s: float, probs: list[float]) -> Evidence:
        """Add the probabilities (n_classes,) of the window that ends at `t_s`, and return the evidence."""
        # 0.3: at no rate does a period end on that fraction of a microsecond, so float noise in the timestamps cannot
        # change the result.
        elapsed_us = 0 if math.isnan(self._last_s) else math.floor((t_s - self._last_s) * 1e6 + 0.3)
        self._last_s = t_s
        if elapsed_us < 0:  # the clock was set back: a break of unknown length
            self._is_first, elapsed_us = True, _UNKNOWN_US
        self._now_us += elapsed_us
        is_first, self._is_first = self._is_first, False
        return Evidence(self._now_us, is_first, self._combine(probs, elapsed_us=elapsed_us, is_first=is_first))

    def _combine(self, probs: list[float], *, elapsed_us: int, is_first: bool) -> list[float]:
        if self._kind == "latest":
            return probs
        decay = 0.0 if is_first else math.exp(-elapsed_us / self._memory_us)
        if self._kind == "average":
            self._sums = [p + decay * (s - p) for s, p in zip(self._sums, probs, strict=True)]
            return self._sums
        new = 1.0 if is_first else min(1.0, elapsed_us / self._window_us)
        sums = [decay * s + new * math.log(max(p, _MIN_PROB)) for s, p in zip(self._sums, probs, strict=True)]
        highest = max(sums)
        self._sums = [s - highest for s in sums]
        odds = [math.exp(s) for s in self._sums]
        total = sum(odds)
        return [o / total for o in odds]


class Gate:
    """Activates a class once the evidence for it is convincing.

    A class becomes active if it is the likeliest and has reached `threshold` for `dwell_ms` without a break, at least
    `refractory_ms` after the last activation; a tie goes to the first class. It stays active until its evidence falls
    below `release`, or another class becomes active.
    """

    def __init__(self, config: PolicyConfig) -> None:
        self._threshold = config.threshold
        self._release = config.threshold if config.release is None else config.release
        self._dwell_us, self._refractory_us = 1000 * config.dwell_ms, 1000 * config.refractory_ms
        self._active: int | None = None
        self._activated_us = -math.inf
        self._candidate: int | None = None  # the likeliest class, if it has reached the threshold
        self._candidate_since_us = 0

    def process(self, evidence: Evidence) -> tuple[int | None, bool]:
        """Return the active class, if any, and whether it has just become active."""
        now_us, is_first, probs = evidence
        if is_first:
            self._active = self._candidate = None
        highest = max(probs)
        best = probs.index(highest) if highest >= self._threshold else None
        if best != self._candidate:
            self._candidate, self._candidate_since_us = best, now_us
        active = self._active
        if best is not None and best == active:
            return active, False
        can_activate = (
            now_us - self._candidate_since_us >= self._dwell_us and now_us - self._activated_us >= self._refractory_us
        )
        if best is not None and can_activate:
            self._active, self._activated_us = best, now_us
            return best, True
        if active is not None and probs[active] < self._release:
            self._active = None
        return self._active, False


class Policy:
    """Turns every decision into a verdict.

    If the window is invalid or the service withholds the decision, the verdict is ``none``, and all evidence is
    forgotten: the signal before a break says nothing about the signal after it. A refractory period continues across
    breaks, because it follows from the last activation, not from the signal. If timestamps go back, the clock was set,
    and the refractory period ends too.

    A decision on a cue is judged alone, by `threshold` only.
    """

    def __init__(self, config: PolicyConfig, manifest: Manifest) -> None:
        self._threshold = config.threshold
        self._filter, self._gate = EvidenceFilter(config, manifest), Gate(config)
        self._commands = [Verdict(name, k + 1, command=True) for k, name in enumerate(manifest.classes)]
        self._repeats = [Verdict(name, k + 1, command=False) for k, name in enumerate(manifest.classes)]

    def judge(self, decision: Decision, *, withheld: bool = False) -> Verdict:
        """Return the verdict on a decision; it is ``none`` if the decision is `withheld`."""
        if withheld or decision.why or decision.probs is None:
            self._filter.reset()
            return _NO_CLASS
        probs: list[float] = decision.probs.tolist()
        if decision.cue:
            highest = max(probs)
            return self._commands[probs.index(highest)] if highest >= self._threshold else _NO_CLASS
        active, is_new = self._gate.process(self._filter.process(decision.t_s, probs))
        if active is None:
            return _NO_CLASS
        return (self._commands if is_new else self._repeats)[active]
