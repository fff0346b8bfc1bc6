"""Training: turns trials into a bundle (check, cross-validate, fit, write). Used by ``pretap train`` and Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.file import refusal, write_bundle
from pretap.bundle.manifest import Manifest, Metrics
from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.progress import progress_of
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.statistics import gather_statistics
from pretap_offline.evaluate.advice import is_above_chance
from pretap_offline.evaluate.cross_validation import compare_with_own, cross_validate, validation_work
from pretap_offline.evaluate.diagnosis import Candidate, diagnose, electrode_faults
from pretap_offline.evaluate.folds import is_blockwise
from pretap_offline.evaluate.selection import fit_choice, select, selection_work
from pretap_offline.evaluate.sources import ALL, Quick, describe_sources, quick_decoders, quick_work
from pretap_offline.fit.fitting import fit, fit_work, make_manifest, self_test_tolerance
from pretap_offline.fit.pooling import check_pooling, like_own, pooled_recipe
from pretap_offline.trials.montage import interpolation_weights
from pretap_offline.trials.report import describe_counts
from pretap_offline.trials.source import cropped

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


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A decoder that was fitted on `epochs`, and what is known of it.

    `probs` (n_epochs, n_classes) are out of fold; None without a cross-validation. `quick` holds the decoders of some
    channels (`pretap_offline.evaluate.sources`), `others` the candidates that were not chosen, and `losses` those of
    each member in each epoch, if torch trained it.
    """

    epochs: Epochs
    manifest: Manifest
    tensors: dict[str, NDArray[Any]]
    probs: NDArray[np.float64] | None
    quick: dict[str, Quick]
    losses: list[list[float]]
    others: Sequence[Candidate] = ()


def train(
    epochs: Epochs,
    config: TrainConfig,
    out: Path,
    *,
    seed: int,
    others: Sequence[Epochs] = (),
    n_workers: int = 1,
    progress: bool = True,
    on_validated: Callable[[Epochs, NDArray[np.float64]], None] = lambda *_: None,
) -> Manifest:
    """Cross-validate the recipe, fit it on all trials, and write the bundle `out`.

    `others` are sessions of other people or days that help to fit, see `pretap_offline.fit.pooling`. The
    cross-validation holds out own trials only, and is repeated without the others.

    With `progress`, a bar on standard error shows the time left, see `pretap.progress`. A recipe that no bundle can
    hold is refused before the first fit. If there is a cross-validation, `on_validated` is called with the checked
    trials and their out-of-fold probabilities (n_epochs, n_classes).
    """
    epochs = prepare(epochs, config)
    others = [like_own(each, epochs) for each in others]
    if others:
        config = pooled_recipe(config)
        check_pooling(config.network)
    interpolation = interpolation_weights(epochs.channels)
    run = (
        _fit_chosen
        if config.candidates
        else partial(_fit_single, others=others, interpolates=interpolation is not None)
    )
    fitted = run(epochs, config, seed=seed, n_workers=n_workers, progress=progress)
    manifest, tensors = fitted.manifest, fitted.tensors
    if fitted.probs is not None:
        on_validated(fitted.epochs, fitted.probs)
    manifest = replace(
        manifest,
        interpolates=interpolation is not None,
        has_statistics=True,
        metrics=_with_findings(fitted),
        self_test_tolerance=self_test_tolerance(manifest, tensors),
    )
    tensors |= gather_statistics(epochs.x_uv, sfreq_hz=epochs.sfreq_hz).tensors()
    if interpolation is not None:
        tensors[INTERPOLATION] = interpolation
    write_bundle(out, manifest, tensors)
    return manifest


def _fit_single(
    epochs: Epochs,
    config: TrainConfig,
    *,
    seed: int,
    others: Sequence[Epochs],
    interpolates: bool,
    n_workers: int,
    progress: bool,
) -> _Fitted:
    """Cross-validate a recipe of one network, and fit it on all trials."""
    manifest = make_manifest(epochs, config, seed=seed, others=others)
    manifest = replace(manifest, interpolates=interpolates, has_statistics=True)
    refused = refusal(manifest)
    if refused:
        raise UsageError(refused)
    n_validations = 2 if others else 1
    n_steps = n_validations * validation_work(epochs, config, seed=seed) + fit_work(config, n_trials=len(epochs))
    n_steps += quick_work(epochs) if config.evaluation.folds else 0
    losses: list[list[float]] = []
    with progress_of("training", total=n_steps) if progress else nullcontext(_ignore) as advance:
        if not config.evaluation.folds:
            tensors = fit(epochs, manifest, others=others, advance=advance, losses=losses)
            return _Fitted(epochs, manifest, tensors, None, {}, losses)
        run = partial(cross_validate, epochs, config, seed=seed, n_workers=n_workers, advance=advance)
        validation = run(others=others)
        metrics = validation.metrics
        if others:
            metrics = replace(metrics, pooling=compare_with_own(validation, run(), epochs, others=others))
        manifest = replace(manifest, metrics=metrics, temperature=validation.temperature)
        quick = quick_decoders(epochs, config, seed=seed, advance=advance)
        tensors = fit(epochs, manifest, others=others, advance=advance, losses=losses)
    return _Fitted(epochs, manifest, tensors, validation.probs.mean(axis=0), quick, losses)


def _fit_chosen(epochs: Epochs, config: TrainConfig, *, seed: int, n_workers: int, progress: bool) -> _Fitted:
    """Choose among the candidates of a recipe by nested cross-validation, and fit the choice on all trials."""
    n_steps = selection_work(epochs, config, seed=seed) + quick_work(epochs)
    losses: list[list[float]] = []
    with progress_of("choosing", total=n_steps) if progress else nullcontext(_ignore) as advance:
        found = select(epochs, config, seed=seed, n_workers=n_workers, advance=advance)
        recipe = found.recipes[found.choice.names[0]]
        epochs = cropped(epochs, recipe)
        quick = quick_decoders(epochs, recipe, seed=seed, advance=advance)
    manifest, tensors = fit_choice(epochs, found.recipes, found.choice, seed=seed, losses=losses)
    training = replace(manifest.training, candidates=found.scores, refused=found.refused)
    others = [Candidate(each.name, each.accuracy, each.nll) for each in found.scores[1:]]
    manifest = replace(manifest, metrics=found.metrics, training=training)
    return _Fitted(epochs, manifest, tensors, found.probs, quick, losses, others)


def _with_findings(fitted: _Fitted) -> Metrics | None:
    """Return the metrics, with what the decoder reads, and why it decodes badly if it does."""
    metrics, epochs, quick = fitted.manifest.metrics, fitted.epochs, fitted.quick
    if metrics is None:
        return None
    assert epochs.labels is not None
    kind = str(fitted.manifest.network.__struct_config__.tag)
    loss = float(np.mean([each[-1] for each in fitted.losses])) if fitted.losses else None
    simple = Candidate("logistic regression on power and slow potential", quick[ALL].accuracy, quick[ALL].nll)
    findings = describe_sources(quick, epochs.labels, is_above_chance=is_above_chance(metrics))
    reasons = diagnose(
        Candidate(kind, metrics.accuracy, metrics.nll, loss),
        [simple, *fitted.others],
        counts=np.bincount(epochs.labels, minlength=len(epochs.classes)).tolist(),
        electrodes=electrode_faults(epochs),
    )
    return replace(metrics, findings=findings + reasons)


def _ignore(_: int = 1, /) -> None:
    """Show no progress."""
