"""Figures about predictions, with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Calibration",
    "Scores",
    "against_chance",
    "auc",
    "balanced_accuracy",
    "calibration",
    "calibration_error",
    "calibration_p",
    "score",
    "wilson95",
]

_N_BINS = 10
_SMALLEST = 1e-15  # probability whose logarithm is taken for that of 0


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


def auc(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Give the area under the ROC curve; with more than two classes the mean of each against the rest."""
    from sklearn.metrics import roc_auc_score

    curves = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    return float(np.mean([roc_auc_score(labels == label, probs[:, label]) for label in curves]))


# -- calibration ---------------------------------------------------------------------------------------------------


def calibration_error(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Give the expected calibration error (ECE) of the predicted class's probability, in ten bins of equal mass.

    The trials, sorted by that probability, are cut into ten runs as equal as can be (fewer with fewer trials); the
    error is the mean over trials of ``|share right - mean probability|`` of their run. A perfectly calibrated decoder
    does not show 0: with 316 trials about 0.04 (see `calibration_p`).
    """
    predicted = probs.argmax(axis=1)
    return float(_error(_bins(probs), probs.max(axis=1), (predicted == labels).astype(np.float64)[None])[0])


def calibration_p(
    labels: NDArray[np.int64], probs: NDArray[np.float64], *, rng: np.random.Generator, n_draws: int = 1000
) -> float:
    """Give the share of perfectly calibrated decoders whose calibration error is as large, or larger.

    Labels are drawn from the probabilities themselves. All repeats share the draw of a trial, and their mean error is
    compared: so repeats do not count as new trials.

    Parameters
    ----------
    labels
        (n_trials,)
    probs
        (n_repeats, n_trials, n_classes)
    """
    drawn = rng.random((n_draws, len(labels), 1))
    observed, simulated = 0.0, np.zeros(n_draws)
    for each in probs:
        bins, predicted, confidence = _bins(each), each.argmax(axis=1), each.max(axis=1)
        observed += calibration_error(labels, each)
        # inverse of the distribution function: the last class takes what rounding leaves
        label = (drawn > each.cumsum(axis=1)[None, :, :-1]).sum(axis=2)  # (n_draws, n_trials)
        simulated += _error(bins, confidence, (label == predicted).astype(np.float64))
    return float((1 + (simulated >= observed - 1e-12).sum()) / (1 + n_draws))


def _bins(probs: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    order = np.argsort(probs.max(axis=1), kind="stable")
    return [run for run in np.array_split(order, _N_BINS) if len(run)]


def _error(
    bins: list[NDArray[np.int64]], confidence: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the calibration error for each row of `right` (n_rows, n_trials)."""
    gaps = [np.abs(right[:, run].sum(axis=1) - confidence[run].sum()) for run in bins]
    return np.asarray(np.sum(gaps, axis=0) / len(confidence), np.float64)


@dataclass(frozen=True)
class Calibration:
    """Slope and intercept of the truth against the logit: 1 and 0 where calibrated, a slope below 1 is overconfident.

    None where the classes do not overlap (no finite fit); `intercept` is None with more than two classes.
    """

    slope: float | None
    intercept: float | None


def calibration(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> Calibration:
    """Regress the label on the logit, without regularisation (Cox 1958).

    With more than two classes the slope is the inverse temperature b that maximises the likelihood of
    ``softmax(b log p)``.
    """
    logs = np.log(np.clip(probs, _SMALLEST, None))
    if probs.shape[1] > 2:
        return Calibration(_inverse_temperature(labels, logs), None)
    from sklearn.linear_model import LogisticRegression

    logit = logs[:, 1] - logs[:, 0]
    left, right = logit[labels == 0], logit[labels == 1]
    if left.max() <= right.min() or right.max() <= left.min():
        return Calibration(None, None)
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(logit[:, None], labels)
    return Calibration(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


def _inverse_temperature(labels: NDArray[np.int64], logs: NDArray[np.float64]) -> float | None:
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    own = logs[np.arange(len(labels)), labels]
    if (own >= logs.max(axis=1)).all():  # every trial right: the larger the better
        return None
    found = minimize_scalar(
        lambda b: float(np.mean(logsumexp(b * logs, axis=1) - b * own)),
        bounds=(-100, 100),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(found.x)
