"""From trials to a bundle: fit, cross-validate, export."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap import __version__
from pretap.bundle import probe_windows, reference_probs, write_bundle
from pretap.config import TrainConfig
from pretap.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.interpolation import INTERPOLATION
from pretap.manifest import FORMAT_VERSION, Manifest, Metrics, Training
from pretap.networks import softmax
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap.torch_networks import LstmNetwork, one_thread
from pretap_offline.estimator import make_estimator, make_scaling
from pretap_offline.metrics import score, wilson95
from pretap_offline.montage import interpolation_weights

__all__ = ["CrossValidation", "cross_validate", "fit_decoder", "prepare", "train"]

_MAX_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold probabilities (n_repeats, n_epochs, n_classes): no trial was seen by the model that scored it."""

    probs: NDArray[np.float64]
    metrics: Metrics


def prepare(epochs: Epochs, config: TrainConfig) -> Epochs:
    """Resample to the configured rate and check that there is something to learn."""
    if epochs.labels is None:
        raise DataError(f"{epochs.source}: these trials have no labels; train on the training part.")
    counts = np.bincount(epochs.labels, minlength=len(epochs.classes))
    fewest = max(2, config.evaluation.folds)
    if counts.min() < fewest:
        found = ", ".join(f"{n} {name}" for name, n in zip(epochs.classes, counts, strict=True))
        raise DataError(f"{epochs.source}: expected at least {fewest} trials of each class, got {found}.")
    return resample_epochs(epochs, sfreq_hz=config.signal.sfreq_hz or epochs.sfreq_hz)


def train(
    epochs: Epochs,
    config: TrainConfig,
    out: Path,
    *,
    seed: int,
    n_workers: int = 1,
    advance: Callable[[], None] | None = None,
) -> Manifest:
    """Cross-validate the recipe, fit it on all trials, and write the bundle `out`.

    `advance` is called once for each finished fold and once for each epoch of the final fit.
    """
    epochs = prepare(epochs, config)
    metrics = None
    if config.evaluation.folds:
        metrics = cross_validate(epochs, config, seed=seed, n_workers=n_workers, advance=advance).metrics
    decoder, weights = fit_decoder(epochs, config, seed=seed, metrics=metrics, advance=advance)
    manifest = decoder.manifest
    tensors: dict[str, NDArray[Any]] = {**weights}
    interpolation = interpolation_weights(epochs.channels)
    if interpolation is not None:
        manifest = replace(manifest, interpolates=True)
        tensors[INTERPOLATION] = interpolation
    write_bundle(out, manifest, tensors)
    return manifest


def fit_decoder(
    epochs: Epochs,
    config: TrainConfig,
    *,
    seed: int,
    metrics: Metrics | None = None,
    advance: Callable[[], None] | None = None,
) -> tuple[Decoder, dict[str, NDArray[np.float32]]]:
    """Fit on all of `epochs` (already at the configured rate); gives the decoder and its weights."""
    scaling = make_scaling(config, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples)
    n_channels, n_classes = len(epochs.channels), len(epochs.classes)
    estimator = make_estimator(config, scaling, n_channels=n_channels, n_classes=n_classes, seed=seed, advance=advance)
    estimator.fit(epochs.x_uv, epochs.labels)
    network = estimator.named_steps["network"].module_
    assert isinstance(network, LstmNetwork)
    weights = network.export()
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        classes=epochs.classes,
        channels=epochs.channels,
        unit="microvolts",
        sfreq_hz=epochs.sfreq_hz,
        n_window=epochs.n_samples,
        window_end_ms=epochs.window_end_ms,
        scaling=scaling,
        network=config.network,
        training=_provenance(epochs, config, seed=seed),
        metrics=metrics,
        self_test_tolerance=1e-6,
        versions={"pretap": __version__} | {name: importlib.metadata.version(name) for name in ("numpy", "torch")},
        created=_today(),
    )
    manifest = replace(manifest, self_test_tolerance=_self_test_tolerance(manifest, weights, network))
    return Decoder(manifest, weights), weights


