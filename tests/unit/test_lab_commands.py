"""pretap compare and pretap sweep: tables, files and errors."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace as changed

from lab_cases import GOOD, RECIPE, RECIPE_TOML, space_file, trials
from pretap.cli import pretap
from pretap.config.reading import load_config
from pretap.config.train import TrainConfig
from pretap.errors import DataError, PretapError, UsageError
from pretap.recordings.mne_epochs import write_mne_epochs
from pretap_offline.lab.bench import set_up
from pretap_offline.lab.results import Comparison, Sweep, read_results
from pretap_offline.lab.space import read_space


@pytest.fixture
def folder(tmp_path) -> Path:
    write_mne_epochs(trials(), tmp_path / "trials-epo.fif")
    for hidden in (2, 3):
        (tmp_path / f"h{hidden}.toml").write_text(RECIPE_TOML.format(hidden=hidden))
    return tmp_path


def invoke(folder: Path, *arguments: str):
    common = ["--data", str(folder / "trials-epo.fif"), "--store", str(folder / "store")]
    return CliRunner().invoke(pretap, [*arguments, *common])


def test_compare_prints_a_table_and_writes_the_same_results(folder):
    done = invoke(
        folder,
        *("compare", f"{folder}/h2.toml", f"{folder}/h3.toml", "--folds", "4", "--repeats", "2"),
        *("--json", f"{folder}/c.json"),
    )
    assert done.exit_code == 0, done.output
    found = read_results(folder / "c.json")
    assert isinstance(found, Comparison)
    assert [each.name for each in found.outcomes] == ["h2", "h3"]
    assert np.array(found.outcomes[0].probs).shape == (2, 40, 2)
    assert [len(fold.score_on) for fold in found.folds] == [10] * 8
    best = max(found.outcomes, key=lambda each: each.figures.accuracy)
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("h")]
    assert rows[0][:2] == [best.name, f"{best.figures.accuracy:.3f}"]
    assert rows[2][:2] == [best.name, "lstm"]  # the second table: what it is
    assert max(len(line) for line in done.stdout.splitlines() if line.startswith("h")) <= 80
    assert json.loads((folder / "c.json").read_bytes())["what"] == "compare"


def test_one_repeat_has_no_spread_to_print(folder):
    done = invoke(folder, "compare", f"{folder}/h2.toml", "--folds", "4", "--repeats", "1")
    assert done.exit_code == 0, done.output
    assert "±" not in done.stdout


def test_configurations_with_the_same_name_are_named_with_their_folders(folder):
    for name, hidden in (("a", 2), ("b", 3)):
        (folder / name).mkdir()
        (folder / name / "x.toml").write_text(RECIPE_TOML.format(hidden=hidden))
    done = invoke(folder, "compare", f"{folder}/a/x.toml", f"{folder}/b/x.toml", "--folds", "2", "--repeats", "1")
    assert done.exit_code == 0, done.output
    assert sorted(line.split()[0] for line in done.stdout.splitlines() if re.match("[ab]/x .*lstm", line)) == [
        "a/x",
        "b/x",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody.toml",), "No configuration 'nobody.toml'"),
        (("{f}/h2.toml", "{f}/../{n}/h2.toml"), "h2.toml is given twice"),
        (("{f}/h2.toml", "{f}/copy.toml"), "h2 and copy are the same recipe"),
        (("{f}/h2.toml", "--workers", "2", "--cluster", "tcp://127.0.0.1:1"), "give one of them"),
        (("{f}/h2.toml", "--json", "{f}/h3.toml/x.json"), r"Cannot write .*x\.json"),
        (("{f}/h2.toml", "--json", "{f}"), "is a directory"),
        (("{f}/h2.toml", "--folds", "21"), "expected at least 21 trials of each class, got 20 left, 20 right"),
    ],
)
def test_compare_refuses_bad_options_before_the_first_fit(folder, arguments, message):
    (folder / "copy.toml").write_text(RECIPE_TOML.format(hidden=2) + "[evaluation]\nfolds = 3\n")
    done = invoke(folder, "compare", *(each.format(f=folder, n=folder.name) for each in arguments))
    said = str(done.exception) if isinstance(done.exception, PretapError) else done.output
    assert re.search(message, said), said
    assert done.exit_code != 0
    assert not list(folder.rglob("*.fit"))


def test_a_cluster_that_does_not_answer_is_named(folder):
    done = invoke(folder, "compare", f"{folder}/h2.toml", "--cluster", "127.0.0.1", "--folds", "2")
    assert isinstance(done.exception, UsageError)
    assert "no dask scheduler answers" in str(done.exception)


def test_sweep_chooses_estimates_and_writes_a_recipe_that_trains(folder):
    command = (
        *("sweep", str(space_file(folder, GOOD)), "--n-candidates", "3", "--outer-folds", "2", "--inner-folds", "2"),
        *("--out", f"{folder}/best.toml", "--json"),
    )
    done = invoke(folder, *command, f"{folder}/s.json")
    assert done.exit_code == 0, done.output
    found = read_results(folder / "s.json")
    assert isinstance(found, Sweep)
    assert len(found.tried) == 3
    assert found.nll == min(each.nll for each in found.tried)
    assert [(each.repeat, each.fold) for each in found.chosen] == [(0, 0), (0, 1)]
    hits = (np.array(found.probs)[0].argmax(axis=1) == np.array(found.trials.labels)).mean()
    assert found.nested.accuracy == hits
    assert np.mean([each.accuracy for each in found.chosen]) == pytest.approx(hits)
    best = load_config(TrainConfig, folder / "best.toml")
    assert best == read_space(folder / "space.toml").config(found.values)
    assert f"nested estimate: accuracy {hits:.3f}" in done.stdout

    fits = set(folder.rglob("*.fit"))
    again = invoke(folder, *command, f"{folder}/again.json")
    assert again.exit_code == 0
    assert set(folder.rglob("*.fit")) == fits
    assert changed(read_results(folder / "again.json"), setting=found.setting) == found


def test_the_choice_of_an_outer_fold_never_saw_its_held_out_trials(folder):
    epochs = trials()
    poisoned = epochs.x_uv.copy()
    bench = set_up(epochs, [RECIPE], folds=2, repeats=1, seed=0)
    held_out = bench.folds()[0].score_on
    poisoned[held_out] = 0.0
    write_mne_epochs(replace(epochs, x_uv=poisoned, trial_ids=()), folder / "poisoned-epo.fif")
    space = str(space_file(folder, GOOD))
    chosen = []
    for name in ("trials", "poisoned"):
        options = ["--n-candidates", "2", "--outer-folds", "2", "--inner-folds", "2", "--json", f"{folder}/{name}.json"]
        data = ["--data", f"{folder}/{name}-epo.fif", "--store", str(folder / "store")]
        assert CliRunner().invoke(pretap, ["sweep", space, *options, *data]).exit_code == 0
        chosen.append(read_results(folder / f"{name}.json").chosen[0])
    assert chosen[0].inner_nll == chosen[1].inner_nll
    assert chosen[0].temperature == chosen[1].temperature
    assert chosen[0].nll != chosen[1].nll


def test_too_many_inner_folds_are_refused(folder):
    done = invoke(folder, "sweep", str(space_file(folder, GOOD)), "--outer-folds", "2", "--inner-folds", "11")
    assert isinstance(done.exception, DataError)
    assert "an outer fold leaves 10" in str(done.exception)


def test_files_that_are_not_results_are_refused(tmp_path):
    with pytest.raises(DataError, match="Cannot read"):
        read_results(tmp_path / "nothing.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"expected the JSON of `pretap compare`"):
        read_results(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"what": "compare", "more": 1}')
    with pytest.raises(DataError, match="not the results of this version's"):
        read_results(tmp_path / "a.json")
