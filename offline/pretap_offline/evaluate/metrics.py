"""Metrics of predictions, with their uncertainty. Used by evaluation, cross-validation and `lab`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_N_BINS = 10
_MIN_PROB = 1e-15  # replaces a probability of 0 before the logarithm


@dataclass(frozen=True)
class Scores:
    """Scores of predictions against the true labels.

    `confusion` counts trials, with the truth in rows and the prediction in columns. `nll` is the mean negative
    log-likelihood in nats. `kappa` is Cohen's.
    """

    n_trials: int
    n_correct: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    kappa: float
    nll: float
    confusion: tuple[tuple[int, ...], ...]

    def describe(self) -> str:
        """Return all scores but the confusion in one line."""
        low, high = self.accuracy_ci95
        return (
            f"accuracy {self.accuracy:.3f} ({self.n_correct} of {self.n_trials} correct, "
            f"95 % interval {low:.3f} to {high:.3f}), kappa {self.kappa:.2f}, NLL {self.nll:.3f}"
        )


def describe_confusion(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[str]:
    """Return a confusion matrix as the lines of a table, with the true class in rows and the decoded one in columns."""
    table = [["", *classes], *([name, *map(str, row)] for name, row in zip(classes, confusion, strict=True))]
    first, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    return [
        f"  {row[0]:<{first}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))
        for row in table
    ]


def score(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> Scores:
    """Score probabilities (n, n_classes) against class indices (n,). A tie counts as the first class."""
    from sklearn.metrics import cohen_kappa_score, confusion_matrix, log_loss

    classes = np.arange(probs.shape[1])
    predicted = probs.argmax(axis=1)
    n_correct = int((predicted == labels).sum())
    # undefined if truth and prediction are the same single class (scikit-learn warns): no better than chance
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
    """Compute Wilson's 95 % interval of a proportion (Wilson, JASA 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(n_correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def against_chance(n_correct: int, counts: Sequence[int]) -> tuple[float, float]:
    """Return the accuracy of always predicting the commonest class, and the p-value of `n_correct` against it.

    `counts` holds the number of trials of each class. The test is a one-sided exact binomial test. It assumes
    independent trials, which is not quite true if the decoders of several folds share training trials.
    """
    from scipy.stats import binomtest

    n = sum(counts)
    chance = max(counts) / n
    return chance, float(binomtest(n_correct, n, chance, alternative="greater").pvalue)


def auc(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve; with more than two classes, the mean of each against the rest."""
    from sklearn.metrics import roc_auc_score

    curves = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    return float(np.mean([roc_auc_score(labels == label, probs[:, label]) for label in curves]))


# -- calibration ---------------------------------------------------------------------------------------------------


def calibration_error(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Compute the expected calibration error (ECE) of the predicted class's probability, in bins of equal mass.

    The error is the mean over trials of ``|share correct - mean probability|`` of their bin, see `equal_mass_bins`.
    A perfectly calibrated decoder does not reach 0: with 316 trials it has about 0.04 (see `calibration_p`).
    """
    confidence, predicted = probs.max(axis=1), probs.argmax(axis=1)
    return float(_error(equal_mass_bins(confidence), confidence, (predicted == labels).astype(np.float64)[None])[0])


def calibration_p(
    labels: NDArray[np.int64], probs: NDArray[np.float64], *, rng: np.random.Generator, n_draws: int = 1000
) -> float:
    """Compute the share of perfectly calibrated decoders whose calibration error is at least as large.

    Labels are drawn from the probabilities themselves. All repeats share the random number of a trial, and their mean
    error is compared, so repeats do not count as new trials.

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
        predicted, confidence = each.argmax(axis=1), each.max(axis=1)
        observed += calibration_error(labels, each)
        right = (draw_labels(drawn, each) == predicted).astype(np.float64)
        simulated += _error(equal_mass_bins(confidence), confidence, right)
    return float((1 + (simulated >= observed - 1e-12).sum()) / (1 + n_draws))


def draw_labels(drawn: NDArray[np.float64], probs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn uniform random numbers (n_draws, n_trials, 1) into labels (n_draws, n_trials) distributed like `probs`.

    This inverts the distribution function; rounding errors of its sum go to the last class.
    """
    return np.asarray((drawn > probs.cumsum(axis=1)[None, :, :-1]).sum(axis=2))


def equal_mass_bins(confidence: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Sort predictions (n,) by confidence and split their indices into ten runs of nearly equal size, or fewer."""
    order = np.argsort(confidence, kind="stable")
    return [run for run in np.array_split(order, _N_BINS) if len(run)]


def _error(
    bins: list[NDArray[np.int64]], confidence: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the calibration error of each row of `right` (n_rows, n_trials)."""
    gaps = [np.abs(right[:, run].sum(axis=1) - confidence[run].sum()) for run in bins]
    return np.asarray(np.sum(gaps, axis=0) / len(confidence), np.float64)


def calibration(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Regress the label on the logit, without regularisation (Cox 1958), and return slope and intercept.

    They are 1 and 0 if calibrated; a slope below 1 is overconfident. Both are None if the classes do not overlap (no
    finite fit). With more than two classes the slope is the inverse temperature b that maximises the likelihood of
    ``softmax(b log p)``, without an intercept.
    """
    logs = np.log(np.clip(probs, _MIN_PROB, None))
    if probs.shape[1] > 2:
        return _inverse_temperature(labels, logs), None
    from sklearn.linear_model import LogisticRegression

    logit = logs[:, 1] - logs[:, 0]
    left, right = logit[labels == 0], logit[labels == 1]
    if left.max() <= right.min() or right.max() <= left.min():
        return None, None
    fitted = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(logit[:, None], labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _inverse_temperature(labels: NDArray[np.int64], logs: NDArray[np.float64]) -> float | None:
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    own = logs[np.arange(len(labels)), labels]
    if (own >= logs.max(axis=1)).all():  # all correct: the likelihood grows without limit
        return None
    found = minimize_scalar(
        lambda b: float(np.mean(logsumexp(b * logs, axis=1) - b * own)),
        bounds=(-100, 100),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(found.x)
