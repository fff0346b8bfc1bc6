"""Recordings with known samples that the tests of trials share."""

from __future__ import annotations

import msgspec
import numpy as np

from pretap.config.train import TrainConfig, TrialsConfig
from pretap.networks import LstmSpec
from pretap.recordings.recording import Event, Recording

RECIPE = TrainConfig(
    network=LstmSpec(hidden=(2,)),
    events={"left": ("tap/left",), "right": ("tap/right",)},
    trials=TrialsConfig(window_ms=(-200.0, -50.0), reject_uv=0.0, flat_uv=0.0),
)


def recording(
    events=((300, "tap/left"), (600, "tap/right")),
    *,
    sfreq_hz=250.0,
    n=1000,
    channels=("C3", "C4", "Cz"),
    x=None,
    **more,
) -> Recording:
    """Each sample of each channel is its own index in microvolts, plus 10 000 a channel."""
    ramp = np.arange(n)[:, None] + 10_000.0 * np.arange(len(channels))  # (n_samples, n_channels)
    values = (ramp if x is None else x).astype(np.float32)
    return Recording(
        channels=channels,
        sfreq_hz=sfreq_hz,
        n_samples=n,
        events=tuple(Event(*event) for event in events),
        read=lambda start, stop: values[start:stop],
        source=more.pop("source", "ramp"),
        **more,
    )


def changed(**trials) -> TrainConfig:
    return msgspec.structs.replace(RECIPE, trials=msgspec.structs.replace(RECIPE.trials, **trials))


def noise(n=5000, n_channels=3, *, seed=0, uv=10.0):
    return np.random.default_rng(seed).normal(0, uv, (n, n_channels))


TAPS = tuple((s, "tap/left" if i % 2 else "tap/right") for i, s in enumerate(range(300, 4800, 200)))
