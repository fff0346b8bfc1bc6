"""Summary of a repeated cross-validation, and differences between configurations. Used by `compare` and `sweep`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pretap_offline.evaluate.folds import Split
from pretap_offline.evaluate.metrics import auc, calibration, calibration_error, calibration_p, score, wilson95
from pretap_offline.lab.results import Difference, Summary


def summarise(labels: NDArray[np.int64], probs: NDArray[np.float64], *, seed: int) -> Summary:
    """Summarise out-of-fold probabilities (n_repeats, n_trials, n_classes); `seed` is used for the simulations."""
    scores = [score(labels, each) for each in probs]
    slopes, intercepts = zip(*(calibration(labels, each) for each in probs), strict=True)
    accuracies = tuple(each.accuracy for each in scores)
    accuracy = float(np.mean(accuracies))
    return Summary(
        accuracy=accuracy,
        accuracy_sd=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
        accuracy_ci95=wilson95(round(accuracy * len(labels)), len(labels)),
        accuracies=accuracies,
        nll=float(np.mean([each.nll for each in scores])),
        ece=float(np.mean([calibration_error(labels, each) for each in probs])),
        ece_p=calibration_p(labels, probs, rng=np.random.default_rng(seed)),
        slope=_mean(slopes),
        intercept=_mean(intercepts),
        kappa=float(np.mean([each.kappa for each in scores])),
        auc=float(np.mean([auc(labels, each) for each in probs])),
    )


def differences(
    labels: NDArray[np.int64], splits: list[Split], probs: dict[str, NDArray[np.float64]]
) -> tuple[Difference, ...]:
    """Compare every configuration with the first one, fold by fold; all share the same folds."""
    (first, base), *others = ((name, _by_fold(labels, splits, each)) for name, each in probs.items())
    ratio = float(np.mean([len(split.score_on) / len(split.fit_on) for split in splits]))
    found = []
    for name, each in others:
        accuracy, accuracy_ci95, accuracy_p = corrected_t(each[:, 0] - base[:, 0], ratio=ratio)
        nll, nll_ci95, nll_p = corrected_t(each[:, 1] - base[:, 1], ratio=ratio)
        found.append(Difference(name, first, accuracy, accuracy_ci95, accuracy_p, nll, nll_ci95, nll_p))
    return tuple(found)


def corrected_t(difference: NDArray[np.float64], *, ratio: float) -> tuple[float, tuple[float, float], float]:
    """Return mean, 95 % interval and two-sided p of differences (n_folds,) whose training sets overlap.

    The corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003): the variance of the mean is
    ``(1 / n_folds + ratio)`` times that of the folds, with `ratio` = trials scored / trials fitted on.
    """
    from scipy.stats import t

    n, mean = len(difference), float(difference.mean())
    error = float(np.sqrt((1 / n + ratio) * difference.var(ddof=1)))
    if error == 0:  # all folds are equal: the same predictions, or a constant gain
        return mean, (mean, mean), float(mean == 0)
    half = float(t.ppf(0.975, n - 1)) * error
    return mean, (mean - half, mean + half), float(2 * t.sf(abs(mean) / error, n - 1))


def _by_fold(labels: NDArray[np.int64], splits: list[Split], probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return accuracy and NLL of each fold, (n_folds, 2).

    Folds that hold out the same trials count as one, with the mean of their scores, because repeated blocks are not new
    blocks.
    """
    scores: dict[bytes, list[tuple[float, float]]] = {}
    for split in splits:
        each = score(labels[split.score_on], probs[split.repeat, split.score_on])
        scores.setdefault(split.score_on.tobytes(), []).append((each.accuracy, each.nll))
    return np.array([np.mean(each, axis=0) for each in scores.values()])


def _mean(values: tuple[float | None, ...]) -> float | None:
    """Return the mean, or None if a value is None."""
    finite = [value for value in values if value is not None]
    return float(np.mean(finite)) if len(finite) == len(values) else None
