"""Trials, bundles and recordings whose signal changes between sessions, for the tests of adaptation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pretap.config.train import EvaluationConfig, ScalingConfig, TrainConfig
from pretap.networks import ClosedFormSpec, Network, TangentSpaceSpec
from pretap.recordings.epochs import Epochs
from pretap.recordings.recording import Event, Recording
from pretap_offline.training import train

CHANNELS = ("C3", "Cz", "C4", "O1")
SFREQ_HZ, N_WINDOW = 100.0, 50
KINDS: dict[str, Network] = {
    "tangent-space": TangentSpaceSpec(band_hz=(8.0, 30.0)),
    "closed-form": ClosedFormSpec(band_hz=(8.0, 30.0), means=2),
}


def signal(n: int, *, seed: int = 0, gain: float = 1.0) -> np.ndarray:
    """Return noise (n, n_channels) in microvolts that channels share, as on a head."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(len(CHANNELS)) + 0.4 * np.random.default_rng(1).normal(size=(len(CHANNELS),) * 2)
    return (gain * 10 * rng.normal(size=(n, len(CHANNELS))) @ mixing).astype(np.float32)


def trials(n: int = 60, *, seed: int = 0, gain: float = 1.0) -> Epochs:
    """Return trials in order; the right ones have less power on C3, the left ones on C4."""
    labels = np.arange(n) % 2
    x = signal(n * N_WINDOW, seed=seed, gain=gain).reshape(n, N_WINDOW, -1)
    x[labels == 1, :, 0] *= 0.5
    x[labels == 0, :, 2] *= 0.5
    return Epochs(
        x_uv=x,
        labels=labels,
        classes=("left", "right"),
        channels=CHANNELS,
        sfreq_hz=SFREQ_HZ,
        window_end_ms=-130.0,
        source=f"session {seed}",
        at_s=(np.arange(n) + 1) * N_WINDOW / SFREQ_HZ,
    )


def recipe(network: Network) -> TrainConfig:
    return TrainConfig(
        network=network,
        scaling=ScalingConfig(baseline_ms=10.0, divide_uv=10.0),
        evaluation=EvaluationConfig(folds=0),
    )


def write_adaptable(path: Path, kind: str = "tangent-space") -> Path:
    """Train a bundle that can adapt, write it to `path`, and return that."""
    train(trials(), recipe(KINDS[kind]), path, seed=0, progress=False)
    return path


def recording(x: np.ndarray, *, cue_every: int = 0, t_s: np.ndarray | None = None) -> Recording:
    """Return samples as a recording, with the event ``tap/left`` at every `cue_every` of them."""
    events = tuple(Event(at, "tap/left") for at in range(cue_every, len(x), cue_every)) if cue_every else ()
    timing = {} if t_s is None else {"t_s": t_s}
    return Recording(
        channels=CHANNELS,
        sfreq_hz=SFREQ_HZ,
        n_samples=len(x),
        events=events,
        read=lambda start, stop: x[start:stop],
        source="test",
        **timing,
    )
