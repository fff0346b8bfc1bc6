"""Trade-off of policies: scores commands against labelled events and compares settings. Used by `tune`; pure."""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from pretap.bundle.manifest import Manifest
from pretap.config.serve import PolicyConfig
from pretap_realtime.decide.policy import Evidence, EvidenceFilter, Gate
from pretap_realtime.signal.chunk import Decision

_MAX_LEAD_S = 1.0  # a command this long before a target's deadline may announce it
_MAX_LAG_S = 0.5  # a command this long after the deadline is wrong; a pause begins then

_MEMORIES_MS = (100.0, 200.0, 400.0, 800.0)
_EVIDENCE: tuple[dict[str, Any], ...] = (
    {"evidence": "latest"},
    *({"evidence": "average", "memory_ms": each} for each in _MEMORIES_MS),
    *({"evidence": "accumulate", "memory_ms": each} for each in _MEMORIES_MS),
)
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995)
_THRESHOLDS_AT_CUES = (0.0, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995)
_DWELLS_MS, _REFRACTORIES_MS = (0.0, 100.0, 200.0), (0.0, 400.0, 800.0)

Command = tuple[float, int]  # t_s, class index


class Target(NamedTuple):
    """An event that a command should announce, and the latest time at which the command still counts."""

    deadline_s: float
    event_s: float
    class_index: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Hits, errors and rates of a policy's commands.

    Attributes
    ----------
    n_events, n_hits
        Number of events, and of those whose first command, in the second before the deadline, named their class.
    n_wrong
        Commands near an event that are not hits: another class, a second command, or up to half a second late.
    n_false, pause_minutes, false_per_min
        Commands in pauses: more than half a second after one deadline and more than a second before the next. The
        minutes count valid decisions. The rate is None if there are no pauses.
    minutes
        Duration of all valid decisions.
    wrong_per_min, bits_per_min
        Wrong commands, and `bits_per_selection` times hits and wrong commands, per minute of valid decisions.
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
        """Hits minus wrong commands."""
        return self.n_hits - self.n_wrong

    def __str__(self) -> str:
        false = "no pauses" if self.false_per_min is None else f"{self.false_per_min:.2f} false a minute of pause"
        lead = "" if self.lead_ms is None else f", {self.lead_ms:.0f} ms ahead (median)"
        return (
            f"{self.n_hits} of {self.n_events} hit{lead}, {self.wrong_per_min:.1f} wrong a minute, {false}, "
            f"{self.bits_per_min:.1f} bits a minute"
        )


class ScoredPolicy(msgspec.Struct, frozen=True):
    """A policy and its outcome."""

    policy: PolicyConfig
    outcome: Outcome


def bits_per_selection(n_classes: int, accuracy: float) -> float:
    """Compute the information of one selection in bits: Wolpaw et al. 2002, Clin. Neurophysiol. 113:767-791.

    ``log2 N + P log2 P + (1 - P) log2((1 - P) / (N - 1))`` holds for equally likely classes, errors that spread evenly
    over the other classes, and independent selections; it ignores 'none'. Missed events only lower the number of
    selections, and commands in pauses do not count at all. The formula rises again below chance, so this function
    returns 0 there.
    """
    if accuracy * n_classes <= 1:
        return 0.0
    bits = math.log2(n_classes) + accuracy * math.log2(accuracy)
    if accuracy < 1:
        bits += (1 - accuracy) * math.log2((1 - accuracy) / (n_classes - 1))
    return bits


