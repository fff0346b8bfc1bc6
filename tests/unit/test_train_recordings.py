"""`pretap train --recording` and `pretap evaluate --recording`, from a file to a bundle and back."""

from __future__ import annotations

import json
from pathlib import Path

import mne
import numpy as np
import pytest
from click.testing import CliRunner

from pretap.bundle.file import load, read_bundle
from pretap.cli import pretap
from pretap.errors import DataError, UsageError
from pretap.recordings.mne_epochs import read_mne_epochs
from pretap_offline.synthetic.command import simulate_raw
from xdf_files import write_streams

QUICK = (
    "--set",
    "candidates={}",
    "--set",
    "network.kind=lrp-erd-lstm",
    "--set",
    "fit.max_epochs=2",
    "--set",
    "evaluation.folds=2",
)
CURVE = ("--set", "evaluation.learning_curve=true")


def invoke(*args: object) -> str:
    result = CliRunner().invoke(pretap, [str(arg) for arg in args])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """Two sessions of one head at 250 Hz, 60 s each."""
    folder = tmp_path_factory.mktemp("recordings")
    paths = []
    for session in (0, 1):
        paths.append(folder / f"s{session}_raw.fif")
        raw = simulate_raw(seed=0, n_seconds=60, sfreq_hz=250.0, session=session)
        raw.save(paths[-1], verbose="error")
    return paths[0], paths[1]


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory) -> Path:
    """A bundle that was trained on the first session."""
    out = tmp_path_factory.mktemp("trained") / "b.safetensors"
    invoke("train", "taps", "--recording", files[0], "--out", out, *QUICK)
    return out


def n_taps(path: Path) -> int:
    return sum(text.startswith("tap/") for text in mne.io.read_raw(path, verbose="error").annotations.description)


def test_recordings_become_a_bundle_a_picture_a_report_and_trials(files, tmp_path):
    out, report, saved = tmp_path / "b.safetensors", tmp_path / "r.json", tmp_path / "t-epo.fif"
    both = [part for path in files for part in ("--recording", path)]
    said = invoke("train", "taps", *both, "--out", out, "--json", report, "--save-trials", saved, *QUICK, *CURVE)
    n = n_taps(files[0]) + n_taps(files[1])
    assert said.startswith(f"{n} trials (")
    assert "of 125 samples, -630 to -130 ms from the event, 250 Hz\nuses 28 channels: F3, F1, Fz, " in said
    assert "2-fold blockwise cross-validation" in said
    assert "chance 0.5" in said
    assert "learning curve: " in said
    assert said.splitlines()[-2:] == [f"wrote {out}", f"wrote {report}"]
    assert (tmp_path / "b-trials.png").read_bytes().startswith(b"\x89PNG")

    manifest = load(out).manifest
    assert (manifest.classes, manifest.sfreq_hz, manifest.n_window) == (("left", "right"), 250.0, 125)
    assert (manifest.window_end_ms, manifest.training.resampled_from_hz) == (-130.0, None)
    assert manifest.training.data == "s0_raw.fif, s1_raw.fif"
    assert manifest.training.subject == "synthetic-0"
    assert manifest.training.config.events == {"left": ("tap/left",), "right": ("tap/right",)}

    content = json.loads(report.read_text())
    assert content["bundle"] == str(out)
    assert [sum(file["n_trials"]) for file in content["trials"]["files"]] == [n_taps(path) for path in files]
    assert content["metrics"]["verdict"] == manifest.metrics.verdict
    assert content["metrics"]["learning_curve"] == [list(point) for point in manifest.metrics.learning_curve]

    trials = read_mne_epochs(saved)
    assert tuple(trial[:16] for trial in trials.trial_ids) == manifest.training.trial_sha256
    assert trials.is_in_order


def test_evaluate_cuts_the_trials_of_the_training_and_recognises_them(files, trained, tmp_path):
    out, figures, saved = trained, tmp_path / "e.json", tmp_path / "t-epo.fif"
    n, other = n_taps(files[0]), n_taps(files[1])
    said = invoke("evaluate", out, "--recording", files[0], "--json", figures)
    assert f"NOT AN ESTIMATE: {n} of {n} trials were trained on" in said
    assert json.loads(figures.read_text())["honest"] is False
    said = invoke("evaluate", out, "--recording", files[1], "--save-trials", saved, "--json", figures)
    assert "NOT AN ESTIMATE" not in said
    cut = json.loads(figures.read_text())
    assert cut["honest"] is True
    assert cut["scores"]["n_trials"] == other
    invoke("evaluate", out, "--data", saved, "--json", figures)
    assert json.loads(figures.read_text())["scores"] == cut["scores"]  # from the file that was saved: the same
    assert f"NOT AN ESTIMATE: {n} of {n} trials were trained on" in invoke("score", out, files[0])
    said = invoke("score", out, files[1])  # and through the live pipeline
    assert "NOT AN ESTIMATE" not in said
    assert f"accuracy {cut['scores']['accuracy']:.3f} ({cut['scores']['n_correct']} of {other})" in said


