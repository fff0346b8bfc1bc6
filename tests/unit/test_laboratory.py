"""compare and sweep: the same folds for all, every fit kept once, nothing chosen on what it is scored on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from msgspec.structs import replace as changed

from pretap.cli import pretap
from pretap.config.reading import load_config
from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, TrainConfig
from pretap.errors import DataError, PretapError, UsageError
from pretap.networks import LrpErdLstmSpec, LstmSpec
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import write_mne_epochs
from pretap_offline.evaluate.calibration import fit_temperature, with_temperature
from pretap_offline.evaluate.cross_validation import Split, calibrated, cross_validate, part_of, splits
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.lab import fits as lab_fits
from pretap_offline.lab.compare import compare, plan
from pretap_offline.lab.summary import corrected_t, differences
from pretap_offline.lab.fits import Fit, Fitted, code_version, data_sha256, run_fit, versions
from pretap_offline.lab.bench import draw, set_up
from pretap_offline.lab.results import Comparison, Sweep, read_results
from pretap_offline.lab.running import open_laboratory
from pretap_offline.lab.fits import source_sha256
from pretap_offline.lab.space import Choices, Space, read_space
from pretap_offline.lab.store import Store
from pretap_offline.lab.study import Study, open_storage
from pretap_offline.lab.sweep import configs_of, sweep
from pretap_offline.lab.table import print_sweep
from pretap_offline.training import prepare

RECIPE = TrainConfig(
    network=LstmSpec(hidden=(2,)),
    scaling=ScalingConfig(block_ms=100.0, divide_uv=10.0),
    fit=FitConfig(optimizer="adamw", learning_rate=3e-2, batch_size=10, max_epochs=2, calibrate=False),
)
OTHER = changed(RECIPE, network=LstmSpec(hidden=(3,)))
RECIPE_TOML = """
[scaling]
block_ms = 100.0
divide_uv = 10.0
[network]
kind = "lstm"
hidden = [{hidden}]
[fit]
optimizer = "adamw"
learning_rate = 3e-2
batch_size = 10
max_epochs = 2
"""


def trials(*, n=40, effect_uv=15.0, n_classes=2, in_order=False, seed=0) -> Epochs:
    """Half a second of noise at 100 Hz, and a shift of one channel for each class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % n_classes)
    x = rng.normal(0, 5, (n, 50, 3))
    x[np.arange(n), :, labels] += np.linspace(0, effect_uv, 50)
    return Epochs(
        x_uv=x.astype(np.float32),
        labels=labels,
        classes=("left", "right", "foot")[:n_classes],
        channels=("C3", "C4", "Cz"),
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="noise",
        at_s=np.arange(n) * 2.0 if in_order else None,
    )


def ran(bench, store: Store):
    """A way to run fits here, which counts those that were not in the store."""
    fresh = []

    def run(wanted: list[Fit]) -> list[Fitted]:
        fresh.append(len({fit.key for fit in wanted}) - store.count({fit.key for fit in wanted}))
        with open_laboratory(store, n_workers=1, cluster=None) as laboratory:
            return laboratory.run(wanted, bench.epochs)

    return run, fresh


def compared(epochs: Epochs, store: Store, configs=None, *, folds=4, repeats=1, seed=0, **options):
    configs = configs or {"a": RECIPE}
    bench = set_up(epochs, list(configs.values()), folds=folds, repeats=repeats, seed=seed)
    run, fresh = ran(bench, store)
    return compare(plan(bench, configs, **options), run, files=dict.fromkeys(configs, "")), sum(fresh)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


# -- the store -----------------------------------------------------------------------------------------------------

FITTED = Fitted(((0.1, 0.9), (1 / 3, 2 / 3)), 0.5, 12)


def test_a_kept_fit_comes_back_bit_for_bit(store):
    store.put("ab" * 32, FITTED)
    assert store.get("ab" * 32) == FITTED
    assert store.get("cd" * 32) is None


