"""What a policy is worth on labelled decisions, and which settings are worth most: pure."""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from pretap.bundle.manifest import Manifest
from pretap.config.serve import PolicyConfig
from pretap_realtime.decide.policy import Evidence, Gate, Weighed
from pretap_realtime.signal.chunk import Decision

__all__ = ["Due", "Outcome", "Tried", "Worth", "bits_per_selection", "commands", "grid", "pareto", "sweep", "weigh"]

BEFORE_S, AFTER_S = 1.0, 0.5
"""A command may announce an event for so long before it is due; a pause begins so long after one was due."""

_Evidence = tuple[str, float]  # kind, memory_ms
_EVIDENCES: tuple[_Evidence, ...] = (
    ("latest", 0.0),
    *itertools.product(("average", "accumulate"), (100.0, 200.0, 400.0, 800.0)),
)
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995)
_THRESHOLDS_AT_CUES = (0.0, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995)
_DWELLS_MS, _REFRACTORIES_MS = (0.0, 100.0, 200.0), (0.0, 400.0, 800.0)

Command = tuple[float, int]  # t_s, class index


class Due(NamedTuple):
    """What a command should announce: the class, the latest stamp at which it still counts, and the event's own."""

    by_s: float
    event_s: float
    k: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy's commands were worth.

    Attributes
    ----------
    n_events, n_hits
        Events, and those of which the first command, within a second before it was due, named the class.
    n_wrong
        Commands near an event that are no hit: another class, a second one, or up to half a second after it.
    n_false, pause_minutes, false_per_min
        Commands in pauses: more than half a second after an event and more than a second before the next. The minutes
        count valid decisions. The rate is None where there are no pauses.
    minutes
        All that was decided on.
    wrong_per_min, bits_per_min
        Wrong commands, and `bits_per_selection` times hits and wrong commands, per minute of all that was decided on.
    lead_ms
        Median time from a hit's last sample to the event, in milliseconds; None without hits.
    """

    n_events: int
    n_hits: int
    n_wrong: int
    n_false: int
    minutes: float
    pause_minutes: float
    false_per_min: float | None
    wrong_per_min: float
    lead_ms: float | None
    bits_per_min: float

    @property
    def n_net(self) -> int:
        """Hits less wrong commands."""
        return self.n_hits - self.n_wrong

    def __str__(self) -> str:
        false = "no pauses" if self.false_per_min is None else f"{self.false_per_min:.2f} false a minute of pause"
        lead = "" if self.lead_ms is None else f", {self.lead_ms:.0f} ms ahead (median)"
        return (
            f"{self.n_hits} of {self.n_events} hit{lead}, {self.wrong_per_min:.1f} wrong a minute, {false}, "
            f"{self.bits_per_min:.1f} bits a minute"
        )


class Tried(msgspec.Struct, frozen=True):
    """A policy and what came of it."""

    policy: PolicyConfig
    outcome: Outcome


def bits_per_selection(n_classes: int, accuracy: float) -> float:
    """Give what one selection tells, in bits: Wolpaw et al. 2002, Clin. Neurophysiol. 113:767-791.

    ``log2 N + P log2 P + (1 - P) log2((1 - P) / (N - 1))`` holds for equally likely classes, errors that spread evenly
    over the other classes, and selections that do not depend on each other; it knows no 'none'. What is missed shows in
    the number of selections only, and what is given in a pause not at all. At chance and below it is 0 here, where the
    formula rises again.
    """
    if accuracy * n_classes <= 1:
        return 0.0
    bits = math.log2(n_classes) + accuracy * math.log2(accuracy)
    if accuracy < 1:
        bits += (1 - accuracy) * math.log2((1 - accuracy) / (n_classes - 1))
    return bits


class Worth:
    """Compares commands with the events of a stretch.

    Parameters
    ----------
    t_s
        Stamps of the valid decisions, `hop_s` apart.
    due
        Sorted by `Due.by_s`.
    """

    def __init__(self, t_s: Sequence[float], due: Sequence[Due], *, hop_s: float, n_classes: int) -> None:
        self._due, self._by_s, self._n_classes = due, [each.by_s for each in due], n_classes
        self._minutes = len(t_s) * hop_s / 60
        self._pause_minutes = sum(self._place(each) is None for each in t_s) * hop_s / 60

    def _place(self, t_s: float) -> int | None:
        """Give the event that a command at `t_s` announces, -1 just after one, None in a pause."""
        k = bisect_left(self._by_s, t_s)
        if k < len(self._due) and t_s > self._by_s[k] - BEFORE_S:
            return k
        return -1 if k and t_s <= self._by_s[k - 1] + AFTER_S else None

    def of(self, given: Iterable[Command]) -> Outcome:
        """Count hits, wrong and false commands."""
        answered: set[int] = set()
        n_near = n_false = 0
        leads_ms = []
        for t_s, k in given:
            place = self._place(t_s)
            if place is None:
                n_false += 1
                continue
            n_near += 1
            if place >= 0 and place not in answered:
                answered.add(place)
                if self._due[place].k == k:
                    leads_ms.append(1000 * (self._due[place].event_s - t_s))
        n_hits, minutes = len(leads_ms), self._minutes
        bits = bits_per_selection(self._n_classes, n_hits / n_near) * n_near if n_near else 0.0
        return Outcome(
            n_events=len(self._due),
            n_hits=n_hits,
            n_wrong=n_near - n_hits,
            n_false=n_false,
            minutes=minutes,
            pause_minutes=self._pause_minutes,
            false_per_min=n_false / self._pause_minutes if self._pause_minutes else None,
            wrong_per_min=(n_near - n_hits) / minutes if minutes else 0.0,
            lead_ms=statistics.median(leads_ms) if leads_ms else None,
            bits_per_min=bits / minutes if minutes else 0.0,
        )


def weigh(config: PolicyConfig, decisions: Sequence[Decision], manifest: Manifest) -> list[tuple[float, Weighed]]:
    """Give the evidence at each valid decision; of those on cues each stands for itself."""
    evidence = Evidence(config, manifest)
    weighed = []
    for decision in decisions:
        if decision.why or decision.probs is None or decision.cue:
            evidence.reset()
        if not decision.why and decision.probs is not None:
            weighed.append((decision.t_s, evidence.add(decision.t_s, decision.probs.tolist())))
    return weighed


def commands(config: PolicyConfig, weighed: Iterable[tuple[float, Weighed]]) -> list[Command]:
    """Give the commands that `pretap_realtime.decide.policy.Policy` gives."""
    gate = Gate(config)
    stepped = ((t_s, gate.step(each)) for t_s, each in weighed)
    return [(t_s, k) for t_s, (k, is_new) in stepped if is_new and k is not None]


def grid(*, n_classes: int, at_cues: bool) -> dict[_Evidence, list[PolicyConfig]]:
    """Give the settings to try, by their evidence; at cues only the threshold matters."""
    if at_cues:
        return {("latest", 0.0): [PolicyConfig(threshold=each) for each in _THRESHOLDS_AT_CUES]}
    found: dict[_Evidence, list[PolicyConfig]] = {}
    spans = list(itertools.product(_DWELLS_MS, _REFRACTORIES_MS))
    for kind, memory_ms in _EVIDENCES:
        settings = {"evidence": kind, "memory_ms": memory_ms}
        found[kind, memory_ms] = [
            msgspec.convert(
                settings | {"threshold": high, "release": low, "dwell_ms": dwell_ms, "refractory_ms": rest_ms},
                PolicyConfig,
            )
            for high in _THRESHOLDS
            for low in (None, round((high + 1 / n_classes) / 2, 4))
            if low is None or low < high
            for dwell_ms, rest_ms in spans
        ]
    return found


def sweep(
    decisions: Sequence[Decision],
    worth: Worth,
    manifest: Manifest,
    *,
    settings: dict[_Evidence, list[PolicyConfig]],
    advance: Callable[[], None],
) -> list[Tried]:
    """Try every setting."""
    tried = []
    for alike in settings.values():
        weighed = weigh(alike[0], decisions, manifest)
        for config in alike:
            tried.append(Tried(config, worth.of(commands(config, weighed))))
            advance()
    return tried


def pareto(tried: Sequence[Tried], *, cost: Callable[[Outcome], float]) -> list[Tried]:
    """Give the settings that nothing beats in both cost and hits less wrong commands, the cheapest first.

    Of equals it is the one whose commands come earlier.
    """

    def rank(each: Tried) -> tuple[float, int, float]:
        return cost(each.outcome), -each.outcome.n_net, -(each.outcome.lead_ms or 0.0)

    front: list[Tried] = []
    for each in sorted(tried, key=rank):
        if each.outcome.n_net > (front[-1].outcome.n_net if front else 0):
            front.append(each)
    return front
