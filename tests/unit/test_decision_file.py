"""DecisionFile: decisions are written as they are made, and the file appears complete or not at all."""

import json

import numpy as np
import pytest

from pretap.errors import UsageError
from pretap.progress import Pace, progress_of
from pretap_realtime.decide.policy import NONE, Verdict
from pretap_realtime.score.decision_file import DecisionFile
from pretap_realtime.signal.chunk import Decision

DECISIONS = [
    Decision(0.5, np.array([0.25, 0.75])),
    Decision(0.6, None, "gap: 3 samples lost", n_lost=3),
    Decision(0.7, np.array([1.0, 0.0]), cue="tap/left", sample=7),
]
VERDICTS = [Verdict("right", 2, command=True), Verdict(NONE, 0, command=False), Verdict("left", 1, command=True)]
ROWS = [
    {
        "t": 0.5,
        "p": {"left": 0.25, "right": 0.75},
        "why": "",
        "cue": "",
        "sample": -1,
        "label": "right",
        "command": True,
    },
    {"t": 0.6, "p": None, "why": "gap: 3 samples lost", "cue": "", "sample": -1, "label": "none", "command": False},
    {
        "t": 0.7,
        "p": {"left": 1.0, "right": 0.0},
        "why": "",
        "cue": "tap/left",
        "sample": 7,
        "label": "left",
        "command": True,
    },
]


@pytest.mark.parametrize("pieces", [[3], [1, 0, 2], [0, 3, 0], [1, 1, 1]])
def test_the_file_does_not_depend_on_how_decisions_are_grouped(tmp_path, pieces):
    path, start = tmp_path / "scored.json", 0
    with DecisionFile(path, ("left", "right")) as file:
        for n in pieces:
            file.write(DECISIONS[start : start + n], VERDICTS[start : start + n])
            start += n
        file.finish({"n_received": 7, "honest": True})
    assert json.loads(path.read_text()) == {"decisions": ROWS, "n_received": 7, "honest": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["scored.json"]


def test_without_a_decision_the_list_is_empty(tmp_path):
    with DecisionFile(tmp_path / "scored.json", ("left", "right")) as file:
        file.finish({"n_received": 0})
    assert json.loads((tmp_path / "scored.json").read_text()) == {"decisions": [], "n_received": 0}


def test_an_interrupted_run_keeps_the_old_file(tmp_path):
    path = tmp_path / "scored.json"
    path.write_text("before")
    with DecisionFile(path, ("left", "right")) as file:
        file.write(DECISIONS, VERDICTS)
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["scored.json"]


def test_a_missing_folder_is_refused_before_the_run(tmp_path):
    with pytest.raises(UsageError, match=r"Cannot write .*scored\.json: No such file or directory\."):
        DecisionFile(tmp_path / "nowhere" / "scored.json", ("left", "right"))


@pytest.mark.parametrize(
    ("total", "steps", "percents"),
    [(10, [1] * 10, range(10, 101, 10)), (100, [35, 4, 1, 60], [35, 40, 100]), (3, [3], [100])],
)
def test_progress_without_a_terminal_is_one_line_per_tenth(capsys, total, steps, percents):
    with progress_of("scoring", total=total) as advance:
        for n in steps:
            advance(n)
    assert capsys.readouterr().err.splitlines() == [f"scoring: {percent} %" for percent in percents]


def test_the_time_left_is_that_of_the_mean_step_since_the_first_one():
    pace = Pace(total=11)
    assert pace.left_s(5.0) is None
    pace.update(60.0, 1)  # a minute of imports before it
    assert pace.left_s(61.0) is None
    pace.update(64.0, 3)
    assert pace.left_s(64.0) == 16.0
    assert pace.left_s(65.0) == 15.0
    pace.update(80.0, 11)
    assert pace.left_s(81.0) == 0.0


def test_progress_is_silent_for_short_runs(capsys):
    with progress_of("scoring", total=10, patience_s=60.0) as advance:
        advance(10)
    assert capsys.readouterr().err == ""
