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


def test_the_temperature_is_the_root_of_the_likelihood_s_slope_by_hand():
    # three of four right at logit 2: p = 3/4 at logit log 3, so T = 2 / log 3
    probs = softmax(np.array([[2.0, 0.0]] * 4))
    assert fit_temperature(probs, np.array([0, 0, 0, 1])) == pytest.approx(2 / np.log(3), rel=1e-4)


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