def test_a_damaged_fit_counts_as_missing_wherever_the_damage_is(store):
    store.put("ab" * 32, FITTED)
    [file] = store.folder.rglob("*.fit")
    content = file.read_bytes()
    for at in range(len(content)):
        file.write_bytes(content[:at])
        assert store.get("ab" * 32) is None
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert store.get("ab" * 32) is None
    store.put("ab" * 32, FITTED)
    assert store.get("ab" * 32) == FITTED


def test_a_store_that_cannot_be_written_to_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"Cannot write to --store .*store: Not a directory\."):
        Store(tmp_path / "file" / "store")


# -- what identifies a fit -----------------------------------------------------------------------------------------


def a_fit(**change) -> Fit:
    fields = {"config": RECIPE, "fit_on": np.arange(8), "score_on": np.array([8]), "seed": 0, "shuffle": None}
    return Fit(**(fields | {"data": "d", "code": "c"} | change))


@pytest.mark.parametrize(
    "change",
    [
        {"config": OTHER},
        {"fit_on": np.arange(7)},
        {"score_on": np.array([9])},
        {"seed": 1},
        {"shuffle": 0},
        {"data": "e"},
        {"code": "e"},
    ],
)
def test_a_fit_is_another_one_when_anything_it_depends_on_changes(change):
    assert a_fit().key == a_fit().key
    assert a_fit(**change).key != a_fit().key


def test_how_a_recipe_is_evaluated_does_not_change_its_fits(store):
    _, fresh = compared(trials(), store)
    assert fresh == 4
    _, fresh = compared(trials(), store, {"b": changed(RECIPE, evaluation=EvaluationConfig(folds=7, repeats=3))})
    assert fresh == 0


def test_trials_are_others_when_a_sample_a_label_or_a_name_is():
    epochs = trials()
    other = epochs.x_uv.copy()
    other[3, 2, 1] += 1e-3
    labels = epochs.labels.copy()
    labels[0] = 1 - labels[0]
    variants = [
        epochs,
        replace(epochs, x_uv=other),
        replace(epochs, labels=labels),
        replace(epochs, channels=("C3", "C4", "Pz")),
        replace(epochs, sfreq_hz=50.0),
    ]
    assert len({data_sha256(each) for each in variants}) == 5
    assert data_sha256(replace(epochs, source="another file")) == data_sha256(epochs)


def test_the_code_of_a_fit_is_what_it_imports_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "fits_probe"
    package.mkdir()
    for name, text in {"__init__": "", "a": "def f():\n    from fits_probe import b", "b": "X = 1", "c": ""}.items():
        (package / f"{name}.py").write_text(text)

    def of_a() -> str:
        return source_sha256("fits_probe.a", packages=frozenset({"fits_probe"}))

    before = of_a()
    (package / "c.py").write_text("Y = 2")
    assert of_a() == before
    (package / "b.py").write_text("X = 2")
    assert of_a() != before


def test_the_libraries_of_every_kind_are_known_and_one_that_is_missing_is_said():
    assert {"mne", "numpy", "pyriemann", "scikit-learn", "scipy", "skorch", "torch"} == versions().keys()
    assert versions(("numpy", "no-such-library")) == {"numpy": np.__version__, "no-such-library": "not installed"}


def test_the_parameters_of_a_fit_are_those_of_its_bundle_and_no_fixed_filter_is_among_them():
    epochs = prepare(trials(), changed(RECIPE, signal=changed(RECIPE.signal, sfreq_hz=250.0)))
    scaling = ScalingConfig(divide_uv=10.0, decimate_to_hz=100.0)
    for config in (RECIPE, changed(RECIPE, scaling=scaling)):
        fit = a_fit(config=config, fit_on=np.arange(30), code=code_version())
        decoder, _ = fit_decoder(epochs.select(fit.fit_on), config, seed=0)
        assert decoder.manifest.streaming.n_parameters == 54
        assert run_fit(fit, epochs).n_parameters == 54


