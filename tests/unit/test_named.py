"""`score` and `tune` read a recording as the bundle's recipe describes it, and choose the events anew."""

from __future__ import annotations

import json

import mne
import numpy as np
import pytest
from click.testing import CliRunner

from command_line import invoke
from edf_files import Signal, write_edf
from factories import make_decoder
from pretap.cli import pretap
from pretap.config.reading import find_config
from pretap.config.recording import RecordingConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.named import open_any
from xdf_files import write_streams


def test_a_recording_is_described_by_the_recipe_and_by_the_options_that_replace_it(tmp_path):
    eeg = {
        "name": "Amp", "kind": "EEG", "format": "float32", "t_s": np.arange(500) / 100,
        "values": np.random.default_rng(0).normal(0, 20, (500, 2)),
    }  # fmt: skip
    path = str(write_streams(tmp_path / "a.xdf", eeg))  # of rate 0, without labels
    with pytest.raises(DataError, match=r"\[recording\] sfreq_hz = 100"):
        open_any(path, part="test")
    recipe = RecordingConfig(sfreq_hz=100.0, channels=("C3", "C4"), markers=("a stream of the training",))
    opened = open_any(path, part="test", recipe=recipe)
    assert (opened.sfreq_hz, opened.channels, opened.events) == (100.0, ("C3", "C4"), ())
    again = open_any(path, part="test", recipe=recipe, config=RecordingConfig(eeg=("C4",), unit="mV"))
    np.testing.assert_allclose(again.read(0, 500), 1000 * opened.read(0, 500), rtol=1e-6)
    described = RecordingConfig(unit="uV", sfreq_hz=100.0)
    assert len(open_any("synthetic:1", part="test", sfreq_hz=100.0, recipe=described).channels) == 28


def unlabelled(path, *, gain=1.0, **more):
    """Write a recording of two channels, by default without labels or a rate."""
    values = gain * np.random.default_rng(0).normal(0, 20, (500, 2))
    eeg = {"name": "Amp", "kind": "EEG", "format": "float32", "t_s": np.arange(500) / 100, "values": values}
    return write_streams(path, eeg | more)


def test_score_reads_a_recording_with_the_labels_unit_and_rate_of_the_stream(tmp_path):
    bundle = tmp_path / "b.safetensors"
    make_decoder(channels=("C3", "C4"), path=bundle)
    settings = ("channels=['C4', 'C3']", "unit=mV", "sfreq_hz=100.0")
    given = [each for setting in settings for each in ("--set", f"stream.{setting}")]
    labels = {"channels": [("C4", "EEG"), ("C3", "EEG")], "sfreq_hz": 100}
    described = unlabelled(tmp_path / "b.xdf", **labels)
    probabilities = []
    for file, options in ((unlabelled(tmp_path / "a.xdf", gain=0.001), given), (described, [])):
        decisions = tmp_path / "d.json"
        done = CliRunner().invoke(pretap, ["score", str(bundle), str(file), "--json", str(decisions), *options])
        assert done.exit_code == 0, done.output
        assert "uses 2 channels: C3, C4\n" in done.stderr
        found = json.loads(decisions.read_text())["decisions"]
        probabilities.append([each["p"]["left"] for each in found if each["p"]])
    assert len(probabilities[0]) == 91
    np.testing.assert_allclose(*probabilities, atol=1e-5)
    refused = CliRunner().invoke(pretap, ["score", str(bundle), "synthetic", *given])
    assert isinstance(refused.exception, UsageError)
    assert "channels, unit, sfreq_hz and eeg describe a continuous recording" in str(refused.exception)


def test_replay_reads_a_recording_as_a_recipe_describes_it(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(find_config("lda").read_text() + "[recording]\nchannels = ['C4', 'C3']\nsfreq_hz = 100.0\n")
    file, report = unlabelled(tmp_path / "a.xdf"), tmp_path / "report.json"
    invoke("replay", file, "--config", recipe, "--speed", 1000, "--json", report)
    assert json.loads(report.read_text())["connected"][0]["channels"] == ["C4", "C3"]


@pytest.mark.parametrize("suffix", ["xdf", "edf", "fif"])
def test_of_two_channels_of_one_electrode_the_one_with_a_signal_is_read(tmp_path, suffix):
    labels, path = ["T7", "T3", "Cz"], tmp_path / f"a_raw.{suffix}"
    x = np.random.default_rng(0).normal(0, 20, (500, 3))
    x[:, 0] = 0.0
    if suffix == "xdf":
        eeg = {"name": "Amp", "kind": "EEG", "format": "float32", "t_s": np.arange(500) / 100, "values": x}
        write_streams(path, eeg | {"sfreq_hz": 100, "channels": [(each, "EEG") for each in labels]})
    elif suffix == "edf":
        digital = np.rint(x.T * 10)
        write_edf(path, [Signal(each, row, 100, gain=0.1) for each, row in zip(labels, digital, strict=True)])
    else:
        raw = mne.io.RawArray(x.T * 1e-6, mne.create_info(labels, 100.0, "eeg"), verbose="error")
        raw.save(path, verbose="error")
    opened = open_any(str(path), part="test")
    assert (opened.channels, opened.left_out) == (("T3", "Cz"), (("T7", "the same electrode as T3"),))
