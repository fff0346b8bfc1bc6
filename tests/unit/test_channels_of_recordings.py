"""From a file to the figures: which channels are used, what is said about the others, and how settings change that."""

from __future__ import annotations

import json
from pathlib import Path

import mne
import numpy as np
import pytest

from command_line import invoke, run
from pretap.bundle.file import load, read_bundle
from pretap.errors import DataError, UsageError

FAST = """
[events]
left = ["tap/left"]
right = ["tap/right"]
[scaling]
block_ms = 100.0
divide_uv = 10.0
[network]
kind = "lda"
"""
SFREQ_HZ, N_TRIALS = 100.0, 40


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "fast.toml"
    path.write_text(FAST, encoding="utf-8-sig")
    return path


def write_fif(path: Path, labels: tuple[str, ...], *, signal: str, uv: float = 1e-6, broken: str = "") -> Path:
    """Write noise in which only the channel `signal` tells the classes apart; every channel has the type EEG."""
    rng = np.random.default_rng(0)
    x_uv = rng.normal(0, 8, (len(labels), round((N_TRIALS + 2) * 1.5 * SFREQ_HZ)))
    onsets_s, texts = [], []
    for k in range(N_TRIALS):
        onsets_s.append(1.5 * (k + 1))
        texts.append("tap/left" if rng.random() < 0.5 else "tap/right")
        last = round(onsets_s[-1] * SFREQ_HZ)
        x_uv[labels.index(signal), last - 45 : last - 10] -= 30.0 * (texts[-1] == "tap/left")
    if broken:
        x_uv[labels.index(broken)] = np.nan
    raw = mne.io.RawArray(x_uv * uv, mne.create_info(list(labels), SFREQ_HZ, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(onsets_s, [0.0] * N_TRIALS, texts))
    raw.save(path, verbose="error")
    return path


def train(recipe: Path, recording: Path, *more: object) -> tuple[str, dict]:
    """Train, and return what was printed and the JSON report."""
    report = recording.with_suffix(".json")
    out = recording.with_suffix(".safetensors")
    said = invoke("train", recipe, "--recording", recording, "--out", out, "--json", report, *more)
    return said, json.loads(report.read_bytes())


def test_an_eog_that_tells_the_classes_apart_is_left_out_until_it_is_asked_for(recipe, tmp_path):
    path = write_fif(tmp_path / "a_raw.fif", ("C3", "C4", "Cz", "VEOG"), signal="VEOG")
    said, report = train(recipe, path)
    assert "uses 3 channels: C3, C4, Cz\n" in said
    assert "left out (EOG by its label): VEOG\n" in said
    assert report["trials"]["files"][0]["left_out"] == [["VEOG", "EOG by its label"]]
    assert report["metrics"]["accuracy"] < 0.75

    said, report = train(recipe, path, "--eeg", "*eog")
    assert "uses 4 channels: C3, C4, Cz, VEOG\n" in said
    assert report["metrics"]["accuracy"] == 1.0
    assert read_bundle(path.with_suffix(".safetensors")).manifest.training.config.recording.eeg == ("*eog",)


def test_the_channels_are_said_by_every_command_that_opens_the_recording(recipe, tmp_path):
    path = write_fif(tmp_path / "a_raw.fif", ("C3", "C4", "Cz", "VEOG"), signal="C3")
    train(recipe, path)
    bundle = path.with_suffix(".safetensors")
    scores, decisions = tmp_path / "scores.json", tmp_path / "decisions.json"
    said = invoke("evaluate", bundle, "--recording", path, "--json", scores)
    assert "uses 3 channels: C3, C4, Cz\n" in said
    assert "left out (EOG by its label): VEOG\n" in said
    assert json.loads(scores.read_bytes())["trials"]["files"][0]["left_out"] == [["VEOG", "EOG by its label"]]
    scored = run("score", str(bundle), str(path), "--json", str(decisions))
    assert "uses 3 channels: C3, C4, Cz\nleft out (EOG by its label): VEOG\n" in scored.stderr
    assert json.loads(decisions.read_bytes())["left_out"] == {"VEOG": "EOG by its label"}


def test_t3_beside_t7_is_one_electrode_and_the_figures_are_drawn(recipe, tmp_path):
    path = write_fif(tmp_path / "a_raw.fif", ("C3", "C4", "Cz", "T3", "T7", "T8"), signal="C3")
    said, report = train(recipe, path)
    assert "left out (the same electrode as T7): T3\n" in said
    assert report["metrics"]["accuracy"] == 1.0
    assert (tmp_path / "a_raw-trials.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_cannot_be_written_does_not_end_the_training(recipe, tmp_path):
    path = write_fif(tmp_path / "a_raw.fif", ("C3", "C4", "Cz"), signal="C3")
    (tmp_path / "a_raw-trials.png").mkdir()
    _, report = train(recipe, path)
    assert report["metrics"]["accuracy"] == 1.0
    assert load(path.with_suffix(".safetensors")).manifest.channels == ("C3", "C4", "Cz")


def test_a_channel_of_nan_is_dropped_and_the_others_are_trained_on(recipe, tmp_path):
    path = write_fif(tmp_path / "a_raw.fif", ("C3", "C4", "Cz", "Pz"), signal="C3", broken="Pz")
    said, report = train(recipe, path)
    assert f"channel dropped: Pz, not finite in {N_TRIALS} of {N_TRIALS} trials\n" in said
    assert report["metrics"]["accuracy"] == 1.0


def test_the_options_describe_recordings_only_and_a_unit_is_a_voltage(recipe, tmp_path):
    with pytest.raises(UsageError, match="--unit and --eeg describe the files of --recording"):
        invoke("train", recipe, "--data", "synthetic", "--unit", "uV")
    with pytest.raises(UsageError, match=r"unit = 'bananas' is not a known voltage: expected \"uV\", \"mV\""):
        invoke("train", recipe, "--recording", tmp_path / "a_raw.fif", "--unit", "bananas")
    path = write_fif(tmp_path / "a_raw.fif", ("C3", "C4", "Cz"), signal="C3")
    with pytest.raises(DataError, match=r"has no channel 'AUX\*', which the setting `eeg` names"):
        invoke("train", recipe, "--recording", path, "--eeg", "AUX*")