def test_a_worker_with_other_code_is_refused_by_name():
    with pytest.raises(
        UsageError, match=r"A worker runs pretap .*, this command 0\.0\.0\+old: install the same version"
    ):
        run_fit(a_fit(code="0.0.0+old"), trials())


# -- compare -------------------------------------------------------------------------------------------------------


def test_the_out_of_fold_probabilities_are_those_of_cross_validate(store):
    epochs = trials()
    found, _ = compared(epochs, store, folds=4, repeats=2, seed=3)
    config = changed(RECIPE, evaluation=EvaluationConfig(folds=4, repeats=2))
    assert np.array_equal(found.outcomes[0].raw_probs, cross_validate(epochs, config, seed=3).probs)


def test_every_configuration_is_scored_on_the_same_folds(store):
    bench = set_up(trials(), [RECIPE, OTHER], folds=4, repeats=2, seed=0)
    planned = plan(bench, {"a": RECIPE, "b": OTHER})
    first, second = planned.fits()[:8], planned.fits()[8:]
    for a, b in zip(first, second, strict=True):
        assert (a.config, b.config) == (RECIPE, OTHER)
        assert a.fit_on.tolist() == b.fit_on.tolist()
        assert a.score_on.tolist() == b.score_on.tolist()
        assert a.seed == b.seed
    assert [fit.seed for fit in first] == [0] * 4 + [1] * 4
    assert first[0].score_on.tolist() != first[4].score_on.tolist()


def test_more_repeats_and_another_configuration_cost_only_their_own_fits(store):
    assert compared(trials(), store, repeats=1)[1] == 4
    assert compared(trials(), store, repeats=2)[1] == 4
    assert compared(trials(), store, {"a": RECIPE, "b": OTHER}, repeats=2)[1] == 8


def test_a_damaged_file_costs_its_fit_and_changes_nothing(store):
    before, _ = compared(trials(), store)
    file = sorted(store.folder.rglob("*.fit"))[1]
    file.write_bytes(file.read_bytes()[:-5])
    after, fresh = compared(trials(), store)
    assert fresh == 1
    assert after.outcomes[0].raw_probs == before.outcomes[0].raw_probs


def test_trials_in_order_are_held_out_in_blocks_for_all(store):
    found, _ = compared(trials(in_order=True), store)
    assert found.setting.blockwise
    assert [fold.score_on for fold in found.folds] == [tuple(range(i, i + 10)) for i in (0, 10, 20, 30)]


def test_configurations_that_want_other_folds_are_refused():
    shuffled = changed(OTHER, evaluation=EvaluationConfig(split="stratified"))
    with pytest.raises(UsageError, match=r"evaluation\.split differs .*\(auto, stratified\)"):
        set_up(trials(in_order=True), [RECIPE, shuffled], folds=4, repeats=1, seed=0)
    assert set_up(trials(), [RECIPE, shuffled], folds=4, repeats=1, seed=0).evaluation.split == "stratified"


def test_a_recipe_at_its_own_rate_is_fitted_on_trials_of_that_rate(store):
    slow = changed(RECIPE, signal=changed(RECIPE.signal, sfreq_hz=50.0))
    bench = set_up(trials(), [RECIPE, slow], folds=4, repeats=1, seed=0)
    assert {rate: each.n_samples for rate, each in bench.epochs.items()} == {None: 50, 50.0: 25}
    found, fresh = compared(trials(), store, {"a": RECIPE, "b": slow})
    assert fresh == 8
    assert found.trials.sfreq_hz == 100.0


def test_a_recipe_that_is_not_calibrated_shares_its_fits_with_one_that_is(store):
    warm = changed(RECIPE, fit=changed(RECIPE.fit, calibrate=True))
    found, fresh = compared(trials(), store, {"raw": RECIPE, "warm": warm})
    assert fresh == 4
    raw, scaled = found.outcomes
    assert raw.probs == raw.raw_probs == scaled.raw_probs
    assert scaled.probs != scaled.raw_probs


