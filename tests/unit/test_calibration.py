"""The temperature is the one that the predictions were made with, and no trial helps to scale itself."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.networks import softmax
from pretap_offline.evaluate.calibration import cross_fitted, fit_temperature, with_temperature


def predictions(n=20_000, n_classes=2, seed=0):
    """Logits and labels drawn from them: a decoder that is as sure as it is right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, n_classes))
    labels = (rng.random((n, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_logits_that_are_so_many_times_too_large_need_that_temperature(factor, n_classes):
    logits, labels = predictions(n_classes=n_classes)
    assert fit_temperature(softmax(factor * logits), labels) == pytest.approx(factor, rel=0.03)


def test_the_temperature_is_the_root_of_the_smoothed_likelihood_s_slope_by_hand():
    # three of four correct, smoothed (3 * 5/6 + 1/6) / 4 = 2/3 at logit 2: p = 2/3 at logit log 2, so T = 2 / log 2
    probs = softmax(np.array([[2.0, 0.0]] * 4))
    assert fit_temperature(probs, np.array([0, 0, 0, 1])) == pytest.approx(2 / np.log(2), rel=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n", [6, 60, 600])
def test_n_trials_that_are_all_correct_justify_no_more_than_laplace_s_rule(n, n_classes):
    labels = np.arange(n) % n_classes
    probs = softmax(4.0 * np.eye(n_classes)[labels])
    confidence = with_temperature(probs, fit_temperature(probs, labels)).max(axis=1)
    np.testing.assert_allclose(confidence, (n + 1) / (n + n_classes), rtol=1e-4)


def test_repeats_of_the_same_trials_are_not_new_trials():
    logits, labels = predictions(n=30)
    probs = softmax(logits)
    once = fit_temperature(probs, labels)
    assert fit_temperature(np.stack([probs] * 5), labels) == pytest.approx(once, rel=1e-6)


def separable(rng, n):
    """Trials of which 97 % are decoded with a wide margin, and the others just as surely wrong."""
    labels = rng.integers(2, size=n)
    decoded = np.where(rng.random(n) < 0.03, 1 - labels, labels)
    return 4.0 * np.eye(2)[decoded] + rng.normal(0, 1, (n, 2)), labels


def nll(logits, labels, temperature):
    return float(-np.log(softmax(logits / temperature)[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("n", [12, 30, 60])
@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_temperatures_of_few_separable_trials_do_better_on_new_trials_than_the_likeliest_ones(n, factor):
    rng = np.random.default_rng(0)
    new, new_labels = separable(rng, 4000)
    candidates = np.geomspace(0.1, 10, 60)
    smoothed, likeliest = [], []
    for _ in range(40):
        logits, labels = separable(rng, n)
        best = min(candidates, key=lambda t: nll(factor * logits, labels, t))
        likeliest.append(nll(factor * new, new_labels, best))
        smoothed.append(nll(factor * new, new_labels, fit_temperature(softmax(factor * logits), labels)))
    lowest = min(nll(factor * new, new_labels, t) for t in candidates)
    assert np.mean(smoothed) < np.mean(likeliest)
    assert np.mean(smoothed) < lowest + 1.2 / n


def test_a_temperature_divides_the_logits():
    logits = np.array([[1.0, -2.0, 0.5], [30.0, 0.0, 0.0]])
    np.testing.assert_allclose(with_temperature(softmax(logits), 2.5), softmax(logits / 2.5), rtol=1e-12)


def test_decoded_all_right_or_all_wrong_it_stays_within_its_bounds():
    probs = softmax(np.array([[900.0, 0.0], [0.0, 900.0]]))  # a probability of exactly 0
    assert fit_temperature(probs, np.array([0, 1])) >= 0.1
    assert fit_temperature(probs, np.array([1, 0])) == pytest.approx(10, rel=1e-3)


def test_a_fold_is_scaled_by_the_others_alone():
    logits, labels = predictions(n=300)
    probs, folds = softmax(2 * logits), np.array_split(np.arange(300), 3)
    scaled = cross_fitted(probs, labels, folds)
    for fold in folds:
        rest = np.setdiff1d(np.arange(300), fold)
        expected = with_temperature(probs[fold], fit_temperature(probs[rest], labels[rest]))
        np.testing.assert_array_equal(scaled[fold], expected)
    flipped = labels.copy()
    flipped[folds[1]] = 1 - flipped[folds[1]]
    again = cross_fitted(probs, flipped, folds)
    np.testing.assert_array_equal(again[folds[1]], scaled[folds[1]])
    assert (again[folds[0]] != scaled[folds[0]]).any()
