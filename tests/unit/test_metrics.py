"""Calibration, AUC and paired differences: exact values where they can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pretap_offline.evaluate.folds import Split
from pretap_offline.evaluate.metrics import auc, calibration, calibration_error, calibration_p
from pretap_offline.lab.summary import corrected_t, differences, summarise


def two(p_right) -> np.ndarray:
    """Probabilities (n, 2) from those of class 1."""
    p = np.asarray(p_right, float)
    return np.column_stack([1 - p, p])


def drawn(n: int, *, slope: float = 1.0, intercept: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from ``sigmoid(slope * logit + intercept)``, and the probabilities that say sigmoid(logit)."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    truth = 1 / (1 + np.exp(-(slope * logit + intercept)))
    return (rng.random(n) < truth).astype(np.int64), two(1 / (1 + np.exp(-logit)))


# -- the calibration error -----------------------------------------------------------------------------------------


def test_the_calibration_error_is_the_mean_gap_of_ten_bins_of_equal_mass():
    # 20 trials, two in a bin; confidences 0.6, of which the first bin of two is wrong, all others are right
    labels = np.ones(20, np.int64)
    probs = two([0.4, 0.4] + [0.6] * 18)
    # the two wrong trials share a bin: gap 0.6; nine bins are right: gap 0.4
    assert calibration_error(labels, probs) == pytest.approx(0.1 * 0.6 + 0.9 * 0.4, abs=1e-12)


def test_one_wrong_in_five_at_confidence_0_8_has_no_calibration_error():
    labels = np.array([0, 1, 1, 1, 1] * 10)
    assert calibration_error(labels, two([0.8] * 50)) == pytest.approx(0.0, abs=1e-12)


def test_fewer_trials_than_bins_have_a_bin_each():
    assert calibration_error(np.array([1, 0]), two([0.9, 0.7])) == pytest.approx((0.1 + 0.7) / 2, abs=1e-12)


def test_the_calibration_error_of_three_classes_looks_at_the_predicted_one():
    probs = np.tile([0.5, 0.3, 0.2], (10, 1))
    assert calibration_error(np.zeros(10, np.int64), probs) == pytest.approx(0.5, abs=1e-12)


# -- its test ------------------------------------------------------------------------------------------------------


def test_a_calibrated_decoder_passes_and_an_overconfident_one_does_not():
    labels, probs = drawn(316)
    assert calibration_p(labels, probs[None], rng=np.random.default_rng(0)) > 0.05
    labels, probs = drawn(316, slope=0.3)
    assert calibration_p(labels, probs[None], rng=np.random.default_rng(0)) == 1 / 1001


def test_the_p_value_of_calibrated_decoders_is_uniform():
    rng = np.random.default_rng(0)
    p = []
    for seed in range(200):
        labels, probs = drawn(200, seed=seed)
        p.append(calibration_p(labels, probs[None], rng=rng, n_draws=99))
    low = np.mean(np.array(p) <= 0.1)
    assert 0.04 < low < 0.17  # 200 decoders: 0.1 +- 3 x 0.021


def test_five_equal_repeats_do_not_count_as_new_trials():
    labels, probs = drawn(100, slope=0.6)
    once = calibration_p(labels, probs[None], rng=np.random.default_rng(1))
    five = calibration_p(labels, np.stack([probs] * 5), rng=np.random.default_rng(1))
    assert five == once
    assert 1 / 1001 < once < 0.5


# -- slope, intercept ----------------------------------------------------------------------------------------------


def test_slope_and_intercept_of_two_logits_are_those_of_their_log_odds():
    # at logit -1: 1 of 4 is class 1; at logit +1: 3 of 4. The regression passes through both: slope log 3, intercept 0
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    p = 1 / (1 + np.exp(-np.repeat([-1.0, 1.0], 4)))
    slope, intercept = calibration(labels, two(p))
    assert slope == pytest.approx(np.log(3), abs=1e-6)
    assert intercept == pytest.approx(0.0, abs=1e-6)


def test_an_overconfident_decoder_has_the_slope_that_it_was_made_with():
    labels, probs = drawn(100_000, slope=0.5, intercept=0.3)
    slope, intercept = calibration(labels, probs)
    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept == pytest.approx(0.3, abs=0.02)


def test_classes_that_do_not_overlap_have_no_slope():
    assert calibration(np.array([0, 0, 1, 1]), two([0.1, 0.4, 0.6, 0.9])) == (None, None)
    assert calibration(np.arange(3), np.eye(3) * 0.7 + 0.1) == (None, None)


def test_the_slope_of_three_classes_is_the_best_inverse_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (50_000, 3))
    soft = np.exp(0.5 * logits)
    truth = soft / soft.sum(axis=1, keepdims=True)
    labels = (rng.random((50_000, 1)) > truth.cumsum(axis=1)[:, :-1]).sum(axis=1)
    hard = np.exp(logits)
    slope, intercept = calibration(labels, hard / hard.sum(axis=1, keepdims=True))
    assert slope == pytest.approx(0.5, abs=0.02)
    assert intercept is None


# -- AUC -----------------------------------------------------------------------------------------------------------


def test_auc_counts_the_pairs_in_the_right_order():
    # pairs (left, right): 0.2 < 0.4, 0.2 < 0.9, 0.6 > 0.4, 0.6 < 0.9: three of four
    assert auc(np.array([0, 0, 1, 1]), two([0.2, 0.6, 0.4, 0.9])) == 0.75


def test_auc_of_three_classes_is_the_mean_of_each_against_the_rest():
    labels = np.array([0, 1, 2])
    probs = np.array([[0.6, 0.2, 0.2], [0.2, 0.5, 0.3], [0.5, 0.4, 0.1]])
    # class 0: 0.6 beats both: 1; class 1: 0.5 beats both: 1; class 2: 0.1 beats neither: 0
    assert auc(labels, probs) == pytest.approx(2 / 3, abs=1e-12)


# -- repeats, differences ------------------------------------------------------------------------------------------


def test_scores_are_means_over_repeats_and_the_interval_counts_trials_once():
    labels = np.array([0, 1] * 20)
    good = two(np.where(labels, 0.8, 0.2))
    bad = good.copy()
    bad[:10] = bad[:10, ::-1]  # ten of forty wrong
    found = summarise(labels, np.stack([good, bad]), seed=0)
    assert found.accuracies == (1.0, 0.75)
    assert found.accuracy == 0.875
    assert found.accuracy_sd == pytest.approx(0.25 / np.sqrt(2))
    assert found.accuracy_ci95 == pytest.approx((0.7389, 0.9454), abs=1e-4)  # Wilson, 35 of 40
    assert found.nll == pytest.approx((-np.log(0.8) + (-0.75 * np.log(0.8) - 0.25 * np.log(0.2))) / 2)
    assert found.slope is None  # the first repeat has none


def test_the_corrected_t_test_widens_the_variance_by_the_share_of_shared_training_trials():
    mean, (low, high), p = corrected_t(np.array([0.0, 0.1, 0.2, 0.1]), ratio=1 / 3)
    # variance 0.02 / 3, times (1/4 + 1/3); t(3) at 97.5 % = 3.18245
    error = np.sqrt((1 / 4 + 1 / 3) * 0.02 / 3)
    assert mean == pytest.approx(0.1)
    assert (high - low) / 2 == pytest.approx(3.182446 * error, rel=1e-6)
    assert p == pytest.approx(0.2062, abs=1e-3)


def test_equal_predictions_have_no_difference_and_a_constant_gain_is_certain():
    assert corrected_t(np.zeros(10), ratio=0.1) == (0.0, (0.0, 0.0), 1.0)
    assert corrected_t(np.full(4, 0.25), ratio=0.1) == (0.25, (0.25, 0.25), 0.0)


def test_differences_are_paired_by_fold_and_against_the_first():
    labels = np.array([0, 1, 0, 1])
    splits = [Split(0, np.array([2, 3]), np.array([0, 1])), Split(0, np.array([0, 1]), np.array([2, 3]))]
    right, wrong = two(np.where(labels, 0.8, 0.2))[None], two(np.where(labels, 0.2, 0.8))[None]
    half = np.concatenate([right[:, :2], wrong[:, 2:]], axis=1)
    found = differences(labels, splits, {"a": right, "b": half, "c": wrong})
    assert [(each.name, each.against) for each in found] == [("b", "a"), ("c", "a")]
    assert [each.accuracy for each in found] == [-0.5, -1.0]
    assert found[1].nll == pytest.approx(np.log(4))
    assert found[0].accuracy_ci95[0] < -0.5 < found[0].accuracy_ci95[1]