def test_temperature_is_fitted_on_the_other_folds():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(40) % 2)
    right = rng.uniform(0.05, 0.95, 40)
    raw = np.where(labels[:, None] == [0, 1], right[:, None], 1 - right[:, None])[None]  # (1, 40, 2)
    folds = [Split(0, np.delete(np.arange(40), part), part) for part in np.split(np.arange(40), 4)]
    scaled, _ = calibrated(raw, labels, folds)
    for fold in folds:
        expected = fit_temperature(raw[0, fold.fit_on], labels[fold.fit_on])
        assert scaled[0, fold.score_on] == pytest.approx(with_temperature(raw[0, fold.score_on], expected))
    assert np.abs(scaled - raw).max() > 1e-3


def test_permuted_labels_leave_nothing_and_give_the_p_value(store):
    longer = changed(RECIPE, fit=changed(RECIPE.fit, max_epochs=15))
    found, fresh = compared(trials(effect_uv=60.0), store, {"a": longer}, permutations=4)
    assert fresh == 4 + 4 * 4
    [each] = found.outcomes
    assert each.figures.accuracy == 1.0
    assert max(each.permutations.accuracies) < 1.0
    assert each.permutations.p == 1 / 5


def test_permutations_keep_the_number_of_each_class_and_are_split_anew():
    bench = set_up(trials(), [RECIPE], folds=4, repeats=3, seed=0)
    shuffled = lab_fits.permuted(bench.trials, seed=1)
    assert np.bincount(shuffled.labels).tolist() == [20, 20]
    assert (shuffled.labels != bench.labels).any()
    folds = draw(bench, RECIPE, shuffle=1)
    assert len(folds) == 4
    assert all(np.bincount(shuffled.labels[fold.score_on]).tolist() == [5, 5] for fold in folds)


def test_the_learning_curve_fits_on_a_share_of_each_class_and_ends_at_the_whole(store):
    found, fresh = compared(trials(), store, learning_curve=True)
    assert fresh == 16
    [each] = found.outcomes
    assert [point.n_trials for point in each.learning_curve] == [8, 16, 22, 30]  # of 15 a class: 4, 8, 11
    assert each.learning_curve[-1].accuracy == each.figures.accuracy


def test_a_part_of_a_fold_is_a_run_of_its_trials():
    bench = set_up(trials(in_order=True), [RECIPE], folds=4, repeats=1, seed=0)
    fold = draw(bench, RECIPE)[0]
    part = part_of(fold, bench.labels, 0.5, start=7)
    assert set(part.fit_on) < set(fold.fit_on)
    assert 17 in part.fit_on  # trials 0 to 9 are held out
    assert np.bincount(bench.labels[part.fit_on]).tolist() == [
        round(0.5 * n) for n in np.bincount(bench.labels[fold.fit_on])
    ]


@pytest.mark.parametrize(("in_order", "n_folds"), [(True, 4), (False, 8)])
def test_repeats_are_new_folds_to_the_t_test_only_where_they_draw_new_folds(in_order, n_folds):
    epochs = trials(in_order=in_order)
    config = changed(RECIPE, evaluation=EvaluationConfig(folds=4, repeats=2))
    drawn = splits(epochs, config, seed=0)
    right = np.random.default_rng(0).uniform(0.1, 0.9, (2, 2, 40))  # of two recipes, (n_repeats, n_trials) each
    probs = {
        name: np.where(epochs.labels[:, None] == [0, 1], p[..., None], 1 - p[..., None])
        for name, p in zip("ab", right, strict=True)
    }
    gains = [
        float(np.log(right[0, each.repeat, each.score_on] / right[1, each.repeat, each.score_on]).mean())
        for each in drawn
    ]
    gains = np.mean(np.reshape(gains, (2, 4)), axis=0) if in_order else np.array(gains)
    assert len(gains) == n_folds
    mean, interval, p = corrected_t(gains, ratio=1 / 3)
    [found] = differences(epochs.labels, drawn, probs)
    assert (found.nll, *found.nll_ci95, found.nll_p) == pytest.approx((mean, *interval, p))


