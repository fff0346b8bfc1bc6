"""Scores against values computed by hand, and the exact files that `pretap evaluate` writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, SignalConfig, TrainConfig
from pretap.errors import DataError, UsageError
from pretap.networks import LstmSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.evaluation import Evaluation, evaluate_trials, write_predictions, write_scores
from pretap_offline.evaluate.metrics import score, wilson95
from pretap_offline.fit.fitting import fit_decoder

N_SAMPLES, N_CHANNELS = 20, 4
RECIPE = TrainConfig(
    network=LstmSpec(hidden=(4,)),
    signal=SignalConfig(sfreq_hz=100.0),
    scaling=ScalingConfig(reference="average", block_ms=20.0, divide_uv=10.0),
    fit=FitConfig(learning_rate=2e-2, batch_size=8, max_epochs=2),
    evaluation=EvaluationConfig(folds=0),
)


def trials(n: int, seed: int, **changes) -> Epochs:
    rng = np.random.default_rng(seed)
    whole = Epochs(
        x_uv=rng.normal(0, 20, (n, N_SAMPLES, N_CHANNELS)).astype(np.float32),
        labels=np.arange(n) % 2,
        classes=("left", "right"),
        channels=("C3", "C4", "Cz", "Fz"),
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source=f"trials of seed {seed}",
    )
    return replace(whole, **changes)


TRAINED_ON, FRESH = trials(16, seed=0), trials(10, seed=1)


@pytest.fixture(scope="module")
def decoder():
    return fit_decoder(TRAINED_ON, RECIPE, seed=0)[0]


def evaluation(probs, *, labels=None, n_trained_on=0) -> Evaluation:
    probs = np.asarray(probs, np.float64)
    scores = None if labels is None else score(np.asarray(labels), probs)
    return Evaluation("some trials", ("left", "right"), probs, scores, n_trained_on, scored_in_s=0.05)


# -- figures -------------------------------------------------------------------------------------------------------


def test_scores_by_hand():
    # truth     0    0    0    1    1    1    1    1
    p_right = [0.1, 0.4, 0.8, 0.9, 0.6, 0.7, 0.2, 0.5]  # predicted 0 0 1 1 1 1 0 0: the tie is 0
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    scores = score(labels, np.column_stack([1 - np.array(p_right), p_right]))
    assert (scores.n_trials, scores.n_correct, scores.accuracy) == (8, 5, 0.625)
    assert scores.confusion == ((2, 1), (2, 3))
    # by chance 3/8 * 4/8 + 5/8 * 4/8 = 1/2, so kappa = (5/8 - 1/2) / (1 - 1/2)
    assert scores.kappa == pytest.approx(0.25, abs=1e-15)
    of_the_truth = [0.9, 0.6, 0.2, 0.9, 0.6, 0.7, 0.2, 0.5]
    assert scores.nll == pytest.approx(-sum(map(math.log, of_the_truth)) / 8, abs=1e-15)
    assert scores.accuracy_ci95 == wilson95(5, 8)


def test_scores_of_three_classes_keep_truth_in_rows_and_prediction_in_columns():
    probs = np.eye(3)[[0, 1, 1, 2, 0]] * 0.8 + 0.2 / 3
    scores = score(np.array([0, 1, 2, 2, 2]), probs)
    assert scores.confusion == ((1, 0, 0), (0, 1, 0), (1, 1, 1))
    assert scores.n_correct == 3


@pytest.mark.filterwarnings("ignore:.*only one label in common")
def test_kappa_is_zero_and_not_nan_if_truth_and_prediction_are_one_class():
    scores = score(np.zeros(3, np.int64), np.tile([0.9, 0.1], (3, 1)))
    assert (scores.accuracy, scores.kappa) == (1.0, 0.0)
    assert scores.nll == pytest.approx(-math.log(0.9), abs=1e-15)


def test_certainty_in_the_wrong_class_costs_much_but_not_infinity():
    nll = score(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])).nll
    assert 10 < nll < 100


@pytest.mark.parametrize(
    ("n_correct", "n", "interval"),
    [(84, 100, (0.7558, 0.8990)), (0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 10, (0.2366, 0.7634))],
)
def test_wilson_s_interval_at_known_values(n_correct, n, interval):
    assert wilson95(n_correct, n) == pytest.approx(interval, abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(deadline=None, max_examples=60)
def test_wilson_s_interval_is_the_formula_of_1927(case):
    k, n = case
    z, p = 1.959963984540054, k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = wilson95(k, n)
    assert 0 <= low <= p <= high <= 1
    assert low == pytest.approx(max(0, centre - half), abs=1e-12)
    assert high == pytest.approx(min(1, centre + half), abs=1e-12)


# -- trials through the decoder ------------------------------------------------------------------------------------


def test_every_trial_gets_the_probabilities_of_decode(decoder):
    found = evaluate_trials(decoder, FRESH)
    np.testing.assert_array_equal(found.probs, decoder.decode(FRESH.x_uv))
    assert found.scores == score(FRESH.labels, found.probs)
    assert (found.source, found.classes, found.n_trained_on) == ("trials of seed 1", ("left", "right"), 0)


@given(order=st.permutations(range(N_CHANNELS)), n_extra=st.integers(0, 2))
@settings(deadline=None, max_examples=20)
def test_channels_in_any_order_with_others_between_give_the_same_bits(decoder, order, n_extra):
    x = np.concatenate([FRESH.x_uv[:, :, order], np.full((10, N_SAMPLES, n_extra), 7, np.float32)], axis=2)
    names = [f"EEG {FRESH.channels[i].lower()}" for i in order] + [f"EMG{i}" for i in range(n_extra)]
    shuffled = replace(FRESH, x_uv=x[:, :, ::-1], channels=tuple(names[::-1]))
    np.testing.assert_array_equal(evaluate_trials(decoder, shuffled).probs, decoder.decode(FRESH.x_uv))


def test_trials_at_another_rate_are_resampled_to_the_bundle_s(decoder):
    doubled = replace(FRESH, x_uv=np.repeat(FRESH.x_uv, 2, axis=1), sfreq_hz=200.0)
    found = evaluate_trials(decoder, doubled)
    assert found.probs.shape == (10, 2)
    assert (found.probs != decoder.decode(FRESH.x_uv)).any()  # an anti-alias filter was at work


def test_a_missing_channel_is_bad_data(decoder):
    without = replace(FRESH, x_uv=FRESH.x_uv[:, :, 1:], channels=FRESH.channels[1:])
    with pytest.raises(DataError, match="trials of seed 1 lacks 1 of the 4 channels of the bundle: C3"):
        evaluate_trials(decoder, without)


def test_windows_of_another_length_are_bad_data(decoder):
    with pytest.raises(DataError, match="trials of 19 samples at 100 Hz; the bundle takes windows of 20"):
        evaluate_trials(decoder, replace(FRESH, x_uv=FRESH.x_uv[:, 1:]))


def test_classes_are_matched_by_name_whatever_their_order(decoder):
    swapped = replace(FRESH, classes=("right", "left"), labels=1 - FRESH.labels)
    assert evaluate_trials(decoder, swapped).scores == evaluate_trials(decoder, FRESH).scores


def test_labels_of_other_classes_are_bad_data_but_withheld_labels_need_none(decoder):
    others = replace(FRESH, classes=("left", "rest"))
    with pytest.raises(DataError, match=r"has the classes .* the bundle decodes"):
        evaluate_trials(decoder, others)
    assert evaluate_trials(decoder, replace(others, labels=None)).scores is None


@pytest.mark.parametrize(
    ("picked", "n_trained_on"), [(FRESH, 0), (TRAINED_ON, 16), (TRAINED_ON.select(np.array([3])), 1)]
)
def test_trials_that_were_trained_on_are_counted(decoder, picked, n_trained_on):
    assert evaluate_trials(decoder, picked).n_trained_on == n_trained_on


def test_one_trained_trial_among_fresh_ones_is_found(decoder):
    mixed = replace(FRESH, x_uv=np.concatenate([FRESH.x_uv[:9], TRAINED_ON.x_uv[5:6]]), trial_ids=())
    found = evaluate_trials(decoder, mixed)
    assert found.n_trained_on == 1
    assert "NOT AN ESTIMATE: 1 of 10 trials were trained on" in found.describe().splitlines()


def test_trials_that_were_trained_on_are_recognised_with_their_channels_in_another_order_and_others_between(decoder):
    x = np.concatenate([np.zeros((16, N_SAMPLES, 1), np.float32), TRAINED_ON.x_uv[:, :, ::-1]], axis=2)
    shuffled = replace(TRAINED_ON, x_uv=x, channels=("EOG", *TRAINED_ON.channels[::-1]), trial_ids=())
    assert evaluate_trials(decoder, shuffled).n_trained_on == 16


def test_the_duration_of_decoding_is_measured_with_the_given_clock(decoder):
    ticks = iter([3.0, 4.25])
    assert evaluate_trials(decoder, FRESH, clock=lambda: next(ticks)).scored_in_s == 1.25


# -- descriptions --------------------------------------------------------------------------------------------------


def test_the_report_of_labelled_fresh_trials():
    probs = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]
    assert evaluation(probs, labels=[0, 1, 1, 1]).describe().splitlines() == [
        "4 trials: some trials",
        "predicted: 2 left, 2 right",
        "accuracy 0.750 (3 of 4 correct, 95 % interval 0.301 to 0.954), kappa 0.50, NLL 0.400",
        "true classes in rows, decoded in columns:",
        "         left  right",
        "  left      1      0",
        "  right     1      2",
        "chance 0.750, the share of the commonest class; p = 0.74 (one-sided exact binomial test)",
        "scored 4 trials in 0.05 s (12.5 ms each), after loading",
    ]


def test_without_labels_there_is_no_accuracy():
    assert evaluation([[0.9, 0.1], [0.2, 0.8]]).describe().splitlines() == [
        "2 trials: some trials",
        "predicted: 1 left, 1 right",
        "no labels, so no accuracy",
        "scored 2 trials in 0.05 s (25.0 ms each), after loading",
    ]


def test_trials_used_in_training_are_reported_as_not_an_estimate():
    line = "NOT AN ESTIMATE: 2 of 3 trials were trained on"
    probs = [[0.9, 0.1]] * 3
    assert line in evaluation(probs, labels=[0, 0, 1], n_trained_on=2).describe().splitlines()
    assert line in evaluation(probs, n_trained_on=2).describe().splitlines()
    assert "NOT AN ESTIMATE" not in evaluation(probs, labels=[0, 0, 1]).describe()


def test_the_predictions_file_has_exactly_the_documented_format(tmp_path):
    third = 1 / 3
    probs = [[0.25, 0.75], [0.5, 0.5], [1 - third, third], [1.0, 0.0], [1 - 1.23456789012e-7, 1.23456789012e-7]]
    path = tmp_path / "p.csv"
    write_predictions(evaluation(probs), path)
    assert path.read_bytes() == (
        b"trial,predicted,p_left,p_right\n"
        b"0,1,0.25,0.75\n"
        b"1,0,0.5,0.5\n"  # a tie is 0
        b"2,0,0.666666667,0.333333333\n"
        b"3,0,1,0\n"
        b"4,0,0.999999877,1.23456789e-07\n"
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_the_predictions_file_reads_back_to_9_digits_and_to_the_same_predictions(tmp_path_factory, p_left):
    probs = np.column_stack([p_left, 1 - np.array(p_left)])
    path = tmp_path_factory.mktemp("p") / "p.csv"
    write_predictions(evaluation(probs), path)
    table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    np.testing.assert_array_equal(table[:, 0], np.arange(len(p_left)))
    np.testing.assert_array_equal(table[:, 1], probs[:, 1] > probs[:, 0])
    np.testing.assert_allclose(table[:, 2:], probs, rtol=5e-9)


@pytest.mark.parametrize(("n_trained_on", "honest"), [(0, True), (1, False)])
def test_the_json_marks_scores_on_training_trials_as_not_honest(tmp_path, n_trained_on, honest):
    path = tmp_path / "e.json"
    write_scores(evaluation([[0.9, 0.1], [0.2, 0.8]], labels=[0, 1], n_trained_on=n_trained_on), path)
    figures = json.loads(path.read_text(encoding="utf-8"))
    assert (figures["honest"], figures["n_trained_on"], figures["n_trials"]) == (honest, n_trained_on, 2)
    assert (figures["source"], figures["classes"]) == ("some trials", ["left", "right"])
    assert figures["scored_in_s"] == 0.05
    assert figures["scores"]["accuracy"] == 1.0
    assert figures["scores"]["confusion"] == [[1, 0], [0, 1]]


def test_the_json_of_unlabelled_trials_has_no_scores(tmp_path):
    write_scores(evaluation([[0.9, 0.1]]), tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))["scores"] is None


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path):
    for write in (write_predictions, write_scores):
        with pytest.raises(UsageError, match=r"Cannot write .*: Is a directory"):
            write(evaluation([[0.9, 0.1]]), tmp_path)
