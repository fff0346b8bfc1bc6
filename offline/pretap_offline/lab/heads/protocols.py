"""The trials that each protocol fits and scores: within a session, session to session, head to head, few trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.folds import Index, Split, clear_of

Protocol = Literal["blocks", "sessions", "heads", "few-20", "few-40", "few-80"]
PROTOCOLS: dict[Protocol, str] = {
    "blocks": "cross-validation over contiguous blocks of a head's trials",
    "sessions": "fitted on all sessions before, scored on the next one",
    "heads": "fitted on the other heads of the group, scored on this one",
    "few-20": "fitted on the first 20 trials, scored on the trials after the first 80 (or 40, or 20)",
    "few-40": "fitted on the first 40 trials, scored on the same trials",
    "few-80": "fitted on the first 80 trials, scored on the same trials",
}
_FEW: dict[Protocol, int] = {"few-20": 20, "few-40": 40, "few-80": 80}
_MIN_FIT = 20  # trials
_MIN_SCORED = 20
_MIN_OF_CLASS = 2


def session_splits(epochs: Epochs) -> list[Split]:
    """Return a split for each session after the first: fitted on all before, at least 20 trials, scored on it."""
    if not epochs.is_in_order or epochs.files is None:
        return []
    numbers = np.unique(epochs.files)[1:]
    folds = [Split(0, np.flatnonzero(epochs.files < n), np.flatnonzero(epochs.files == n)) for n in numbers]
    return [each for each in folds if _can_fit(epochs, each.fit_on)]


def few_splits(epochs: Epochs) -> dict[Protocol, Split]:
    """Return a split for each number of first trials; all are scored on the same trials, at least 20.

    Those are the trials after the largest number that leaves 20. Trials whose windows overlap them are not fitted.
    """
    possible = {name: n for name, n in _FEW.items() if len(epochs) >= n + _MIN_SCORED}
    if not possible or not epochs.is_in_order:
        return {}
    scored = np.arange(max(possible.values()), len(epochs))
    clear = clear_of(epochs, scored)
    folds = {name: Split(0, clear[clear < n], scored) for name, n in possible.items()}
    return {name: each for name, each in folds.items() if _can_fit(epochs, each.fit_on, n_min=0)}


def head_splits(n_trials: Sequence[int]) -> list[Split]:
    """Return a split of joined heads for each of them: fitted on all others, scored on it."""
    head = np.repeat(np.arange(len(n_trials)), n_trials)
    return [Split(0, np.flatnonzero(head != k), np.flatnonzero(head == k)) for k in range(len(n_trials))]


def _can_fit(epochs: Epochs, fit_on: Index, *, n_min: int = _MIN_FIT) -> bool:
    assert epochs.labels is not None
    counts = np.bincount(epochs.labels[fit_on], minlength=len(epochs.classes))
    return len(fit_on) >= n_min and int(counts.min()) >= _MIN_OF_CLASS
