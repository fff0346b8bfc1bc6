"""Decoders of other shapes than the competition's, from trials of MNE to decisions on the wire, as real processes."""

from __future__ import annotations

import json
from pathlib import Path

import mne
import numpy as np
import pytest

_N_TRIALS = 24


def write_trials(path: Path, *, classes: tuple[str, ...], n_channels: int, sfreq_hz: float) -> None:
    """Write half-second trials: noise, and a shift of one channel per class."""
    rng = np.random.default_rng(0)
    n_window = round(sfreq_hz / 2)
    labels = rng.permutation(np.arange(_N_TRIALS) % len(classes))
    x_uv = rng.normal(0, 5, (_N_TRIALS, n_channels, n_window))
    x_uv[np.arange(_N_TRIALS), labels] += np.linspace(0, 20, n_window)
    samples = (np.arange(_N_TRIALS) + 1) * round(sfreq_hz)
    mne.EpochsArray(
        x_uv * 1e-6,
        mne.create_info([f"E{i}" for i in range(n_channels)], sfreq_hz, "eeg"),
        events=np.column_stack([samples, np.zeros(_N_TRIALS, int), labels + 1]),
        event_id={name: code + 1 for code, name in enumerate(classes)},
        tmin=-(n_window - 1) / sfreq_hz,
        verbose="error",
    ).save(path, verbose="error")


@pytest.mark.parametrize(
    ("classes", "n_channels", "sfreq_hz"),
    [(("left", "right", "rest"), 8, 250.0), (("tap/index", "tap/little"), 64, 2048.0)],
)
def test_a_decoder_of_another_shape_is_trained_served_and_verified(start, tmp_path, classes, n_channels, sfreq_hz):
    data, bundle, report = tmp_path / "x-epo.fif", tmp_path / "b.safetensors", tmp_path / "parity.json"
    write_trials(data, classes=classes, n_channels=n_channels, sfreq_hz=sfreq_hz)
    train = start(
        "train", "taps", "--data", str(data), "--out", str(bundle), "--set", "fit.max_epochs=3",
        "--set", "evaluation.folds=2", "--set", "candidates={}", "--set", "network.kind=lrp-erd-lstm",
        "--set", "trials={}",
    )  # fmt: skip
    assert train.wait(240) == 0, train.said
    assert "2-fold blockwise cross-validation" in train.said

    verify = start("verify", str(bundle), "--data", str(data), "--json", str(report))
    assert verify.wait(240) == 0, verify.said
    parity = json.loads(report.read_text())
    assert parity["passed"] is True
    assert (parity["n_expected"], parity["n_received"], parity["n_lost"]) == (_N_TRIALS, _N_TRIALS, 0)
    assert parity["labels_equal"] is True
    assert parity["max_abs_diff"] <= 1e-6

    score = start("score", str(bundle), str(data))
    assert score.wait() == 0, score.said
    assert f"NOT AN ESTIMATE: {_N_TRIALS} of {_N_TRIALS} trials were trained on" in score.said
    assert f"of {_N_TRIALS})" in score.said  # the truth of every trial is known, whatever the classes are called