def cross_validate(
    epochs: Epochs,
    config: TrainConfig,
    *,
    seed: int,
    n_workers: int = 1,
    advance: Callable[[], None] | None = None,
) -> CrossValidation:
    """Repeated stratified cross-validation; each fold's decoder is fitted anew and scores raw microvolts.

    Repeat r draws its own split, and its networks start from ``seed + r``.

    `advance` is called as each fold finishes.
    """
    from joblib import Parallel, delayed
    from sklearn.model_selection import RepeatedStratifiedKFold

    assert epochs.labels is not None
    n_folds, n_repeats = config.evaluation.folds, config.evaluation.repeats
    splitter = RepeatedStratifiedKFold(n_splits=n_folds, n_repeats=n_repeats, random_state=seed)
    splits = list(splitter.split(np.zeros(len(epochs)), epochs.labels))
    probs = np.empty((n_repeats, len(epochs), len(epochs.classes)))
    folds = Parallel(n_jobs=n_workers, return_as="generator")(
        delayed(_score_fold)(epochs, config, fit_on, score_on, seed=seed + i // n_folds)
        for i, (fit_on, score_on) in enumerate(splits)
    )
    for i, ((_, score_on), fold) in enumerate(zip(splits, folds, strict=True)):
        probs[i // n_folds, score_on] = fold
        if advance is not None:
            advance()
    protocol = (
        f"{n_folds}-fold stratified cross-validation, {n_repeats} repeat(s), each with its own split and network seed, "
        f"from seed {seed}"
    )
    return CrossValidation(probs, _summarise(epochs.labels, probs, protocol=protocol))


def _score_fold(
    epochs: Epochs, config: TrainConfig, fit_on: NDArray[np.int64], score_on: NDArray[np.int64], *, seed: int
) -> NDArray[np.float64]:
    decoder, _ = fit_decoder(epochs.select(fit_on), config, seed=seed)
    return decoder.decode(epochs.x_uv[score_on])


def _summarise(labels: NDArray[np.int64], probs: NDArray[np.float64], *, protocol: str) -> Metrics:
    repeats = [score(labels, p) for p in probs]
    accuracy = float(np.mean([s.accuracy for s in repeats]))
    return Metrics(
        protocol=protocol,
        n_trials=len(labels),
        accuracy=accuracy,
        accuracy_sd=float(np.std([s.accuracy for s in repeats], ddof=1)) if len(repeats) > 1 else 0.0,
        accuracy_ci95=wilson95(round(accuracy * len(labels)), len(labels)),
        kappa=float(np.mean([s.kappa for s in repeats])),
        nll=float(np.mean([s.nll for s in repeats])),
    )


def _provenance(epochs: Epochs, config: TrainConfig, *, seed: int) -> Training:
    assert epochs.labels is not None
    whole = hashlib.sha256("".join(epochs.trial_ids).encode() + epochs.labels.astype("<i8").tobytes())
    return Training(
        data=epochs.source,
        subject=epochs.subject,
        n_trials=len(epochs),
        data_sha256=whole.hexdigest(),
        trial_sha256=epochs.trial_ids,
        resampled_from_hz=epochs.resampled_from_hz,
        seed=seed,
        config=config,
    )


def _self_test_tolerance(manifest: Manifest, weights: dict[str, NDArray[np.float32]], network: LstmNetwork) -> float:
    """Ten times torch's own float32 error on the probes, at least 1e-6: a network can be chaotic."""
    windows = probe_windows(manifest.n_window, len(manifest.channels)).astype(np.float32) / 10
    with one_thread(), torch.inference_mode():
        logits = network.eval()(torch.from_numpy(manifest.scaling.apply(windows).astype(np.float32)))
    error = float(np.abs(softmax(logits.numpy()) - reference_probs(manifest, weights)).max())
    if not 10 * error <= _MAX_TOLERANCE:
        raise DataError(
            f"Training diverged: float32 and float64 disagree by {error:.2g} about the same window. "
            "Lower fit.learning_rate or fit.max_epochs."
        )
    return max(1e-6, 10 * error)


def _today() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH = {epoch!r}: expected seconds since 1970.") from None
    return moment.date().isoformat()
