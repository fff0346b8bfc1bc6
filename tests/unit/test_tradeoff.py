"""Trade-off of policies: commands are scored against events, and are the same commands as those of the service."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap.config.serve import PolicyConfig
from pretap_realtime.decide.policy import Policy
from pretap_realtime.score.tradeoff import (
    CommandScorer,
    Outcome,
    ScoredPolicy,
    Target,
    bits_per_selection,
    commands,
    filter_evidence,
    pareto_front,
    policy_grid,
    score_policies,
)
from pretap_realtime.signal.chunk import Decision

HOP_S = 0.05


def timestamps_s(n_seconds):
    return [k * HOP_S for k in range(round(n_seconds / HOP_S))]


def targets(*events):
    return [Target(t_s, t_s, k) for t_s, k in events]


def test_the_first_command_within_a_second_before_an_event_is_its_hit():
    scorer = CommandScorer(timestamps_s(60), targets((10.0, 0), (11.0, 1), (30.0, 0)), hop_s=HOP_S, n_classes=2)
    made = [
        (8.95, 0),  # in a pause
        (9.85, 0),  # a hit
        (9.95, 1),  # a second one: wrong
        (10.25, 0),  # the other class: wrong
        (10.75, 1),  # too late to correct that: wrong
        (11.45, 0),  # just after an event: wrong
        (20.0, 1),  # in a pause
        (30.0, 0),  # a hit, without any lead
    ]
    found = scorer.score(made)
    assert (found.n_events, found.n_hits, found.n_wrong, found.n_false) == (3, 2, 4, 2)
    assert found.lead_ms == pytest.approx(75.0)
    assert found.minutes == pytest.approx(1.0)
    # 60 s without (9, 11.5] and (29, 30.5]; the hops on an edge belong to the side that is closed
    assert found.pause_minutes == pytest.approx((60 - 2.5 - 1.5) / 60, abs=HOP_S / 60)
    assert found.false_per_min == pytest.approx(2 / found.pause_minutes)
    assert found.wrong_per_min == pytest.approx(4.0)
    assert found.bits_per_min == 0.0  # 2 of 6 are right: below chance


def test_without_pauses_false_activations_are_unknown():
    found = CommandScorer(timestamps_s(1), targets((0.5, 0), (0.99, 1)), hop_s=HOP_S, n_classes=2).score([])
    assert (found.pause_minutes, found.false_per_min, found.lead_ms) == (0.0, None, None)


def test_each_command_is_either_a_hit_or_wrong_or_false():
    rng = np.random.default_rng(0)
    events = targets(*((float(t), int(k)) for t, k in zip(np.cumsum(rng.uniform(0.8, 4, 40)), rng.integers(0, 3, 40))))  # noqa: B905
    made = [(float(t), int(k)) for t, k in zip(np.sort(rng.uniform(0, 100, 300)), rng.integers(0, 3, 300))]  # noqa: B905
    found = CommandScorer(timestamps_s(100), events, hop_s=HOP_S, n_classes=3).score(made)
    assert found.n_hits + found.n_wrong + found.n_false == 300
    assert 0 < found.n_hits < 40


@pytest.mark.parametrize(
    ("n_classes", "accuracy", "bits"),
    [
        (2, 1.0, 1.0),
        (2, 0.5, 0.0),
        (2, 0.2, 0.0),  # the formula would give 0.28
        (2, 0.9, 1 + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1)),
        (4, 0.9, 2 + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1 / 3)),  # 1.37, as in the paper's figure
        (1, 1.0, 0.0),
    ],
)
def test_bits_are_those_of_wolpaw(n_classes, accuracy, bits):
    assert bits_per_selection(n_classes, accuracy) == pytest.approx(bits)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=60), st.integers(0, 10_000))
def test_commands_are_those_of_the_policy(make_decoder, rights, pick):
    manifest = make_decoder().manifest
    configs = policy_grid(n_classes=2, at_cues=False)
    config = configs[pick % len(configs)]
    decisions = [
        Decision(7.1 + k * HOP_S, None if p is None else np.array([1 - p, p]), "gap" if p is None else "")
        for k, p in enumerate(rights)
    ]
    policy = Policy(config, manifest)
    judged = [(decision.t_s, policy.judge(decision)) for decision in decisions]
    expected = [(t_s, verdict.code - 1) for t_s, verdict in judged if verdict.command]
    assert commands(config, filter_evidence(config, decisions, manifest)) == expected


@given(st.lists(st.floats(0, 1), max_size=30))
def test_commands_at_cues_are_those_of_the_policy(make_decoder, rights):
    manifest = make_decoder().manifest
    decisions = [Decision(k / 2, np.array([1 - p, p]), cue="trial/0/end") for k, p in enumerate(rights)]
    for config in policy_grid(n_classes=2, at_cues=True):
        policy = Policy(config, manifest)
        judged = [(decision.t_s, policy.judge(decision)) for decision in decisions]
        expected = [(t_s, verdict.code - 1) for t_s, verdict in judged if verdict.command]
        assert commands(config, filter_evidence(config, decisions, manifest)) == expected


def test_every_policy_of_the_grid_is_scored_once(make_decoder):
    policies = policy_grid(n_classes=2, at_cues=False)
    n = []
    scorer = CommandScorer(timestamps_s(1), targets((0.5, 0)), hop_s=HOP_S, n_classes=2)
    scored = score_policies(policies, [], scorer, manifest=make_decoder().manifest, advance=lambda: n.append(1))
    tried = {each.policy for each in scored}
    assert len(n) == len(scored) == len(tried) == len(policies)


def test_the_front_holds_the_policies_that_no_other_beats():
    def scored(threshold, n_hits, n_wrong, false_per_min, lead_ms=100.0):
        found = Outcome(
            n_events=9, n_hits=n_hits, n_wrong=n_wrong, n_false=0, minutes=1.0, pause_minutes=1.0,
            false_per_min=false_per_min, wrong_per_min=0.0, lead_ms=lead_ms, bits_per_min=0.0,
        )  # fmt: skip
        return ScoredPolicy(PolicyConfig(threshold=threshold), found)

    every = [
        scored(0.1, 9, 1, 5.0),
        scored(0.2, 5, 0, 2.0, lead_ms=50.0),
        scored(0.3, 5, 0, 2.0),  # longer lead
        scored(0.4, 6, 2, 3.0),  # higher cost, smaller gain
        scored(0.5, 1, 1, 0.0),  # no gain
        scored(0.6, 9, 1, 6.0),
    ]
    front = pareto_front(every, cost=lambda each: each.false_per_min or 0.0)
    assert [each.policy.threshold for each in front] == [0.3, 0.1]
