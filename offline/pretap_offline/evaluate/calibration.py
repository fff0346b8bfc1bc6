"""Temperature scaling (Guo et al., ICML 2017): calibrates probabilities with one number. Used by cross-validation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pretap.networks import softmax

_BOUNDS = (0.1, 10.0)


def log_probs(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of probabilities; 0 is replaced by the smallest positive number."""
    return np.asarray(np.log(np.maximum(probs, np.finfo(np.float64).tiny)))


def with_temperature(probs: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return the probabilities (..., n_classes) after dividing the logits by `temperature`."""
    return softmax(log_probs(probs) / temperature)


def fit_temperature(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Find the temperature from 0.1 to 10 that maximises the likelihood of smoothed labels.

    If few trials are all decoded correctly, the likeliest temperature of the labels themselves is 0, and the next wrong
    decision is made with certainty. Of n trials in K classes, the true class therefore has the weight
    ``(n + 1) / (n + K)`` and each other one ``1 / (n + K)``, as in Platt's method (Platt 1999, with K = 2): so n trials
    never justify a mean confidence above the one of Laplace's rule of succession.

    Parameters
    ----------
    probs
        (n, n_classes) or (n_repeats, n, n_classes), each row predicted without its own trial. Repeats are not new
        trials.
    labels
        (n,) class indices.
    """
    from scipy.optimize import minimize_scalar

    z = log_probs(probs)  # (..., n, n_classes)
    n, n_classes = z.shape[-2:]
    weights = (n * np.eye(n_classes)[labels] + 1) / (n + n_classes)  # (n, n_classes)

    def nll(log_temperature: float) -> float:
        scaled = z / np.exp(log_temperature)
        peak = scaled.max(axis=-1)  # (..., n)
        log_sum = peak + np.log(np.exp(scaled - peak[..., None]).sum(axis=-1))
        return float(np.mean(log_sum - (weights * scaled).sum(axis=-1)))

    found = minimize_scalar(nll, bounds=tuple(np.log(_BOUNDS)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def cross_fitted(
    probs: NDArray[np.float64], labels: NDArray[np.int64], folds: Iterable[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Scale the trials of each fold by a temperature fitted on the other folds, (n, n_classes)."""
    scaled = np.empty_like(probs)
    for fold in folds:
        others = np.ones(len(labels), bool)
        others[fold] = False
        scaled[fold] = with_temperature(probs[fold], fit_temperature(probs[others], labels[others]))
    return scaled
