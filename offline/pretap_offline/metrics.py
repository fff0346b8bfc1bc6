"""Figures about predictions, with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scores", "against_chance", "balanced_accuracy", "score", "wilson95"]


@dataclass(frozen=True)
class Scores:
    """How predictions compare with the truth.

    `confusion` counts trials, truth in rows and prediction in columns; `nll` is the mean negative log-likelihood in
    nats; `kappa` is Cohen's.
    """

    n_trials: int
    n_correct: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    kappa: float
    nll: float
    confusion: tuple[tuple[int, ...], ...]

    def labels(self) -> NDArray[np.int64]:
        """Give the true classes (n_trials,), sorted: what the confusion counts."""
        return np.repeat(np.arange(len(self.confusion)), [sum(row) for row in self.confusion])


def score(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> Scores:
    """Compare class indices (n,) with probabilities (n, n_classes). A tie goes to the first class."""
    from sklearn.metrics import cohen_kappa_score, confusion_matrix, log_loss

    classes = np.arange(probs.shape[1])
    predicted = probs.argmax(axis=1)
    n_correct = int((predicted == labels).sum())
    # undefined where truth and prediction are one same class, which scikit-learn warns of: no better than chance then
    one_class = len(set(labels) | set(predicted)) == 1
    kappa = 0.0 if one_class else float(cohen_kappa_score(labels, predicted, labels=classes))
    return Scores(
        n_trials=len(labels),
        n_correct=n_correct,
        accuracy=n_correct / len(labels),
        accuracy_ci95=wilson95(n_correct, len(labels)),
        kappa=kappa,
        nll=float(log_loss(labels, probs, labels=classes)),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion_matrix(labels, predicted, labels=classes)),
    )


def wilson95(n_correct: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson, JASA 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(n_correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def against_chance(n_correct: int, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Give the accuracy of always naming the most frequent class, and the p-value of `n_correct` against it.

    One-sided exact binomial test. It takes the trials as independent, which decoders of folds that share trials make
    them almost, not quite.
    """
    from scipy.stats import binomtest

    chance = float(np.bincount(labels).max() / len(labels))
    return chance, float(binomtest(n_correct, len(labels), chance, alternative="greater").pvalue)


def balanced_accuracy(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Give the mean over the classes of the share of their trials that were decoded right."""
    right = probs.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
