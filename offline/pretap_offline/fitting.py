"""One fit: from trials to a decoder and its weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap import __version__
from pretap.bundle import probe_windows, reference_probs
from pretap.config import TrainConfig
from pretap.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.manifest import FORMAT_VERSION, Manifest, Metrics, Training
from pretap.networks import softmax
from pretap.recordings.epochs import Epochs
from pretap.torch_networks import LstmNetwork, one_thread
from pretap_offline.estimator import make_estimator, make_scaling

__all__ = ["fit_decoder"]

_MAX_TOLERANCE = 1e-2


def fit_decoder(
    epochs: Epochs,
    config: TrainConfig,
    *,
    seed: int,
    metrics: Metrics | None = None,
    advance: Callable[[], None] | None = None,
) -> tuple[Decoder, dict[str, NDArray[np.float32]]]:
    """Fit on all of `epochs` (already at the configured rate); gives the decoder and its weights."""
    n_channels, n_classes = len(epochs.channels), len(epochs.classes)
    scaling = make_scaling(config, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples, n_channels=n_channels)
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
