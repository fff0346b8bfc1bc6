"""The study: interruptions change nothing, and one process owns the storage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lab_cases import GOOD, space_file
from pretap.errors import DataError, UsageError
from pretap_offline.lab.space import read_space
from pretap_offline.lab.study import Study, open_storage


def bowl(values) -> float:
    return (np.log10(values["fit.learning_rate"]) + 2) ** 2 + 0.1 * values["fit.max_epochs"]


def searched(path: Path, space, n: int, *, leave=()) -> list:
    with open_storage(path) as storage:
        study = Study("s", space, storage, seed=5)
        for number in range(n):
            trial, values = study.ask()
            if number in leave:  # the process ended without a result
                study = Study("s", space, storage, seed=5)
                trial, values = study.ask()
            study.tell(trial, bowl(values))
        return [(each.values, each.nll) for each in study.tried(n)]


def test_an_interrupted_search_picks_the_same_values_as_one_that_was_not(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    whole = searched(tmp_path / "a.sqlite", space, 14)
    assert searched(tmp_path / "b.sqlite", space, 14, leave={0, 5, 12}) == whole
    assert len({str(values) for values, _ in whole}) > 7


def test_diverged_values_are_never_the_best(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    with open_storage(tmp_path / "a.sqlite") as storage:
        study = Study("s", space, storage, seed=0)
        for nll in (None, 2.0, 1.0, None):
            trial, _ = study.ask()
            study.tell(trial, nll)
        assert study.n_finished == 4
        assert study.best(4) == study.tried(4)[2]
        with pytest.raises(DataError, match="diverged with all values"):
            study.best(1)


def test_values_that_cannot_be_built_are_never_the_best_and_keep_their_reason(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    for _ in range(2):  # the second time the study is read again
        with open_storage(tmp_path / "a.sqlite") as storage:
            study = Study("s", space, storage, seed=0)
            if not study.n_finished:
                for nll, fault in ((None, "Too short."), (2.0, ""), (None, "")):
                    study.tell(study.ask()[0], nll, fault=fault)
            assert [(each.nll, each.fault) for each in study.tried(3)] == [(None, "Too short."), (2.0, ""), (None, "")]
            assert study.best(3).nll == 2.0
            with pytest.raises(DataError, match=r"None of the 1 combinations .* the first because: Too short\."):
                study.best(1)


HOLD_STORAGE = """
import sys
from pathlib import Path
from pretap_offline.lab.study import open_storage
with open_storage(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_storage_belongs_to_one_process_until_it_ends_even_if_killed(tmp_path):
    path = tmp_path / "a.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_STORAGE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(UsageError, match=r"--storage .*a\.sqlite: another `pretap sweep` is using this file\."):
            open_storage(path).__enter__()
        holder.kill()
        holder.wait()
        with open_storage(path):
            pass


def test_a_storage_that_cannot_be_written_to_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--storage .*: cannot keep trials there: unable to open database file"):
        open_storage(tmp_path / "nowhere" / "a.sqlite").__enter__()


def test_a_file_that_is_not_a_database_is_refused_as_storage(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 100)
    with (
        pytest.raises(UsageError, match=r"--storage .*a\.sqlite: cannot keep trials there"),
        open_storage(tmp_path / "a.sqlite"),
    ):
        pass
