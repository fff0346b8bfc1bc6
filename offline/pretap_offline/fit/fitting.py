"""One fit: turns trials into weights, and weights into a decoder. Used by training, cross-validation and `lab`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap import __version__
from pretap.bundle.file import probe_windows, reference_probs
from pretap.bundle.manifest import FORMAT_VERSION, TRIAL_DIGITS, Manifest, Source, Training
from pretap.config.train import TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.networks import AverageSpec, ClosedFormSpec
from pretap.networks.kind import member_prefixes
from pretap.recordings.epochs import Epochs
from pretap.signal.scaling import FIR
from pretap_offline.fit.dropping import with_dropped
from pretap_offline.fit.estimator import (
    export_members,
    is_trained_by_torch,
    make_estimator,
    make_fir,
    make_scaling,
    member_seed,
)
from pretap_offline.fit.parts import join, part_manifests, part_recipes
from pretap_offline.fit.pooling import fit_pooled
from pretap_offline.trials.montage import interpolation_weights

_MAX_TOLERANCE = 1e-2


def fit_decoder(
    epochs: Epochs,
    config: TrainConfig,
    *,
    seed: int,
    others: Sequence[Epochs] = (),
    advance: Callable[[int], None] | None = None,
    losses: list[list[float]] | None = None,
) -> tuple[Decoder, dict[str, NDArray[Any]]]:
    """Fit on all of `epochs` (already at the configured rate); return the decoder and its tensors. See `fit`."""
    manifest = make_manifest(epochs, config, seed=seed)
    tensors = fit(epochs, manifest, others=others, advance=advance, losses=losses)
    manifest = replace(manifest, self_test_tolerance=self_test_tolerance(manifest, tensors))
    return Decoder(manifest, tensors), tensors


def fit(
    epochs: Epochs,
    manifest: Manifest,
    *,
    others: Sequence[Epochs] = (),
    advance: Callable[[int], None] | None = None,
    losses: list[list[float]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Fit the networks that `manifest` describes (see `make_manifest`) on all of `epochs`, and return their tensors.

    `advance` is called with the finished part of `fit_work`. If torch trains the kind, the loss on the training trials
    in each epoch is appended to `losses`, for each member or averaged over members that are trained at once. `others`
    are sessions that help to fit, see `pretap_offline.fit.pooling`.
    """
    if isinstance(manifest.network, AverageSpec):
        return join([(part, fit(epochs, part, advance=advance, losses=losses)) for part in part_manifests(manifest)])
    config, seed = manifest.training.config, manifest.training.seed
    scaling, n_members = manifest.scaling, manifest.n_members
    fir = make_fir(config, scaling, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples)
    tensors: dict[str, NDArray[Any]] = {} if fir is None else {FIR: fir}
    members: list[dict[str, NDArray[Any]]] = []
    while len(members) < n_members:
        own_seed = member_seed(seed, len(members))
        estimator = make_estimator(config, scaling, like=epochs, seed=own_seed, fir=fir, advance=advance)
        if others:
            fit_pooled(estimator, epochs, others)
        else:
            _fit_estimator(estimator, epochs, config, seed=own_seed)
        if losses is not None and is_trained_by_torch(config):
            losses.append(estimator.named_steps["network"].losses())
        if advance is not None and not is_trained_by_torch(config):
            advance(len(epochs))
        members += export_members(estimator)
    for prefix, exported in zip(member_prefixes(n_members), members, strict=True):
        tensors |= {prefix + name: tensor for name, tensor in exported.items()}
    return tensors


def _fit_estimator(estimator: Any, epochs: Epochs, config: TrainConfig, *, seed: int) -> None:
    """Fit on the trials, and on copies with a dropped electrode if the kind does not drop electrodes batch by batch."""
    assert epochs.labels is not None
    if is_trained_by_torch(config) or not config.fit.drop_electrodes:
        estimator.fit(epochs.x_uv, epochs.labels)
        return
    weights = interpolation_weights(epochs.channels)
    x_uv, trials = with_dropped(epochs.x_uv, weights, share=config.fit.drop_electrodes, seed=seed)
    groups = {"network__groups": trials} if isinstance(config.network, ClosedFormSpec) else {}
    estimator.fit(x_uv, epochs.labels[trials], **groups)


def make_manifest(epochs: Epochs, config: TrainConfig, *, seed: int, others: Sequence[Epochs] = ()) -> Manifest:
    """Return everything known about a decoder before it is fitted, with the smallest tolerance of the self-test."""
    scaling = make_scaling(config, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples, n_channels=len(epochs.channels))
    libraries = {"torch" if is_trained_by_torch(part) else "scikit-learn" for part in part_recipes(config)}
    return Manifest(
        format_version=FORMAT_VERSION,
        classes=epochs.classes,
        channels=epochs.channels,
        unit="microvolts",
        sfreq_hz=epochs.sfreq_hz,
        n_window=epochs.n_samples,
        window_end_ms=epochs.window_end_ms,
        scaling=scaling,
        network=config.network,
        training=_provenance(epochs, config, seed=seed, others=others),
        metrics=None,
        self_test_tolerance=1e-6,
        versions={"pretap": __version__} | {name: importlib.metadata.version(name) for name in ("numpy", *libraries)},
        created=_today(),
        n_members=config.fit.members,
    )


def fit_work(config: TrainConfig, *, n_trials: int) -> int:
    """Return the work of one fit: the trials shown in all epochs of all members; in closed form, each trial once."""
    return n_trials * sum(
        part.fit.members * part.fit.max_epochs if is_trained_by_torch(part) else 1 for part in part_recipes(config)
    )


def _provenance(epochs: Epochs, config: TrainConfig, *, seed: int, others: Sequence[Epochs]) -> Training:
    assert epochs.labels is not None
    whole = hashlib.sha256("".join(epochs.trial_ids).encode() + epochs.labels.astype("<i8").tobytes())
    return Training(
        data=epochs.source,
        subject=epochs.subject,
        n_trials=len(epochs),
        data_sha256=whole.hexdigest(),
        trial_sha256=tuple(trial[:TRIAL_DIGITS] for each in (epochs, *others) for trial in each.trial_ids),
        resampled_from_hz=epochs.resampled_from_hz,
        seed=seed,
        config=config,
        others=tuple(Source(each.source, each.subject, len(each)) for each in others),
    )


def self_test_tolerance(manifest: Manifest, tensors: dict[str, NDArray[Any]]) -> float:
    """Compute ten times the error of the training engine on the probe windows, at least 1e-6.

    A network can be chaotic, so a fixed tolerance would not fit all.

    Raises
    ------
    DataError
        If training diverged.
    """
    windows = probe_windows(manifest.n_window, len(manifest.channels)).astype(np.float32) / 10
    with np.errstate(all="ignore"):  # overflowing weights show up in the difference
        probs = Decoder(manifest, tensors, engine=manifest.network.engines[-1]).decode(windows)
        error = float(np.abs(probs - reference_probs(manifest, tensors)).max())
    if not 10 * error <= _MAX_TOLERANCE:
        raise DataError(
            f"Training diverged: float32 and float64 disagree by {error:.2g} on the same window. "
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
