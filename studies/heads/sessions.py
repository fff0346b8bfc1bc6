"""The sessions of the heads in `PRETAP_DATA`/heads as trials from 0.5 to 2.5 s after the cue. Used by the studies here.

Bipolar channels (2b) keep their reference; the others are referenced to their average by the recipe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pretap.config.recording import RecordingConfig
from pretap.config.train import EvaluationConfig, ScalingConfig, TrainConfig, TrialsConfig
from pretap.networks import Network
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import read_mne_epochs
from pretap_offline.trials.source import cut_recordings

GROUPS = ("2b", "OpenVIBE", "OpenBCI")
START_S, END_S = 0.5, 2.5
_OPENBCI = ("C3", "C4", "Cz", "FC1", "FC2", "FC5", "FC6", "CP1", "CP2", "CP5", "CP6")
_UNUSED = ("X1", "X2", "X3", "X4", "X5")


def recipe(group: str, network: Network) -> TrainConfig:
    """Return the recipe for a network on the heads of a group."""
    reference = "none" if group == "2b" else "average"
    return TrainConfig(
        network=network,
        scaling=ScalingConfig(reference=reference, baseline_ms=8.0, divide_uv=10.0),
        evaluation=EvaluationConfig(folds=0),
    )


def heads(group: str) -> Iterator[list[Epochs]]:
    """Yield the sessions of each head of a group, in order."""
    root = Path(os.environ["PRETAP_DATA"]) / "heads"
    if group == "2b":
        for head in sorted((root / "bci4-2b").glob("head-*")):
            yield [_crop(read_mne_epochs(file)) for file in sorted(head.glob("*-epo.fif"))]
        return
    folder, pattern, events, channels, picked = {
        "OpenVIBE": ("openvibe", "*.edf", {"hand": ("OVTK_GDF_Right",), "rest": ("OVTK_GDF_Tongue",)}, (), ()),
        "OpenBCI": ("openbci-xdf", "*.xdf", {"left": ("2.0*",), "right": ("1.0*",)}, _OPENBCI + _UNUSED, _OPENBCI),
    }[group]
    cut = TrainConfig(
        network={},  # type: ignore[arg-type] - cutting looks at no network
        recording=RecordingConfig(unit="uV", channels=channels),
        events=events,
        trials=TrialsConfig(window_ms=(1000 * START_S, 1000 * END_S), channels=picked, reject_uv=0.0, flat_uv=0.0),
    )
    for head in sorted((root / folder).glob("head-*")):
        yield [cut_recordings([file], cut, stream=None)[0] for file in sorted(head.glob(pattern))]


def row(group: str, found: np.ndarray) -> str:
    """Return the mean accuracies (n_heads, n_columns) of a group as cells of a Markdown table.

    From the second column on, with the difference from the first in points, and its standard error over heads.
    """
    gains = 100 * (found - found[:, :1])
    errors = gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    cells = [f"{found[:, 0].mean():.3f}"]
    cells += [
        f"{accuracy:.3f} ({gain:+.1f} ± {error:.1f})"
        for accuracy, gain, error in zip(found.mean(0)[1:], gains.mean(0)[1:], errors[1:], strict=True)
    ]
    return f"| {len(found)} of {group} | {' | '.join(cells)} |"


def joined(sessions: list[Epochs]) -> Epochs:
    """Return the trials of several sessions as one, in order."""
    return replace(
        sessions[0],
        x_uv=np.concatenate([each.x_uv for each in sessions]),
        labels=np.concatenate([each.labels for each in sessions]),
        trial_ids=tuple(name for each in sessions for name in each.trial_ids),
        at_s=np.concatenate([each.at_s for each in sessions]),
        files=np.repeat(np.arange(len(sessions)), [len(each) for each in sessions]),
    )


def _crop(epochs: Epochs) -> Epochs:
    start, end = round(START_S * epochs.sfreq_hz), round(END_S * epochs.sfreq_hz)
    x_uv = np.ascontiguousarray(epochs.x_uv[:, start:end])
    return replace(epochs, x_uv=x_uv, trial_ids=(), window_end_ms=1000 * END_S)