def test_another_rate_is_resampled_as_live_data_are(files, tmp_path):
    out, figures = tmp_path / "b.safetensors", tmp_path / "e.json"
    said = invoke("train", "taps", "--recording", files[0], "--out", out, "--set", "signal.sfreq_hz=100", *QUICK)
    assert "resampled from 250 Hz" in said
    manifest = read_bundle(out).manifest
    assert (manifest.sfreq_hz, manifest.n_window, manifest.training.resampled_from_hz) == (100.0, 50, 250.0)
    n = n_taps(files[0])
    assert f"NOT AN ESTIMATE: {n} of {n} trials were trained on" in invoke("evaluate", out, "--recording", files[0])
    assert f"NOT AN ESTIMATE: {n} of {n} trials were trained on" in invoke("score", out, files[0])
    invoke("evaluate", out, "--recording", files[1], "--json", figures)
    scores = json.loads(figures.read_text())["scores"]
    said = invoke("score", out, files[1])
    assert f"accuracy {scores['accuracy']:.3f} ({scores['n_correct']} of {scores['n_trials']})" in said


def test_unusable_recordings_are_refused_before_anything_is_written(files, tmp_path):
    out = ("--out", tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match="give one of them"):
        invoke("train", "taps", "--recording", files[0], "--data", "synthetic", *out)
    with pytest.raises(UsageError, match=r"\[events\][^$]*The recordings have the markers 'tap/"):
        invoke("train", "default", "--recording", files[0], *out)
    with pytest.raises(DataError, match=r"No event of class 'left': expected markers like '769'; .* 'tap/right'"):
        invoke("train", "taps", "--recording", files[0], "--set", 'events.left=["769"]', *out)
    with pytest.raises(DataError, match="does not exist"):
        invoke("train", "taps", "--recording", tmp_path / "none_raw.fif", *out)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_events_but_with_a_trigger_channel_names_the_option(tmp_path):
    t_s, x = np.arange(500) / 100, np.random.default_rng(0).normal(0, 20, (500, 2))
    channels = [("C3", "EEG"), ("TRIG", "")]
    eeg = {"name": "amp", "kind": "EEG", "format": "float32", "sfreq_hz": 100.0, "channels": channels}
    path = write_streams(tmp_path / "a.xdf", eeg | {"t_s": t_s, "values": x})
    with pytest.raises(
        DataError, match=r"If the events are codes of a trigger channel, name it: --cue-channel TRIG\.$"
    ):
        invoke("train", "taps", "--recording", path, "--out", tmp_path / "b.safetensors")


def test_a_bundle_trained_on_trials_does_not_know_the_markers_of_recordings(files, tmp_path):
    out, saved = tmp_path / "b.safetensors", tmp_path / "t-epo.fif"
    invoke("train", "default", "--data", "synthetic", "--out", out, "--trials", ":20", *QUICK)
    with pytest.raises(UsageError, match=r"trained on trials, not on recordings: .* \(left, right\)\. Give --data"):
        invoke("evaluate", out, "--recording", files[0])
    assert not saved.exists()


def test_a_missing_channel_is_replaced_and_too_many_are_named(files, trained, tmp_path):
    out, short = trained, tmp_path / "short_raw.fif"
    raw = mne.io.read_raw(files[1], verbose="error")
    raw.drop_channels(["C3"]).save(short, verbose="error")
    assert "channel replaced by its neighbours: C3, missing from short_raw.fif" in invoke(
        "evaluate", out, "--recording", short
    )
    raw.drop_channels(["C1", "F1", "F2", "F3"]).save(short, overwrite=True, verbose="error")
    with pytest.raises(DataError, match="lacks 5 of the 28 channels of the bundle: F3, F1, F2, C3, C1"):
        invoke("evaluate", out, "--recording", short)


def test_the_picture_is_drawn_without_positions_and_with_one_channel(tmp_path):
    n = 250 * 40
    rng = np.random.default_rng(0)
    raw = mne.io.RawArray(rng.normal(0, 1e-5, (1, n)), mne.create_info(["E1"], 250.0, "eeg"), verbose="error")
    taps = np.arange(2, 38)
    raw.set_annotations(mne.Annotations(taps, 0, [("tap/left", "tap/right")[k % 2] for k in taps]), verbose="error")
    path, out = tmp_path / "one_raw.fif", tmp_path / "b.safetensors"
    raw.save(path, verbose="error")
    recipe = ("taps", "--recording", path, "--out", out, *QUICK)
    said = invoke("train", *recipe, "--set", "scaling.reference=none")
    assert "no scalp map: positions are known for 0 of 1 channel" in said
    assert "no C3 and C4: the figure shows E1" in said
    with pytest.raises(UsageError, match=r"scaling\.reference = 'average' of a single channel"):
        invoke("train", *recipe)
