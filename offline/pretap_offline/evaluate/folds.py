"""The folds of a cross-validation: which trials are fitted and which are held out. Used by `cross_validation`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.config.train import EvaluationConfig
from pretap.errors import DataError
from pretap.recordings.epochs import Epochs

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """One fold of one repeat: indices of the trials to fit on and of those to score."""

    repeat: int
    fit_on: Index
    score_on: Index


def is_blockwise(epochs: Epochs, evaluation: EvaluationConfig) -> bool:
    """Whether trials are held out in contiguous blocks of time."""
    if evaluation.split == "blocks" and not epochs.is_in_order:
        raise DataError(
            f"{epochs.source}: evaluation.split = 'blocks' needs trials in the order of recording, but their order is "
            "unknown. Train from recordings (--recording), or set split = 'stratified'."
        )
    return evaluation.split != "stratified" and epochs.is_in_order


def splits(epochs: Epochs, evaluation: EvaluationConfig, *, seed: int) -> list[Split]:
    """Return the folds of all repeats, one repeat after another.

    Blocks are contiguous, of nearly equal size, and the same in every repeat. Trials whose windows overlap the held-out
    block are neither fitted nor scored in that fold. If trials are not split into blocks, each repeat draws its own
    stratified folds.
    """
    assert epochs.labels is not None
    n_folds, n_repeats = evaluation.folds, evaluation.repeats
    if not is_blockwise(epochs, evaluation):
        from sklearn.model_selection import RepeatedStratifiedKFold

        splitter = RepeatedStratifiedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=seed)
        drawn = splitter.split(np.zeros(len(epochs)), epochs.labels)
        return [Split(i // n_folds, fit_on, score_on) for i, (fit_on, score_on) in enumerate(drawn)]
    blocks = np.array_split(np.arange(len(epochs)), n_folds)
    folds = [(clear_of(epochs, block), block) for block in blocks]
    for fit_on, _ in folds:
        if len(np.unique(epochs.labels[fit_on])) < len(epochs.classes):
            raise DataError(
                f"{epochs.source}: a class is missing outside one of the {n_folds} blocks of time, so time and class "
                "cannot be told apart. Record the classes mixed, or set evaluation.folds or split = 'stratified'."
            )
    return [Split(repeat, *fold) for repeat in range(n_repeats) for fold in folds]


def clear_of(epochs: Epochs, block: Index) -> Index:
    """Return the trials outside `block` whose windows share no sample with a trial inside it."""
    assert epochs.at_s is not None
    assert epochs.files is not None
    window_s = (epochs.n_samples - 0.5) / epochs.sfreq_hz  # less half a sample, because timestamps are rounded
    clear = np.ones(len(epochs), bool)
    clear[block] = False
    for file in np.unique(epochs.files[block]):
        held_s = epochs.at_s[block[epochs.files[block] == file]]
        same = epochs.files == file
        # a block is contiguous in time, so comparing with its ends is enough
        near = (epochs.at_s > held_s.min() - window_s) & (epochs.at_s < held_s.max() + window_s)
        clear &= ~(same & near)
    return np.flatnonzero(clear)


def describe_folds(epochs: Epochs, evaluation: EvaluationConfig, *, n_folds: int) -> str:
    """Describe how many folds there are, and how they are drawn."""
    how = "stratified cross-validation"
    if is_blockwise(epochs, evaluation):
        how = "blockwise cross-validation (contiguous blocks in time, not shuffled)"
    return f"{n_folds}-fold {how}"
