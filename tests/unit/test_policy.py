"""Policy: when a class becomes active, how long it stays active, and what a break resets."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pretap.config.serve import PolicyConfig
from pretap_realtime.decide.policy import NONE, EvidenceFilter, Policy
from pretap_realtime.signal.chunk import Decision

HOP_S = 0.05


@pytest.fixture(scope="session")
def manifests(make_decoder):
    names = ("left", "right", "feet", "tongue")
    return {n: make_decoder(classes=names[:n], sfreq_hz=100.0, n_window=50).manifest for n in (2, 3, 4)}


def decisions_of(rows, *, t0_s=0.0, hop_s=HOP_S):
    """Return a decision for each hop; None is a break."""
    return [
        Decision(t0_s + k * hop_s, None if row is None else np.array(row, np.float64), "gap" if row is None else "")
        for k, row in enumerate(rows)
    ]


def verdicts(config, manifest, rows, **timing):
    policy = Policy(config, manifest)
    return [policy.judge(decision) for decision in decisions_of(rows, **timing)]


def labels(config, manifest, rows):
    return " ".join(verdict.label for verdict in verdicts(config, manifest, rows))


def two(*rights):
    return [None if p is None else [1 - p, p] for p in rights]


# -- strategies ----------------------------------------------------------------------------------------------------


def row_of(n_classes):
    weights = st.lists(st.floats(0.0, 1.0), min_size=n_classes, max_size=n_classes)
    return weights.map(lambda w: [(x + 1e-3) / (sum(w) + 1e-3 * len(w)) for x in w])


def rows_of(n_classes):
    return st.lists(st.one_of(st.none(), row_of(n_classes), row_of(n_classes)), max_size=60)


@st.composite
def configs(draw):
    evidence = draw(st.sampled_from(["latest", "average", "accumulate"]))
    threshold = draw(st.floats(0, 1))
    return PolicyConfig(
        evidence=evidence,
        memory_ms=0.0 if evidence == "latest" else draw(st.floats(1, 1000)),
        threshold=threshold,
        release=draw(st.one_of(st.none(), st.floats(0, 1).map(lambda x: x * threshold))),
        dwell_ms=draw(st.sampled_from([0.0, 50.0, 120.0])),
        refractory_ms=draw(st.sampled_from([0.0, 100.0, 500.0])),
    )


CASES = st.integers(2, 4).flatmap(lambda n: st.tuples(st.just(n), rows_of(n)))


# -- the default ---------------------------------------------------------------------------------------------------


@given(CASES)
def test_by_default_each_decision_names_its_likeliest_class(manifests, case):
    n, rows = case
    manifest = manifests[n]
    expected = [NONE if row is None else manifest.classes[int(np.argmax(row))] for row in rows]
    assert [verdict.label for verdict in verdicts(PolicyConfig(), manifest, rows)] == expected


@pytest.mark.parametrize(
    ("probs", "threshold", "label", "code"),
    [
        ([0.3, 0.7], 0.0, "right", 2),
        ([0.5, 0.5], 0.0, "left", 1),
        ([0.3, 0.7], 0.7, "right", 2),
        ([0.3, 0.7], 0.71, NONE, 0),
        (None, 0.0, NONE, 0),
    ],
)
def test_a_verdict_needs_its_threshold_and_a_tie_goes_to_the_first_class(manifests, probs, threshold, label, code):
    (verdict,) = verdicts(PolicyConfig(threshold=threshold), manifests[2], [probs])
    assert (verdict.label, verdict.code) == (label, code)


# -- properties ----------------------------------------------------------------------------------------------------


@given(configs(), CASES)
def test_a_verdict_is_a_command_only_if_its_class_is_new(manifests, config, case):
    n, rows = case
    judged = verdicts(config, manifests[n], rows)
    before = [NONE, *(verdict.label for verdict in judged)]
    assert [v.command for v in judged] == [v.label not in (NONE, last) for v, last in zip(judged, before, strict=False)]
    assert [v.code for v in judged] == [(NONE, *manifests[n].classes).index(v.label) for v in judged]


@given(configs(), CASES)
def test_commands_keep_the_refractory_period_across_breaks(manifests, config, case):
    n, rows = case
    at_ms = [50 * k for k, verdict in enumerate(verdicts(config, manifests[n], rows)) if verdict.command]
    assert all(later - earlier >= config.refractory_ms for earlier, later in itertools.pairwise(at_ms))


@given(configs(), st.integers(2, 4).flatmap(lambda n: st.tuples(st.just(n), rows_of(n), rows_of(n))))
def test_after_a_break_nothing_before_it_counts(manifests, config, case):
    n, before, after = case
    config = replace(config, refractory_ms=0.0)
    whole = verdicts(config, manifests[n], [*before, None, *after])
    assert whole[len(before) + 1 :] == verdicts(config, manifests[n], after)


@given(configs(), CASES, st.sampled_from([0.0, 12.345678, 3e5 + 1 / 3, 1.7e9]), st.sampled_from([50, 51.2, 128]))
def test_verdicts_do_not_depend_on_the_clock_of_the_timestamps(manifests, config, case, t0_s, n_hertz):
    n, rows = case
    hop_s = 7 / n_hertz
    at_zero = verdicts(config, manifests[n], rows, hop_s=hop_s)
    assert verdicts(config, manifests[n], rows, hop_s=hop_s, t0_s=t0_s) == at_zero


@given(configs(), CASES)
def test_a_withheld_decision_is_a_break(manifests, config, case):
    n, rows = case
    policy, other = Policy(config, manifests[n]), Policy(config, manifests[n])
    for k, decision in enumerate(decisions_of([row or [1.0 / n] * n for row in rows])):
        broken = Decision(decision.t_s, None, "gap")
        is_withheld = k % 3 == 2
        assert policy.judge(decision, withheld=is_withheld) == other.judge(broken if is_withheld else decision)


@given(configs(), st.integers(2, 4).flatmap(lambda n: st.tuples(st.just(n), row_of(n))))
def test_constant_probabilities_settle_on_the_likeliest_class_or_none(manifests, config, case):
    n, row = case
    n_rows = 60 + math.ceil(10 * config.memory_ms / (1000 * HOP_S))  # e^-10 of the start is left
    judged = verdicts(config, manifests[n], [row] * n_rows)
    assert {verdict.label for verdict in judged[-20:]} in ({NONE}, {manifests[n].classes[int(np.argmax(row))]})
    assert sum(verdict.command for verdict in judged) <= 1


@given(configs(), st.lists(st.tuples(st.sampled_from(["tap/left", ""]), row_of(2)), max_size=30))
def test_a_cue_is_judged_by_its_own_decision_alone(manifests, config, asked):
    policy = Policy(config, manifests[2])
    for k, (cue, row) in enumerate(asked):
        verdict = policy.judge(Decision(k * HOP_S, np.array(row), cue=cue))
        if cue:
            best = int(np.argmax(row)) + 1 if max(row) >= config.threshold else 0
            assert (verdict.code, verdict.command) == (best, best > 0)


# -- examples ------------------------------------------------------------------------------------------------------


def test_a_class_stays_until_it_falls_below_the_release(manifests):
    rows = two(0.5, 0.85, 0.7, 0.61, 0.59, 0.7, 0.85)
    assert labels(PolicyConfig(threshold=0.8, release=0.6), manifests[2], rows) == (
        "none right right right none none right"
    )


def test_another_class_replaces_the_active_one(manifests):
    rows = two(0.85, 0.5, 0.1, 0.5)
    assert labels(PolicyConfig(threshold=0.8, release=0.05), manifests[2], rows) == "right right left left"


def test_a_class_becomes_active_after_its_dwell_time_without_a_break(manifests):
    rows = two(0.9, 0.9, 0.5, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1)
    assert labels(PolicyConfig(threshold=0.8, dwell_ms=100), manifests[2], rows) == (
        "none none none none none right none none left"
    )


def test_no_class_becomes_active_before_the_refractory_period_ends(manifests):
    rows = two(0.9, 0.1, 0.1, 0.1, 0.1, 0.9)
    assert labels(PolicyConfig(threshold=0.8, refractory_ms=150), manifests[2], rows) == (
        "right none none left left none"
    )


def test_the_average_follows_its_time_constant(manifests):
    config = PolicyConfig(evidence="average", memory_ms=50 / np.log(2), threshold=0.8)  # halves each hop
    # 0, 0.5, 0.75, 0.875; then 0.4375
    assert labels(config, manifests[2], two(0.0, 1.0, 1.0, 1.0, 0.0)) == "left none none right none"


def accumulated(manifest, right, n, *, hop_s):
    evidence = EvidenceFilter(PolicyConfig(evidence="accumulate", memory_ms=60_000), manifest)
    for k in range(n):
        last = evidence.process(k * hop_s, [1 - right, right])
    return last.probs[1]


def test_accumulated_log_odds_are_those_of_bayes_for_windows_that_do_not_overlap(manifests):
    odds = np.exp((1 + np.exp(-0.5 / 60)) * np.log(0.6 / 0.4))
    assert accumulated(manifests[2], 0.6, 2, hop_s=0.5) == pytest.approx(odds / (1 + odds), abs=1e-12)


def test_overlapping_windows_are_weighted_by_their_new_share(manifests):
    disjoint = accumulated(manifests[2], 0.55, 20, hop_s=0.5)
    assert accumulated(manifests[2], 0.55, 200, hop_s=0.05) == pytest.approx(disjoint, abs=0.02)
    assert disjoint > 0.9


def test_one_certain_decision_never_rules_a_class_out_forever(manifests):
    config = PolicyConfig(evidence="accumulate", memory_ms=200, threshold=0.9)
    rows = two(1.0, *[0.0] * 40)
    assert labels(config, manifests[2], rows).split()[-1] == "left"


def test_a_clock_that_is_set_back_resets_everything(manifests):
    policy = Policy(PolicyConfig(threshold=0.8, refractory_ms=500, dwell_ms=50), manifests[2])
    sure = np.array([0.0, 1.0])
    judged = [policy.judge(Decision(t_s, sure)).label for t_s in (100.0, 100.05, 50.0, 50.05)]
    assert judged == [NONE, "right", NONE, "right"]
