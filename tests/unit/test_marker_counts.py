"""`pretap markers FILE` counts what is in each source of markers, and `pretap config` prints what is shipped."""

from __future__ import annotations

import json

import mne
import numpy as np
import pytest

from command_line import invoke
from config_helpers import CONFIGS
from edf_files import Signal, annotation, write_edf
from pretap.config import load_config
from pretap.config.serve import ServeConfig
from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.continuous import open_recording
from xdf_files import write_streams


def test_each_marker_stream_of_an_xdf_file_is_counted_on_its_own_whatever_its_format(tmp_path):
    texts = {"name": "task", "kind": "Markers", "format": "string"}
    codes = {"name": "box", "kind": "Triggers", "format": "int32"}
    amp = {"name": "amp", "kind": "EEG", "format": "float32", "sfreq_hz": 100.0, "channels": [("C3", "EEG")]}
    path = write_streams(
        tmp_path / "a.xdf",
        amp | {"t_s": np.arange(100) / 100, "values": np.zeros((100, 1))},
        texts | {"t_s": [0.1, 0.2, 0.3], "values": [[b"tap/right"], [b"tap/left "], [b"tap/left"]]},
        codes | {"t_s": [0.1, 0.2], "values": [[769], [770]]},
        texts | {"name": "silent", "t_s": [], "values": []},
    )
    said = invoke("markers", path)
    assert said.splitlines() == [
        "task (id 2): 3 markers",
        "       2  'tap/left'",
        "       1  'tap/right'",
        "box (id 3): 2 markers",
        "       1  '769'",
        "       1  '770'",
        "silent (id 4): 0 markers",
    ]
    found = json.loads(invoke("markers", path, "--json", "-"))
    assert found["streams"][0] == {
        "name": "task",
        "id": "2",
        "n_markers": 3,
        "counts": {"tap/left": 2, "tap/right": 1},
    }


def test_the_annotations_of_another_format_are_counted(tmp_path):
    info = mne.create_info(["C3", "C4"], 100.0, "eeg")
    raw = mne.io.RawArray(np.zeros((2, 500)), info, verbose="error")
    raw.set_annotations(mne.Annotations([1.0, 2.0, 3.0], 0.0, ["S  1", "S  2", "S  1"]))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    assert invoke("markers", tmp_path / "a_raw.fif").splitlines() == [
        "annotations and trigger channels: 3 markers",
        "       2  'S  1'",
        "       1  'S  2'",
    ]


@pytest.mark.parametrize(("label", "unit"), [("C3", "furlong"), ("EOG", "uV"), ("Temp", "degC")])
def test_the_markers_of_a_file_are_counted_even_if_its_eeg_cannot_be_read(label, unit, tmp_path):
    path = write_edf(
        tmp_path / "a.edf",
        [Signal(label, np.zeros(300, np.int64), 100, unit)],
        onsets=["0", "1", "2"],
        annotations={1: [annotation("1.2", "tap/left"), annotation("1.5", "tap/right"), annotation("1.8", "tap/left")]},
    )
    with pytest.raises(DataError, match=r"unit|EEG"):
        open_recording(path)
    assert invoke("markers", path).splitlines() == [
        "annotations and trigger channels: 3 markers",
        "       2  'tap/left'",
        "       1  'tap/right'",
    ]


def test_a_file_without_markers_says_so_and_a_missing_one_is_bad_data(tmp_path):
    amp = {"name": "amp", "kind": "EEG", "format": "float32", "sfreq_hz": 100.0, "channels": [("C3", "EEG")]}
    path = write_streams(tmp_path / "a.xdf", amp | {"t_s": np.arange(100) / 100, "values": np.zeros((100, 1))})
    assert invoke("markers", path) == f"{path} has no marker streams.\n"
    with pytest.raises(DataError, match=r"b\.xdf does not exist"):
        invoke("markers", tmp_path / "b.xdf")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_shipped_configuration_is_printed_with_its_comments(file, tmp_path):
    said = invoke("config", file.stem)
    assert said == file.read_text(encoding="utf-8")
    copy = tmp_path / "my.toml"
    copy.write_text(said, encoding="utf-8")
    load_config(ServeConfig if file.stem == "serve" else TrainConfig, copy)


def test_all_shipped_configurations_are_listed_with_a_sentence_and_others_are_refused():
    lines = invoke("config").splitlines()
    assert [line.split()[0] for line in lines] == [file.stem for file in CONFIGS]
    assert all(line.endswith(".") for line in lines)
    with pytest.raises(UsageError, match=r"No shipped configuration 'tasp': .* Did you mean 'taps'\?$"):
        invoke("config", "tasp")


def test_the_file_name_of_a_shipped_configuration_prints_it_even_into_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taps.toml").touch()  # by the redirection of `pretap config taps.toml > taps.toml`
    assert invoke("config", "taps.toml") == invoke("config", "taps")
