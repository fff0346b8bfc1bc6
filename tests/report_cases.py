"""Trials, recipes and comparisons that the tests of the report share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace as changed

import lab_cases
from pretap.config.train import FitConfig, ScalingConfig, TrainConfig
from pretap.networks import LdaSpec, LstmSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.lab.results import Comparison
from pretap_offline.lab.store import Store

CHANNELS = ("C3", "Cz", "C4", "O1", "F3", "F4")
SCALING = ScalingConfig(reference="average", divide_uv=10.0)
TRAINED = FitConfig(optimizer="adamw", learning_rate=3e-2, batch_size=20, max_epochs=3)
LDA = TrainConfig(network=LdaSpec(), scaling=changed(SCALING, block_ms=100.0))
LSTM = TrainConfig(network=LstmSpec(hidden=(2,)), scaling=changed(SCALING, block_ms=100.0), fit=TRAINED)


def trials(*, n=40, classes=("left", "right"), channels=CHANNELS, seed=0) -> Epochs:
    """Noise; before a movement of the last class C3 sinks and C4 rises, and C3 has less power."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(classes))
    x = rng.normal(0, 5, (n, 50, len(channels)))
    last = labels == len(classes) - 1
    x[last, :, 0] *= 0.3
    x[last, :, 0] -= np.linspace(0, 15, 50)
    x[last, :, 2] += np.linspace(0, 15, 50)
    return Epochs(
        x_uv=x.astype(np.float32),
        labels=labels,
        classes=classes,
        channels=channels,
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="noise & <rhythms>",
    )


def compared(epochs: Epochs, folder: Path, configs: dict[str, TrainConfig], *, repeats=2, **options) -> Comparison:
    return lab_cases.compared(epochs, Store(folder / "store"), configs, repeats=repeats, **options)[0]
