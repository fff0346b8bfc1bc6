"""Trials and a recipe that the tests of training share."""

from __future__ import annotations

import msgspec
import numpy as np

from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, SignalConfig, TrainConfig
from pretap.networks import LstmSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.fit.estimator import make_estimator, make_scaling

N_TRIALS, N_SAMPLES, N_CHANNELS = 40, 20, 4


RECIPE = TrainConfig(
    network=LstmSpec(hidden=(4,)),
    signal=SignalConfig(sfreq_hz=100.0),
    scaling=ScalingConfig(reference="average", baseline_ms=50.0, block_ms=20.0, divide_uv=10.0),
    fit=FitConfig(optimizer="adamw", learning_rate=2e-2, weight_decay=1e-2, batch_size=8, max_epochs=3),
    evaluation=EvaluationConfig(folds=4, repeats=2),
)


def trials(seed: int = 0, *, effect_uv: float = 4.0, n: int = N_TRIALS) -> Epochs:
    """Noise, and a slow shift that lateralises by `effect_uv` over the first two channels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    ramp = np.linspace(0, effect_uv, N_SAMPLES)[:, None]
    x = rng.normal(0, 5, (n, N_SAMPLES, N_CHANNELS))
    x += np.where(labels[:, None, None] == 1, 1, -1) * ramp * np.array([1, -1, 0, 0])
    return Epochs(
        x_uv=x.astype(np.float32),
        labels=labels,
        classes=("left", "right"),
        channels=("C3", "C4", "Cz", "Fz"),
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="synthetic trials",
        subject="synthetic-0",
    )


EPOCHS = trials()


def changed(**fields) -> TrainConfig:
    return msgspec.structs.replace(RECIPE, **fields)


def estimator(config: TrainConfig = RECIPE, *, seed: int = 0):
    scaling = make_scaling(config, sfreq_hz=100.0, n_window=N_SAMPLES, n_channels=N_CHANNELS)
    return make_estimator(config, scaling, like=EPOCHS, seed=seed)


def weights_of(fitted) -> dict[str, np.ndarray]:
    return fitted.named_steps["network"].module_.export()


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