def test_three_classes_have_all_figures(store):
    found, _ = compared(trials(n=48, n_classes=3), store)
    f = found.outcomes[0].figures
    assert 0 <= f.auc <= 1
    assert f.intercept is None


def test_a_fit_that_failed_is_an_error_that_names_the_recipe():
    bench = set_up(trials(), [RECIPE], folds=4, repeats=1, seed=0)
    failed = changed(FITTED, probs=(), error="Training diverged: lower the rate.")
    with pytest.raises(DataError, match=r"wild: 4 of 4 fits failed\. Training diverged: lower the rate\."):
        compare(plan(bench, {"wild": RECIPE}), lambda wanted: [failed] * len(wanted), files={"wild": ""})


# -- the space of a sweep ------------------------------------------------------------------------------------------


def space_file(folder: Path, text: str, base: str = "base.toml") -> Path:
    (folder / "base.toml").write_text(RECIPE_TOML.format(hidden=2))
    path = folder / "space.toml"
    path.write_text(f'base = "{base}"\n{text}')
    return path


GOOD = """
[space]
"fit.learning_rate" = { low = 1e-3, high = 1e-1, log = true }
fit.max_epochs = { low = 1, high = 3 }
"network.hidden" = [[2], [3]]
"""


def test_a_space_names_dotted_keys_as_toml_can_write_them(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    assert list(space.axes) == ["fit.learning_rate", "fit.max_epochs", "network.hidden"]
    config = space.config({"fit.learning_rate": 0.01, "network.hidden": [3]})
    assert config.fit.learning_rate == 0.01
    assert config.fit.max_epochs == 2
    assert config.network.hidden == (3,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected base = .* and a table \[space\]"),
        ("[space]", r"expected base = .* and a table \[space\]"),
        ("bass = 1\n[space]\nfit.max_epochs = [1, 2]", "got bass"),
        ("[space]\nfit.max_epoch = [1, 2]", r"fit\.max_epoch = 1: Object contains unknown field `max_epoch`"),
        ("[space]\nfitt.max_epochs = [1, 2]", r"fitt\.max_epochs = 1: fitt\.max_epochs: the recipe has no such table"),
        ("[space]\nfit.max_epochs = [1, 2.5]", r"fit\.max_epochs = 2\.5: Expected `int`, got `float`"),
        ("[space]\nfit.max_epochs = { low = 0, high = 3 }", r"fit\.max_epochs = 0: Expected `int` >= 1"),
        ("[space]\nfit.max_epochs = { low = 3, high = 3 }", "expected low < high, got 3 and 3"),
        ("[space]\nfit.weight_decay = { low = 0.0, high = 1.0, log = true }", "log needs low > 0, got 0"),
        ("[space]\nfit.max_epochs = { low = 1, high = 3, step = 3 }", "expected a step above 0 that fits"),
        ("[space]\nfit.max_epochs = { low = 1, high = 4, step = 1, log = true }", "log and step cannot be combined"),
        ("[space]\nfit.max_epochs = { low = 1 }", r"missing required field `high`"),
        ("[space]\nfit.max_epochs = { low = 1, high = 2, hight = 3 }", "unknown field `hight`"),
        ("[space]\nfit.max_epochs = 3", r"fit\.max_epochs: expected { low, high } or a list of choices"),
        ("[space]\nfit.max_epochs = [3]", "expected at least two different choices"),
        ("[space]\nfit.max_epochs = {}", "got an empty table"),
        ("[space]\nevaluation.folds = [3, 4]", r"evaluation\.folds does not affect the fit"),
        ("[space]\nsignal.sfreq_hz = { low = 50, high = 100 }", "expected a list of rates"),
        ("[space", "is not valid TOML"),
    ],
)
def test_a_bad_space_is_refused_with_its_key(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_space(space_file(tmp_path, text))


def test_a_space_of_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No configuration 'nobody'"):
        read_space(space_file(tmp_path, GOOD, base="nobody"))


# -- the study -----------------------------------------------------------------------------------------------------


def bowl(values) -> float:
    return (np.log10(values["fit.learning_rate"]) + 2) ** 2 + 0.1 * values["fit.max_epochs"]


def searched(path: Path, space, n: int, *, leave=()) -> list:
    with open_storage(path) as storage:
        study = Study("s", space, storage, seed=5)
        for number in range(n):
            trial, values = study.ask()
            if number in leave:  # the process is gone: nobody tells
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


def test_a_storage_where_nothing_can_be_written_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--storage .*: cannot keep trials there: unable to open database file"):
        open_storage(tmp_path / "nowhere" / "a.sqlite").__enter__()


def test_a_storage_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "a.sqlite").write_bytes(b"no database" * 100)
    with (
        pytest.raises(UsageError, match=r"--storage .*a\.sqlite: cannot keep trials there"),
        open_storage(tmp_path / "a.sqlite"),
    ):
        pass


