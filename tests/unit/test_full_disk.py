"""A full disk: the old file stays, nothing else is left, and the error says how much space there is."""

from __future__ import annotations

import json

import pytest

import factories
import report_cases
from command_line import run
from full_disk import fill, small_disk
from pretap.errors import PretapError
from pretap.files import check_writable, write_json, write_text
from pretap.recordings.mne_epochs import write_mne_epochs
from pretap.signal.scaling import Scaling
from pretap_offline.evaluate.evaluation import evaluate_trials, write_predictions
from pretap_offline.figure_style import save
from pretap_offline.lab.report.write import write_report
from pretap_offline.synthetic.command import write_competition_mat
from pretap_offline.trials.figure import draw_trials
from pretap_realtime.score.decision_file import DecisionFile
from pretap_realtime.send.log_sink import LogSink
from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Outgoing

EPOCHS = report_cases.trials()


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder):
        yield folder


def decoder(path=None):
    return factories.make_decoder(channels=EPOCHS.channels, scaling=Scaling(reference="average"), path=path)


def write_decisions(path):
    with DecisionFile(path, ("left", "right")) as file:
        file.finish({"padding": "x" * 20_000})


def draw(path):
    from matplotlib.figure import Figure

    save(Figure(), path)


def report(path):
    found = report_cases.compared(EPOCHS, path.parents[1], {"a": report_cases.LDA}, repeats=1)
    write_report(found, path, trials=None, command="pretap compare")


WRITERS = {
    "a.safetensors": decoder,
    "a.json": lambda path: write_json(path, list(range(2000))),
    "a.toml": lambda path: write_text(path, "# a comment\n" * 1000),
    "a.csv": lambda path: write_predictions(evaluate_trials(decoder(), EPOCHS), path),
    "a-trials.png": lambda path: draw_trials(EPOCHS, path),
    "a.svg": draw,
    "a.html": report,
    "a-epo.fif": lambda path: write_mne_epochs(EPOCHS, path),
    "a.mat": lambda path: write_competition_mat(path, EPOCHS, EPOCHS),
    "decisions.json": write_decisions,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new_one(name, disk):
    (disk / name).write_text("old")
    fill(disk, free_bytes=0)
    with pytest.raises(PretapError, match=r"Cannot write .*the disk is full \(0 kB are free, .*; free some space"):
        WRITERS[name](disk / name)
    assert {each.name for each in disk.iterdir()} == {name, "filler"}
    assert (disk / name).read_text() == "old"
    (disk / "filler").unlink()
    WRITERS[name](disk / name)
    assert (disk / name).stat().st_size > 3
    assert not [each for each in disk.iterdir() if each.name.startswith(".")]


def test_the_error_names_the_space_that_is_needed(disk):
    fill(disk, free_bytes=8192)
    with pytest.raises(PretapError, match=r"\(8 kB are free, 12 kB are needed\)"):
        write_text(disk / "a.toml", "x" * 12_000)


def test_a_full_disk_is_found_before_the_work_starts(disk):
    fill(disk, free_bytes=0)
    with pytest.raises(PretapError, match=r"the disk is full"):
        check_writable(disk / "a.json")
    done = run("train", "tutorial", "--data", "synthetic", "--out", str(disk / "a.safetensors"))
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert done.stdout == ""


def test_the_log_keeps_whole_lines_and_says_so(disk):
    path, said = disk / "log.jsonl", []
    fill(disk, free_bytes=4096)
    log = LogSink(path, say=said.append)
    log.send([Outgoing(Message(type="state", seq=seq, state="RUNNING", t=1.0, sent=1.25)) for seq in range(1000)])
    log.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(len(lines)))
    assert 0 < len(lines) < 1000
    assert len(said) == 1
    assert said[0].startswith(f"WARNING: the log {path} cannot be written: No space left on device.")
