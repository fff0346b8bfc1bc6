"""sweep: each outer fold has its own search, and nothing depends on the history of the storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from msgspec.structs import replace as changed

from lab_cases import GOOD, RECIPE, space_file, trials
from pretap.config.train import ScalingConfig
from pretap.errors import UsageError
from pretap.networks import LrpErdLstmSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.lab.bench import set_up
from pretap_offline.lab.fits import Fit, Fitted
from pretap_offline.lab.results import Sweep
from pretap_offline.lab.space import Choices, Space, read_space
from pretap_offline.lab.study import open_storage
from pretap_offline.lab.sweep import configs_of, sweep
from pretap_offline.lab.table import print_sweep


def fake(fits: list[Fit]) -> list[Fitted]:
    """Return results whose quality depends on the key of the fit."""
    found = []
    for fit in fits:
        p = np.random.default_rng(int(fit.key[:8], 16)).uniform(0.2, 0.8, len(fit.score_on))
        found.append(Fitted(np.stack([p, 1 - p], axis=1).tolist(), 0.0, 1))
    return found


def swept(storage: Path, space, epochs: Epochs, *, folds: int, repeats: int = 1, n_trials: int = 3, run=fake) -> Sweep:
    bench = set_up(epochs, configs_of(space), folds=folds, repeats=repeats, seed=0)
    with open_storage(storage) as opened:
        return sweep(bench, space, run, opened, n_trials=n_trials, n_inner=2, advance=lambda: None)


def test_every_outer_fold_of_every_repeat_has_its_own_search_also_in_blocks(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    fits: list[Fit] = []

    def run(wanted: list[Fit]) -> list[Fitted]:
        fits.extend(wanted)
        return fake(wanted)

    found = swept(tmp_path / "a.sqlite", space, trials(in_order=True), folds=2, repeats=2, n_trials=4, run=run)
    searches = (2 * 2 + 1) * 4 * 2  # each with 4 trials of 2 inner folds
    assert len(fits) == searches + 4 * 2 + 4  # then the inner folds of the 4 choices, and the choices themselves
    assert [(each.repeat, each.fold) for each in found.chosen] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    with open_storage(tmp_path / "a.sqlite") as opened:
        assert [each.n_trials for each in optuna.get_all_study_summaries(opened)] == [4] * 5


def test_the_choice_of_a_sweep_does_not_depend_on_the_history_of_its_storage(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    fresh = swept(tmp_path / "fresh.sqlite", space, trials(), folds=2)
    alone = swept(tmp_path / "used.sqlite", space, trials(), folds=0)
    after = swept(tmp_path / "used.sqlite", space, trials(), folds=2)
    assert fresh.tried == alone.tried == after.tried
    assert changed(after, setting=fresh.setting) == fresh


def test_values_that_cannot_be_combined_are_tried_but_never_chosen(tmp_path):
    base = changed(RECIPE, network=LrpErdLstmSpec(blocks=2, band_hz=(1.0, 4.0)), scaling=ScalingConfig(divide_uv=10.0))
    # 500 ms in blocks of 100 ms are 5 steps: too few for 10 blocks of steps.
    space = Space(base, "x", {"scaling.block_ms": Choices((0.0, 100.0)), "network.blocks": Choices((2, 10))})
    found = swept(tmp_path / "a.sqlite", space, trials(), folds=0, n_trials=20)
    assert {bool(each.fault) for each in found.tried} == {True, False}
    for each in found.tried:
        excluded = each.values == {"scaling.block_ms": 100.0, "network.blocks": 10}
        assert (each.nll is None) == excluded
        assert each.fault.startswith("network.blocks = 10: expected at most the 5 steps") == excluded
    again = swept(tmp_path / "a.sqlite", space, trials(), folds=0, n_trials=20)
    assert changed(again, setting=found.setting) == found


def test_a_single_value_that_cannot_be_built_is_refused_before_anything_is_fitted(tmp_path):
    space = read_space(space_file(tmp_path, "[space]\nscaling.block_ms = [100.0, 600.0]"))

    def run(wanted: list[Fit]) -> list[Fitted]:
        raise AssertionError

    with pytest.raises(
        UsageError, match=r"\[space\] scaling\.block_ms = 600\.0: scaling\.block_ms = 600 is 60 samples"
    ):
        swept(tmp_path / "a.sqlite", space, trials(), folds=0, run=run)


def test_a_sweep_prints_how_many_combinations_could_not_be_built_and_why(tmp_path, capsys):
    space = read_space(space_file(tmp_path, GOOD))
    found = swept(tmp_path / "a.sqlite", space, trials(), folds=0)
    first, *others = found.tried
    tried = (
        first,
        changed(first, nll=None),
        *(changed(each, nll=None, fault=f"Why {i}.") for i, each in enumerate(others)),
    )
    print_sweep(changed(found, tried=tried))
    said = capsys.readouterr().out
    assert "optimistic because it is the best of 4 (1 diverged)\n" in said
    assert "2 combinations could not be built, the first because: Why 0.\n" in said