# -- the search ----------------------------------------------------------------------------------------------------


def fake(fits: list[Fit]) -> list[Fitted]:
    """Results as good as their key is random."""
    found = []
    for fit in fits:
        p = np.random.default_rng(int(fit.key[:8], 16)).uniform(0.2, 0.8, len(fit.score_on))
        found.append(Fitted(tuple(zip(p.tolist(), (1 - p).tolist(), strict=True)), 0.0, 1))
    return found


def swept(storage: Path, space, epochs: Epochs, *, folds: int, repeats: int = 1, n_trials: int = 3, run=fake) -> Sweep:
    bench = set_up(epochs, configs_of(space), folds=folds, repeats=repeats, seed=0)
    with open_storage(storage) as opened:
        return sweep(bench, space, run, opened, n_trials=n_trials, n_inner=2, advance=lambda: None)


def test_every_outer_fold_of_every_repeat_has_a_search_of_its_own_also_in_blocks(tmp_path):
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


def test_what_a_sweep_chooses_does_not_depend_on_what_its_storage_saw_before(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    fresh = swept(tmp_path / "fresh.sqlite", space, trials(), folds=2)
    alone = swept(tmp_path / "used.sqlite", space, trials(), folds=0)
    after = swept(tmp_path / "used.sqlite", space, trials(), folds=2)
    assert fresh.tried == alone.tried == after.tried
    assert changed(after, setting=fresh.setting) == fresh


def test_values_that_exclude_each_other_are_tried_and_never_chosen(tmp_path):
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


def test_a_sweep_says_how_many_combinations_could_not_be_built_and_why(tmp_path, capsys):
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


# -- the commands --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    write_mne_epochs(trials(), tmp_path / "trials-epo.fif")
    for hidden in (2, 3):
        (tmp_path / f"h{hidden}.toml").write_text(RECIPE_TOML.format(hidden=hidden))
    return tmp_path


def invoke(folder: Path, *arguments: str):
    common = ["--data", str(folder / "trials-epo.fif"), "--store", str(folder / "store")]
    return CliRunner().invoke(pretap, [*arguments, *common])


def test_compare_prints_a_table_and_writes_what_the_table_says(folder):
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


def test_configurations_with_one_name_are_told_apart_by_their_folders(folder):
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
def test_compare_refuses_before_it_works(folder, arguments, message):
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
    held_out = draw(bench, RECIPE)[0].score_on
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


def test_results_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="Cannot read"):
        read_results(tmp_path / "nothing.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"expected the JSON of `pretap compare`"):
        read_results(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"what": "compare", "more": 1}')
    with pytest.raises(DataError, match="not the results of this version's"):
        read_results(tmp_path / "a.json")


def test_the_version_of_the_code_names_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\+[0-9a-f]{16}", code_version())
