"""Adaptation along a stream: the state moves in data time, by good signal only, whatever the hop and the chunks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapting_cases import CHANNELS, KINDS, N_WINDOW, SFREQ_HZ, recipe, recording, signal, trials
from pretap.config.serve import AdaptConfig
from pretap.decoder.adapting import AdaptingDecoder
from pretap.recordings.recording import Event
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.fit.fitting import fit_decoder
from pretap_realtime.decide.modes import CueLocked, FreeRunning
from pretap_realtime.score.run import run_over

RECENTRE = AdaptConfig(method="recentre")


@pytest.fixture(scope="module")
def fitted():
    return fit_decoder(trials(), recipe(KINDS["tangent-space"]), seed=0)[0]


@pytest.fixture
def adapting(fitted):
    return AdaptingDecoder(fitted, RECENTRE)


def decide(source, decoder, mode, *, n_chunk=77):
    decisions = []
    run_over(source, decoder, mode, n_chunk=n_chunk, on_decisions=decisions.extend)
    return [each for each in decisions if each.probs is not None]


def told(decisions):
    return [(each.t_s, each.probs.tolist(), each.adapted) for each in decisions]


def test_at_every_hop_each_window_length_moves_the_state_once(fitted, adapting):
    x, expected = signal(1000, seed=2, gain=2.0), AdaptingDecoder(fitted, RECENTRE)
    decisions = decide(recording(x), adapting, FreeRunning(adapting, hop=7))
    ends = np.arange(N_WINDOW, len(x) + 1, 7)
    assert len(decisions) == len(ends)
    for decision, end in zip(decisions, ends, strict=True):
        while (expected.adapted.n_windows + 1) * N_WINDOW < end:  # windows that ended before this one
            start = expected.adapted.n_windows * N_WINDOW
            expected.update(x[start : start + N_WINDOW])
        assert np.array_equal(decision.probs, expected.decode(x[end - N_WINDOW : end]))
        assert decision.adapted == expected.adapted
    assert adapting.adapted.n_windows == 20


@pytest.mark.parametrize("n_chunk", [1, 13, 1000])
def test_no_decision_depends_on_the_chunks(fitted, n_chunk):
    x, found = signal(600, seed=2, gain=2.0), []
    for size in (n_chunk, 50):
        adapting = AdaptingDecoder(fitted, RECENTRE)
        found.append(told(decide(recording(x), adapting, FreeRunning(adapting, hop=5), n_chunk=size)))
    assert found[0] == found[1]


def test_the_hop_does_not_change_the_state(fitted):
    x, found = signal(1000, seed=2, gain=2.0), []
    for hop in (1, 50, 120):
        adapting = AdaptingDecoder(fitted, RECENTRE)
        decide(recording(x), adapting, FreeRunning(adapting, hop=hop))
        found.append(adapting.means[0].mean)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_in_an_overload_the_state_moves_over_the_decisions_that_are_skipped(fitted, adapting):
    x, other = signal(600, seed=2, gain=2.0), AdaptingDecoder(fitted, RECENTRE)
    t_s = np.arange(len(x)) / SFREQ_HZ
    every, newest = FreeRunning(other, hop=5), FreeRunning(adapting, hop=5)
    expected = every.process(x, t_s, newest_only=False, is_good=True)
    (found,) = newest.process(x, t_s, newest_only=True, is_good=True)
    assert told([found]) == told(expected[-1:])
    assert newest.n_skipped == (600 - N_WINDOW) // 5
    assert np.array_equal(adapting.means[0].mean, other.means[0].mean)


def test_at_cues_the_window_of_each_cue_moves_the_state_after_its_decision(fitted, adapting):
    x, expected = signal(1000, seed=2, gain=2.0), AdaptingDecoder(fitted, RECENTRE)
    mode = CueLocked(adapting, offset_s=0.1, patterns=("tap/*",))
    decisions = decide(recording(x, cue_every=80), adapting, mode)
    assert len(decisions) == 12
    for decision in decisions:
        end = round(decision.t_s * SFREQ_HZ) + 1
        assert np.array_equal(decision.probs, expected.decode(x[end - N_WINDOW : end]))
        expected.update(x[end - N_WINDOW : end])


def test_trials_are_decided_as_by_evaluate(fitted, adapting):
    session = trials(30, seed=3, gain=2.0)
    x = session.x_uv.reshape(-1, len(CHANNELS))
    source = recording(x)
    ends = tuple(Event((k + 1) * N_WINDOW - 1, f"trial/{k}/end") for k in range(30))
    mode = CueLocked(adapting, offset_s=0.0, patterns=("trial/*/end",))
    decisions = decide(replace(source, events=ends), adapting, mode)
    offline = evaluate_trials(AdaptingDecoder(fitted, RECENTRE), session).probs
    assert np.array_equal([each.probs for each in decisions], offline)


@pytest.mark.parametrize("cue_every", [0, 80])
def test_a_railed_electrode_stops_the_state_and_a_good_one_moves_it_again(adapting, cue_every):
    x = signal(9000, seed=2)
    x[3000:6000, 1] = 5000.0 * np.sign(np.sin(np.arange(3000)))
    mode = FreeRunning(adapting, hop=10)
    if cue_every:
        mode = CueLocked(adapting, offset_s=0.0, patterns=("tap/*",))
    decisions = decide(recording(x, cue_every=cue_every), adapting, mode)
    bad = [each for each in decisions if each.quality < 1]
    assert len(bad) > len(decisions) / 4
    moved = {each.adapted.n_windows for each in bad}
    assert len(moved) <= 2  # no window of a bad electrode; the last one before may be counted at its first decision
    assert decisions[-1].adapted.n_windows > max(moved) + 20
    assert decisions[-1].adapted.distance < 0.5


def test_a_gap_forgets_the_window_and_keeps_the_state(fitted, adapting):
    x, t_s = signal(1000, seed=2, gain=2.0), np.arange(1000) / SFREQ_HZ
    t_s[520:] += 1.0
    decisions = decide(recording(x, t_s=t_s), adapting, FreeRunning(adapting, hop=10))
    expected = AdaptingDecoder(fitted, RECENTRE)
    for start in [*range(0, 500, N_WINDOW), *range(520, 951, N_WINDOW)]:
        expected.update(x[start : start + N_WINDOW])
    assert adapting.adapted == expected.adapted
    assert np.array_equal(adapting.means[0].mean, expected.means[0].mean)
    assert decisions[-1].adapted.n_windows in (18, 19)


def test_without_adaptation_decisions_say_nothing_of_it(fitted):
    decisions = decide(recording(signal(300)), fitted, FreeRunning(fitted, hop=10))
    assert {each.adapted for each in decisions} == {None}
    np.testing.assert_array_equal(decisions[0].probs, fitted.decode(signal(300)[:N_WINDOW]))
