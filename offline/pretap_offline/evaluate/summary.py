"""The metrics of out-of-fold probabilities, with the advice. Used by cross-validation and selection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.advice import advice
from pretap.bundle.manifest import Metrics
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.metrics import against_chance, score, wilson95


def summarise(epochs: Epochs, probs: NDArray[np.float64], *, protocol: str) -> Metrics:
    """Summarise the probabilities of each repeat, (n_repeats, n_epochs, n_classes)."""
    from sklearn.metrics import balanced_accuracy_score

    labels = epochs.labels
    assert labels is not None
    repeats = [score(labels, p) for p in probs]
    accuracy = float(np.mean([s.accuracy for s in repeats]))
    n, n_correct = len(labels), round(accuracy * len(labels))
    chance, p_chance = against_chance(n_correct, np.bincount(labels).tolist())
    interval = wilson95(n_correct, n)
    return Metrics(
        protocol=protocol,
        n_trials=n,
        accuracy=accuracy,
        accuracy_sd=float(np.std([s.accuracy for s in repeats], ddof=1)) if len(repeats) > 1 else 0.0,
        accuracy_ci95=interval,
        kappa=float(np.mean([s.kappa for s in repeats])),
        nll=float(np.mean([s.nll for s in repeats])),
        balanced_accuracy=float(np.mean([balanced_accuracy_score(labels, p.argmax(axis=1)) for p in probs])),
        chance=chance,
        p_chance=p_chance,
        confusion=tuple(map(tuple, np.sum([s.confusion for s in repeats], axis=0).tolist())),
        verdict=advice(accuracy, n_trials=n, interval95=interval, chance=chance, p_chance=p_chance),
    )