class CommandScorer:
    """Compares commands with targets.

    Parameters
    ----------
    t_s
        Timestamps of the valid decisions, `hop_s` apart.
    targets
        Sorted by `Target.deadline_s`.
    """

    def __init__(self, t_s: Sequence[float], targets: Sequence[Target], *, hop_s: float, n_classes: int) -> None:
        self._targets, self._deadlines_s = targets, [target.deadline_s for target in targets]
        self._n_classes = n_classes
        self._minutes = len(t_s) * hop_s / 60
        self._pause_minutes = sum(self._target_at(each) is None for each in t_s) * hop_s / 60

    def _target_at(self, t_s: float) -> int | None:
        """Return the target that a command at `t_s` announces, -1 just after a target, None in a pause."""
        k = bisect_left(self._deadlines_s, t_s)
        if k < len(self._targets) and t_s > self._deadlines_s[k] - _MAX_LEAD_S:
            return k
        return -1 if k and t_s <= self._deadlines_s[k - 1] + _MAX_LAG_S else None

    def score(self, commands: Iterable[Command]) -> Outcome:
        """Count hits, wrong and false commands."""
        announced: set[int] = set()
        n_near = n_false = 0
        leads_ms = []
        for t_s, class_index in commands:
            k = self._target_at(t_s)
            if k is None:
                n_false += 1
                continue
            n_near += 1
            if k >= 0 and k not in announced:
                announced.add(k)
                if self._targets[k].class_index == class_index:
                    leads_ms.append(1000 * (self._targets[k].event_s - t_s))
        n_hits, minutes = len(leads_ms), self._minutes
        bits = bits_per_selection(self._n_classes, n_hits / n_near) * n_near if n_near else 0.0
        return Outcome(
            n_events=len(self._targets),
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


def filter_evidence(
    config: PolicyConfig, decisions: Sequence[Decision], manifest: Manifest
) -> list[tuple[float, Evidence]]:
    """Compute the evidence at each valid decision; decisions on cues do not depend on each other."""
    evidence_filter = EvidenceFilter(config, manifest)
    evidence = []
    for decision in decisions:
        if decision.why or decision.probs is None or decision.cue:
            evidence_filter.reset()
        if not decision.why and decision.probs is not None:
            evidence.append((decision.t_s, evidence_filter.process(decision.t_s, decision.probs.tolist())))
    return evidence


def commands(config: PolicyConfig, evidence: Iterable[tuple[float, Evidence]]) -> list[Command]:
    """Return the commands of a policy: the same as those of `pretap_realtime.decide.policy.Policy`."""
    gate = Gate(config)
    gated = ((t_s, gate.process(each)) for t_s, each in evidence)
    return [(t_s, k) for t_s, (k, is_new) in gated if is_new and k is not None]


def policy_grid(*, n_classes: int, at_cues: bool) -> list[PolicyConfig]:
    """Return the policies to try, those with the same evidence together; at cues only the threshold matters."""
    if at_cues:
        return [PolicyConfig(threshold=each) for each in _THRESHOLDS_AT_CUES]
    return [
        msgspec.convert(
            evidence | {"threshold": high, "release": low, "dwell_ms": dwell_ms, "refractory_ms": refractory_ms},
            PolicyConfig,
        )
        for evidence, high in itertools.product(_EVIDENCE, _THRESHOLDS)
        for low in (None, round((high + 1 / n_classes) / 2, 4))
        if low is None or low < high
        for dwell_ms, refractory_ms in itertools.product(_DWELLS_MS, _REFRACTORIES_MS)
    ]


def score_policies(
    policies: Sequence[PolicyConfig],
    decisions: Sequence[Decision],
    scorer: CommandScorer,
    *,
    manifest: Manifest,
    advance: Callable[[], None],
) -> list[ScoredPolicy]:
    """Score the commands of every policy; the evidence is computed once for neighbours that have the same."""
    scored = []
    for _, neighbours in itertools.groupby(policies, key=attrgetter("evidence", "memory_ms")):
        same = list(neighbours)
        evidence = filter_evidence(same[0], decisions, manifest)
        for policy in same:
            scored.append(ScoredPolicy(policy, scorer.score(commands(policy, evidence))))
            advance()
    return scored


def pareto_front(scored: Sequence[ScoredPolicy], *, cost: Callable[[Outcome], float]) -> list[ScoredPolicy]:
    """Return the policies that no other beats in both cost and hits minus wrong commands, the cheapest first.

    Among equals, the one with the longest lead is kept.
    """

    def rank(each: ScoredPolicy) -> tuple[float, int, float]:
        return cost(each.outcome), -each.outcome.n_net, -(each.outcome.lead_ms or 0.0)

    front: list[ScoredPolicy] = []
    for each in sorted(scored, key=rank):
        if each.outcome.n_net > (front[-1].outcome.n_net if front else 0):
            front.append(each)
    return front
