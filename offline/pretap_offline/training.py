"""Training: turns trials into a bundle (check, cross-validate, fit, write). Used by ``pretap train`` and Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace as epochs_replace
from functools import partial
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from pretap.bundle.file import refusal, write_bundle
from pretap.bundle.manifest import Manifest
from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.progress import progress_of
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.statistics import gather_statistics
from pretap_offline.evaluate.cross_validation import compare_with_own, cross_validate, is_blockwise, validation_work
from pretap_offline.fit.fitting import fit, fit_work, make_manifest, self_test_tolerance
from pretap_offline.fit.pooling import check_pooling
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
    others: Sequence[Epochs] = (),
    n_workers: int = 1,
    progress: bool = True,
) -> Manifest:
    """Cross-validate the recipe, fit it on all trials, and write the bundle `out`.

    `others` are sessions of other people or days that help to fit, see `pretap_offline.fit.pooling`. The
    cross-validation holds out own trials only, and is repeated without the others.

    With `progress`, a bar on standard error shows the time left, see `pretap.progress`. A recipe that no bundle can
    hold is refused before the first fit.
    """
    epochs = prepare(epochs, config)
    others = [like_own(each, epochs) for each in others]
    if others:
        check_pooling(config.network)
    interpolation = interpolation_weights(epochs.channels)
    manifest = make_manifest(epochs, config, seed=seed, others=others)
    manifest = replace(manifest, interpolates=interpolation is not None, has_statistics=True)
    refused = refusal(manifest)
    if refused:
        raise UsageError(refused)
    n_steps = validation_work(epochs, config, seed=seed) + fit_work(config, n_trials=len(epochs))
    with progress_of("training", total=n_steps) if progress else nullcontext(_ignore) as advance:
        if config.evaluation.folds:
            run = partial(cross_validate, epochs, config, seed=seed, n_workers=n_workers)
            validation = run(others=others, advance=advance)
            metrics = validation.metrics
            if others:
                metrics = replace(metrics, pooling=compare_with_own(validation, run(), epochs, others=others))
            manifest = replace(manifest, metrics=metrics, temperature=validation.temperature)
        tensors = fit(epochs, manifest, others=others, advance=advance)
    manifest = replace(manifest, self_test_tolerance=self_test_tolerance(manifest, tensors))
    tensors |= gather_statistics(epochs.x_uv, sfreq_hz=epochs.sfreq_hz).tensors()
    if interpolation is not None:
        tensors[INTERPOLATION] = interpolation
    write_bundle(out, manifest, tensors)
    return manifest


def like_own(other: Epochs, own: Epochs) -> Epochs:
    """Return the trials of another session with the channels, classes and rate of the own ones.

    Raises
    ------
    DataError
        If it lacks a channel, labels or a class, or its windows have another length.
    """
    if other.labels is None or set(other.classes) != set(own.classes):
        raise DataError(
            f"{other.source}: expected labelled trials of the classes {', '.join(own.classes)}, found "
            f"{', '.join(other.classes) if other.labels is not None else 'no labels'}. Leave it out of --with."
        )
    order = np.array([own.classes.index(name) for name in other.classes], np.int64)
    other = epochs_replace(other, labels=order[other.labels], classes=own.classes).pick(own.channels)
    other = resample_epochs(other, sfreq_hz=own.sfreq_hz)
    if other.n_samples != own.n_samples:
        raise DataError(
            f"{other.source}: expected windows of {own.n_samples} samples at {own.sfreq_hz:g} Hz, as the own trials "
            f"have, found {other.n_samples}. Cut them alike."
        )
    return other


def _ignore(_: int = 1, /) -> None:
    """Show no progress."""
