"""BIDS folders, written by mne-bids: the files of a selection, events and channels of the tables, and training."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import mne
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from pretap.bundle.file import load
from pretap.cli import pretap
from pretap.config.recording import RecordingConfig
from pretap.config.train import EvaluationConfig, TrainConfig
from pretap.errors import DataError, UsageError
from pretap.networks import CspSpec
from pretap.recordings.bids import expand
from pretap.recordings.continuous import open_recording
from pretap_offline.synthetic.command import simulate_raw
from pretap_offline.training import train
from pretap_offline.trials.cut import cut_trials
from pretap_offline.trials.source import cut_recordings
from trial_cases import changed

mne_bids = pytest.importorskip("mne_bids", reason="needs mne-bids")

# Subject, task, run and format of each recording; each has 20 s of a synthetic head.
RECORDINGS = (
    ("01", "taps", "2", "BrainVision"),
    ("01", "taps", "10", "BrainVision"),
    ("01", "rest", "1", "BrainVision"),
    ("02", "taps", "1", "EDF"),
    ("02", "rest", "1", "EDF"),
)


@pytest.fixture(scope="module")
def bids(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bids")
    for session, (subject, task, run, kind) in enumerate(RECORDINGS):
        raw = simulate_raw(seed=int(subject), n_seconds=20.0, sfreq_hz=200.0, session=session)
        raw.info["line_freq"] = 50.0
        path = mne_bids.BIDSPath(root=root, subject=subject, task=task, run=run, datatype="eeg")
        mne_bids.write_raw_bids(raw, path, allow_preload=True, format=kind, verbose="error")
    return root


def folder(root: Path, subject: str) -> Path:
    return root / f"sub-{subject}" / "eeg"


def edit_table(path: Path, change) -> None:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    for row in rows:
        change(row)
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0].keys(), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def editable(bids, tmp_path) -> Path:
    """A folder with one recording of each format, whose tables a test may change."""
    shutil.copytree(bids, tmp_path / "copy", ignore=shutil.ignore_patterns("*task-rest*", "*run-10*"))
    return tmp_path / "copy"


def test_a_selection_is_its_files_in_the_order_of_their_numbers(bids):
    found = expand([Path("a.xdf"), Path(f"bids:{bids}?subject=01&task=taps")])
    names = [f"sub-01_task-taps_run-{run}_eeg.vhdr" for run in (2, 10)]
    assert found == [Path("a.xdf"), *(Path(f"bids:{folder(bids, '01') / name}") for name in names)]
    assert len(expand([Path(f"bids:{bids}")])) == len(RECORDINGS)
    assert expand([Path(f"bids:{bids}?subject=sub-01&run=02")]) == found[1:2]


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("?subject=03", DataError, r"5 recordings: subject 01, 02; task rest, taps; run 1, 2, 10"),
        ("?subjct=01", UsageError, r"a key of subject, session, task, acquisition, run.*'subject'"),
        ("/nowhere", DataError, "does not exist"),
    ],
)
def test_a_selection_that_fits_nothing_says_what_there_is(bids, query, error, message):
    with pytest.raises(error, match=message):
        expand([Path(f"bids:{bids}{query}")])


def test_several_recordings_cannot_be_read_as_one(bids):
    with pytest.raises(UsageError, match=r"selects 2 recordings .*add run= or session="):
        open_recording(Path(f"bids:{bids}?subject=01&task=taps"))


@pytest.mark.parametrize(("subject", "run"), [("01", "2"), ("02", "1")])
def test_the_trials_are_those_of_the_plain_file(bids, subject, run):
    selected = open_recording(Path(f"bids:{bids}?subject={subject}&task=taps&run={run}"))
    (file,) = (each for kind in ("vhdr", "edf") for each in folder(bids, subject).glob(f"*taps_run-{run}_eeg.{kind}"))
    plain = open_recording(file)
    events = {"left": ("tap/left", "S  1"), "right": ("tap/right", "S  2")}  # BrainVision has codes
    config = msgspec.structs.replace(changed(window_ms=(-630.0, -130.0)), events=events)
    found, _ = cut_trials([selected], config)
    wanted, _ = cut_trials([plain], config)
    np.testing.assert_array_equal(found.x_uv, wanted.x_uv)
    assert found.labels.tolist() == wanted.labels.tolist()
    assert (found.channels, found.trial_ids) == (wanted.channels, wanted.trial_ids)
    assert len(found) > 5
    assert selected.subject == f"sub-{subject}"


def test_events_and_channels_are_those_of_mne_bids(bids):
    found = open_recording(Path(f"bids:{bids}?subject=02&task=taps"))
    path = mne_bids.BIDSPath(root=bids, subject="02", task="taps", run="1", datatype="eeg")
    raw = mne_bids.read_raw_bids(path, verbose="error")
    samples, codes = mne.events_from_annotations(raw, verbose="error")
    name_of = {code: name for name, code in codes.items()}
    assert [(event.sample, event.text) for event in found.events] == [(s, name_of[code]) for s, _, code in samples]
    assert list(found.channels) == raw.ch_names
    np.testing.assert_allclose(found.read(0, 500), 1e6 * raw.get_data(stop=500).T, rtol=0, atol=1e-3)


@pytest.mark.parametrize("subject", ["01", "02"])
def test_the_tables_choose_events_and_channels(editable, subject):
    (channels,), (events,) = (folder(editable, subject).glob(f"*_{what}.tsv") for what in ("channels", "events"))
    changes = {"C3": {"status": "bad", "status_description": "loose"}, "O1": {"type": "EOG"}}
    edit_table(channels, lambda row: row.update(changes.get(row["name"], {})))
    edit_table(events, lambda row: row.update(trial_type="n/a", value="7", onset=str(float(row["onset"]) + 0.5)))
    name = Path(f"bids:{editable}?subject={subject}")
    found = open_recording(name)
    (file,) = (each for kind in ("vhdr", "edf") for each in folder(editable, subject).glob(f"*.{kind}"))
    plain = open_recording(file)
    assert set(plain.channels) - set(found.channels) == {"C3", "O1"}
    assert dict(found.left_out) == {"C3": "bad in channels.tsv: loose", "O1": "its type is EOG in channels.tsv"}
    kept = [plain.channels.index(each) for each in found.channels]
    np.testing.assert_array_equal(found.read(100, 200), plain.read(100, 200)[:, kept])
    texts = {event.text for event in found.events}
    assert texts == {"7"}
    assert [event.sample for event in found.events] == [event.sample + 100 for event in plain.events]
    with_eog = open_recording(name, config=RecordingConfig(eeg=("O1",)))
    assert set(plain.channels) - set(with_eog.channels) == {"C3"}


def test_the_unit_of_the_table_counts_if_the_file_has_none(editable):
    (file,) = folder(editable, "02").glob("*.edf")
    before = open_recording(Path(f"bids:{editable}?subject=02")).read(0, 100)
    content = bytearray(file.read_bytes())
    n_signals = int(content[252:256])
    start = 256 + (16 + 80) * n_signals  # of the units, 8 bytes each
    content[start : start + 8 * n_signals] = b" " * 8 * n_signals
    file.write_bytes(content)
    (channels,) = folder(editable, "02").glob("*_channels.tsv")
    edit_table(channels, lambda row: row.update(units="mV"))
    after = open_recording(Path(f"bids:{editable}?subject=02")).read(0, 100)
    np.testing.assert_allclose(after, 1000 * before, rtol=1e-5)


def test_a_table_that_lacks_its_columns_is_refused(editable):
    (events,) = folder(editable, "01").glob("*_events.tsv")
    events.write_text("time\ttrial_type\n1.0\ttap/left\n")
    with pytest.raises(DataError, match="no column 'onset'"):
        open_recording(Path(f"bids:{editable}?subject=01"))
    events.write_text("onset\ttrial_type\nsoon\ttap/left\n")
    with pytest.raises(DataError, match="onset 'soon'"):
        open_recording(Path(f"bids:{editable}?subject=01"))


def test_a_folder_trains_a_decoder_and_scores_another_recording(bids, tmp_path):
    bundle = tmp_path / "mine.safetensors"

    def run(*arguments: str):
        done = CliRunner().invoke(pretap, arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    selected = f"bids:{bids}?subject=01&task=taps"
    csp = TrainConfig(
        network=CspSpec(filters=4),
        events={"left": ("tap/left",), "right": ("tap/right",)},
        evaluation=EvaluationConfig(folds=0),
    )
    epochs, _ = cut_recordings([Path(selected)], csp, stream=None)
    train(epochs, csp, bundle, seed=0, progress=False)
    assert load(bundle).manifest.training.data.count("sub-01_task-taps") == 2
    assert "accuracy" in run("evaluate", str(bundle), "--recording", f"{selected}&run=2")
    assert "'tap/left'" in run("markers", f"{selected}&run=2")
    assert "decisions" in run("score", str(bundle), f"{selected}&run=2")
