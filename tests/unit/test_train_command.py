"""`pretap train` and `pretap evaluate`, one after the other, and the README's example."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap

import pytest

from command_line import ROOT, invoke
from pretap.bundle.file import load
from pretap.config.recording import RecordingConfig
from pretap.errors import DataError, UsageError
from pretap_offline.synthetic.command import simulate_raw

# `--set` arguments that make a shipped recipe, and the tutorial's, fit in a moment
FAST = [arg for item in ("signal.sfreq_hz=100", "fit.max_epochs=1", "evaluation.folds=0") for arg in ("--set", item)]
QUICK = [*FAST, "--set", "network.hidden=[3]"]


def test_the_readme_example_from_an_mne_raw_to_a_decoder_runs_unchanged(tmp_path):
    simulate_raw(seed=0, n_seconds=60.0, sfreq_hz=250.0).save(tmp_path / "monday_raw.fif", verbose="error")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE) if "recording_from_raw(" in b)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(block)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    manifest = load(tmp_path / "mine.safetensors").manifest
    assert (manifest.classes, manifest.sfreq_hz) == (("left", "right"), 250.0)
    assert f"\n{manifest.training.n_trials} trials (" in done.stdout  # after what MNE says
    probs = [float(p) for p in done.stdout.rpartition("[")[2].strip("] \n").split()]
    assert sum(probs) == pytest.approx(1, abs=1e-6)


def test_train_writes_a_bundle_and_evaluate_writes_predictions_and_figures(noise_data, tmp_path):
    path, predictions, figures = tmp_path / "b.safetensors", tmp_path / "p.csv", tmp_path / "e.json"
    said = invoke("train", "tutorial", "--data", noise_data, "--out", path, "--seed", 3, *QUICK)
    assert said.splitlines()[-1] == f"wrote {path}"
    decoder = load(path)
    assert (decoder.manifest.training.seed, decoder.manifest.training.n_trials) == (3, 12)

    said = invoke("evaluate", path, "--data", noise_data, "--predictions", predictions, "--json", figures)
    assert "no labels, so no accuracy" in said  # the test part, by default
    assert "NOT AN ESTIMATE" not in said
    rows = predictions.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "trial,predicted,p_left,p_right"
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "1", "2", "3", "4"]
    assert json.loads(figures.read_text(encoding="utf-8"))["honest"] is True

    said = invoke("evaluate", path, "--data", noise_data, "--part", "train", "--json", figures)
    assert "NOT AN ESTIMATE: 12 of 12 trials were trained on" in said
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert (content["honest"], content["scores"]["n_trials"]) == (False, 12)
    assert f"sha256        {decoder.sha256}" in invoke("inspect", path).splitlines()


def test_settings_for_recordings_are_reported_as_unused_if_trials_come_cut(noise_data, tmp_path):
    note = "only window_ms of [events], [recording] and [trials] applies to trials that are already cut"
    args = ("--data", noise_data, "--out", tmp_path / "b.safetensors", *FAST)
    assert invoke("train", "tutorial", *args, "--set", 'events.up=["1"]').splitlines()[1] == note
    assert invoke("train", "tutorial", *args, "--set", "trials.reject_uv=100").splitlines()[1] == note
    assert invoke("train", "tutorial", *args, "--set", 'recording.eeg=["EOG"]').splitlines()[1] == note
    assert load(tmp_path / "b.safetensors").manifest.training.config.recording == RecordingConfig()
    assert note not in invoke("train", "tutorial", *args)


def test_the_help_of_train_names_every_shipped_configuration():
    said = " ".join(invoke("train", "--help").split())
    shipped = {file.stem for file in (ROOT / "configs").glob("*.toml")} - {"serve"}  # the service's settings
    assert {name for name in shipped if f" {name} (" in said} == shipped


def test_trials_split_one_file_into_disjoint_parts(noise_data, tmp_path):
    path = tmp_path / "b.safetensors"
    invoke("train", "tutorial", "--data", noise_data, "--out", path, "--trials", ":8", *QUICK)
    assert load(path).manifest.training.n_trials == 8
    part = ("evaluate", path, "--data", noise_data, "--part", "train", "--trials")
    fresh = invoke(*part, "8:")
    assert fresh.startswith("4 trials: ")
    assert "NOT AN ESTIMATE" not in fresh
    assert "NOT AN ESTIMATE: 1 of 5 trials were trained on" in invoke(*part, "7:")


@pytest.mark.parametrize("trials", ["3", "", "a:b", "5:5", "100:", "1:2:3"])
def test_a_range_that_picks_no_trials_is_refused(noise_data, noise_bundle, trials):
    with pytest.raises(UsageError, match="expected A:B with at least one of the 12 trials"):
        invoke("evaluate", noise_bundle, "--data", noise_data, "--part", "train", "--trials", trials)


def test_the_test_part_has_no_labels_to_train_on_and_too_few_trials_are_refused(noise_data, tmp_path):
    with pytest.raises(DataError, match="expected at least 2 trials of each class, got 1 left, 0 right"):
        invoke("train", "tutorial", "--data", noise_data, "--out", tmp_path / "b", "--trials", ":1", *QUICK)
    assert list(tmp_path.iterdir()) == []


def test_data_comes_from_pretap_data_without_a_flag(noise_data, noise_bundle, monkeypatch):
    monkeypatch.setenv("PRETAP_DATA", str(noise_data))
    assert invoke("evaluate", noise_bundle).startswith("5 trials: ")
