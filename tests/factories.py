"""Decoders with random weights for tests, benchmarks and studies: they compute all that trained ones do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.file import load, write_bundle
from pretap.bundle.manifest import FORMAT_VERSION, Manifest, Training
from pretap.config.train import TrainConfig
from pretap.decoder.decoder import AUTO, Decoder
from pretap.networks import AverageSpec, LstmSpec, Network, SingleNetwork, WeightedNetwork
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.scaling import Scaling
from pretap.signal.statistics import Statistics

CHANNELS = ("C3", "Cz", "C4", "O1")


def make_manifest(
    network: Network,
    *,
    scaling: Scaling,
    channels: tuple[str, ...] = CHANNELS,
    sfreq_hz: float = 100.0,
    n_window: int = 50,
    classes: tuple[str, ...] = ("left", "right"),
    config: TrainConfig | None = None,
    seed: int = 0,
    window_end_ms: float = -130.0,
    self_test_tolerance: float = 1e-6,
    **more: Any,
) -> Manifest:
    """Return the manifest of a network with random weights; `more` are further fields of it."""
    return Manifest(
        format_version=FORMAT_VERSION,
        classes=classes,
        channels=channels,
        unit="microvolts",
        sfreq_hz=sfreq_hz,
        n_window=n_window,
        window_end_ms=window_end_ms,
        scaling=scaling,
        network=network,
        training=Training(
            data="random weights",
            subject="nobody",
            n_trials=0,
            data_sha256="0" * 64,
            trial_sha256=(),
            resampled_from_hz=None,
            seed=seed,
            config=config or TrainConfig(network=network),
        ),
        metrics=None,
        self_test_tolerance=self_test_tolerance,
        versions={},
        created="2026-11-23",
        **more,
    )


def make_average(
    *networks: SingleNetwork, members: Sequence[int] = (), temperatures: Sequence[float] = ()
) -> AverageSpec:
    """Return the average of networks, each with twice the weight of the one before."""
    total = 2 ** len(networks) - 1
    return AverageSpec(
        networks=tuple(
            WeightedNetwork(network=network, weight=2**i / total, members=n, temperature=temperature)
            for i, (network, n, temperature) in enumerate(
                zip(
                    networks,
                    members or [1] * len(networks),
                    temperatures or [1.0] * len(networks),
                    strict=True,
                )
            )
        )
    )


def make_decoder(
    *,
    sfreq_hz: float = 100.0,
    n_window: int = 50,
    channels: tuple[str, ...] = CHANNELS,
    hidden: tuple[int, ...] = (6,),
    scaling: Scaling | None = None,
    classes: tuple[str, ...] = ("left", "right"),
    interpolation: NDArray[np.float64] | None = None,
    statistics: Statistics | None = None,
    seed: int = 0,
    spread: float = 0.4,
    engine: str | None = None,
    tolerance: float = 1e-6,
    window_end_ms: float = -130.0,
    events: dict[str, tuple[str, ...]] | None = None,
    path: Path | None = None,
) -> Decoder:
    """Return an LSTM decoder whose weights have a standard deviation of `spread`.

    With a `path` it is written there and loaded again. Without an `engine` it computes in numpy, or by what `load`
    chooses if there is a path.
    """
    spec = LstmSpec(hidden=hidden)
    rng = np.random.default_rng(seed)
    layout = spec.tensors(n_steps=1, n_inputs=len(channels), n_classes=len(classes))
    weights = {name: rng.normal(0, spread, shape).astype(np.float32) for name, (_, shape) in layout.items()}
    manifest = make_manifest(
        spec,
        scaling=scaling or Scaling(reference="average", n_baseline=5, divide_uv=10.0),
        channels=channels,
        sfreq_hz=sfreq_hz,
        n_window=n_window,
        classes=classes,
        seed=seed,
        self_test_tolerance=tolerance,
        interpolates=interpolation is not None,
        has_statistics=statistics is not None,
        window_end_ms=window_end_ms,
        config=TrainConfig(network=spec, events=events or {}),
    )
    if statistics is not None:
        weights |= statistics.tensors()
    if interpolation is not None:
        weights[INTERPOLATION] = interpolation
    if path is None:
        return Decoder(manifest, weights, engine=engine or "numpy")
    write_bundle(path, manifest, weights)
    return load(path, engine=engine or AUTO)
