"""Training: turns trials into a bundle (check, cross-validate, fit, write). Used by ``pretap train`` and Python."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.file import refusal, write_bundle
from pretap.bundle.manifest import Manifest
from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.progress import progress_of
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.statistics import gather_statistics
from pretap_offline.evaluate.cross_validation import cross_validate, validation_work
from pretap_offline.evaluate.folds import is_blockwise
from pretap_offline.evaluate.selection import fit_choice, select, selection_work
from pretap_offline.fit.fitting import fit, fit_work, make_manifest, self_test_tolerance
from pretap_offline.trials.montage import interpolation_weights
from pretap_offline.trials.report import describe_counts

__all__ = ["prepare", "train"]


def prepare(epochs: Epochs, config: TrainConfig) -> Epochs:
    """Check that the trials can be learned from, and resample them to the configured rate.

    Raises
    ------
    DataError
        If the trials have no labels, or a class has too few.
    """
    if epochs.labels is None:
        raise DataError(f"{epochs.source}: these trials have no labels; train on the training part.")
    counts = np.bincount(epochs.labels, minlength=len(epochs.classes))
    # a block of time may lack a class; a stratified fold may not
    n_required = (
        2 if config.evaluation.folds and is_blockwise(epochs, config.evaluation) else max(2, config.evaluation.folds)
    )
    if counts.min() < n_required:
        found = describe_counts(counts, epochs.classes)
        raise DataError(f"{epochs.source}: expected at least {n_required} trials of each class, got {found}.")
    return resample_epochs(epochs, sfreq_hz=config.signal.sfreq_hz or epochs.sfreq_hz)


def train(
    epochs: Epochs,
    config: TrainConfig,
    out: Path,
    *,
    seed: int,
    n_workers: int = 1,
    progress: bool = True,
) -> Manifest:
    """Cross-validate the recipe, fit it on all trials, and write the bundle `out`.

    With `progress`, a bar on standard error shows the time left, see `pretap.progress`. A recipe that no bundle can
    hold is refused before the first fit.
    """
    epochs = prepare(epochs, config)
    interpolation = interpolation_weights(epochs.channels)
    run = _fit_chosen if config.candidates else _fit_single
    manifest, tensors = run(epochs, config, seed=seed, n_workers=n_workers, progress=progress)
    manifest = replace(
        manifest,
        interpolates=interpolation is not None,
        has_statistics=True,
        self_test_tolerance=self_test_tolerance(manifest, tensors),
    )
    tensors |= gather_statistics(epochs.x_uv, sfreq_hz=epochs.sfreq_hz).tensors()
    if interpolation is not None:
        tensors[INTERPOLATION] = interpolation
    write_bundle(out, manifest, tensors)
    return manifest


def _fit_single(
    epochs: Epochs, config: TrainConfig, *, seed: int, n_workers: int, progress: bool
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """Cross-validate a recipe of one network, and fit it on all trials."""
    manifest = make_manifest(epochs, config, seed=seed)
    refused = refusal(manifest)
    if refused:
        raise UsageError(refused)
    n_steps = validation_work(epochs, config, seed=seed) + fit_work(config, n_trials=len(epochs))
    with progress_of("training", total=n_steps) if progress else nullcontext(_ignore) as advance:
        if config.evaluation.folds:
            validation = cross_validate(epochs, config, seed=seed, n_workers=n_workers, advance=advance)
            manifest = replace(manifest, metrics=validation.metrics, temperature=validation.temperature)
        return manifest, fit(epochs, manifest, advance=advance)


def _fit_chosen(
    epochs: Epochs, config: TrainConfig, *, seed: int, n_workers: int, progress: bool
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """Choose among the candidates of a recipe by nested cross-validation, and fit the choice on all trials."""
    n_steps = selection_work(epochs, config, seed=seed)
    with progress_of("choosing", total=n_steps) if progress else nullcontext(_ignore) as advance:
        found = select(epochs, config, seed=seed, n_workers=n_workers, advance=advance)
    manifest, tensors = fit_choice(epochs, found.recipes, found.choice, seed=seed)
    training = replace(manifest.training, candidates=found.scores, refused=found.refused)
    return replace(manifest, metrics=found.metrics, training=training), tensors


def _ignore(_: int = 1, /) -> None:
    """Show no progress."""
