"""compare: all configurations share the folds, and every fit runs once."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace as changed

from lab_cases import FITTED, OTHER, RECIPE, compared, trials
from pretap.config.train import EvaluationConfig
from pretap.errors import DataError, UsageError
from pretap_offline.evaluate.calibration import fit_temperature, with_temperature
from pretap_offline.evaluate.cross_validation import calibrated, cross_validate, part_of
from pretap_offline.evaluate.folds import Split, splits
from pretap_offline.lab import fits as lab_fits
from pretap_offline.lab.bench import set_up
from pretap_offline.lab.compare import compare, plan
from pretap_offline.lab.summary import corrected_t, differences


def test_how_a_recipe_is_evaluated_does_not_change_its_fits(fit_store):
    _, fresh = compared(trials(), fit_store)
    assert fresh == 4
    _, fresh = compared(trials(), fit_store, {"b": changed(RECIPE, evaluation=EvaluationConfig(folds=7, repeats=3))})
    assert fresh == 0


def test_the_out_of_fold_probabilities_are_those_of_cross_validate(fit_store):
    epochs = trials()
    found, _ = compared(epochs, fit_store, folds=4, repeats=2, seed=3)
    config = changed(RECIPE, evaluation=EvaluationConfig(folds=4, repeats=2))
    assert np.array_equal(found.outcomes[0].raw_probs, cross_validate(epochs, config, seed=3).probs)


def test_every_configuration_is_scored_on_the_same_folds(fit_store):
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


def test_more_repeats_and_another_configuration_cost_only_their_own_fits(fit_store):
    assert compared(trials(), fit_store, repeats=1)[1] == 4
    assert compared(trials(), fit_store, repeats=2)[1] == 4
    assert compared(trials(), fit_store, {"a": RECIPE, "b": OTHER}, repeats=2)[1] == 8


def test_a_damaged_file_costs_its_fit_and_changes_nothing(fit_store):
    before, _ = compared(trials(), fit_store)
    file = sorted(fit_store.folder.rglob("*.fit"))[1]
    file.write_bytes(file.read_bytes()[:-5])
    after, fresh = compared(trials(), fit_store)
    assert fresh == 1
    assert after.outcomes[0].raw_probs == before.outcomes[0].raw_probs


def test_trials_in_order_are_held_out_in_blocks_for_all(fit_store):
    found, _ = compared(trials(in_order=True), fit_store)
    assert found.setting.blockwise
    assert [fold.score_on for fold in found.folds] == [tuple(range(i, i + 10)) for i in (0, 10, 20, 30)]


def test_configurations_that_want_other_folds_are_refused():
    shuffled = changed(OTHER, evaluation=EvaluationConfig(split="stratified"))
    with pytest.raises(UsageError, match=r"evaluation\.split differs .*\(auto, stratified\)"):
        set_up(trials(in_order=True), [RECIPE, shuffled], folds=4, repeats=1, seed=0)
    assert set_up(trials(), [RECIPE, shuffled], folds=4, repeats=1, seed=0).evaluation.split == "stratified"


def test_a_recipe_at_its_own_rate_is_fitted_on_trials_of_that_rate(fit_store):
    slow = changed(RECIPE, signal=changed(RECIPE.signal, sfreq_hz=50.0))
    bench = set_up(trials(), [RECIPE, slow], folds=4, repeats=1, seed=0)
    assert {rate: each.n_samples for rate, each in bench.epochs.items()} == {None: 50, 50.0: 25}
    found, fresh = compared(trials(), fit_store, {"a": RECIPE, "b": slow})
    assert fresh == 8
    assert found.trials.sfreq_hz == 100.0


def test_a_recipe_that_is_not_calibrated_shares_its_fits_with_one_that_is(fit_store):
    warm = changed(RECIPE, fit=changed(RECIPE.fit, calibrate=True))
    found, fresh = compared(trials(), fit_store, {"raw": RECIPE, "warm": warm})
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


def test_permuted_labels_cannot_be_decoded_and_give_the_p_value(fit_store):
    longer = changed(RECIPE, fit=changed(RECIPE.fit, max_epochs=15))
    found, fresh = compared(trials(effect_uv=60.0), fit_store, {"a": longer}, permutations=4)
    assert fresh == 4 + 4 * 4
    [each] = found.outcomes
    assert each.figures.accuracy == 1.0
    assert max(each.permutations.accuracies) < 1.0
    assert each.permutations.p == 1 / 5


def test_permutations_keep_the_number_of_each_class_and_are_split_again():
    bench = set_up(trials(), [RECIPE], folds=4, repeats=3, seed=0)
    shuffled = lab_fits.permuted(bench.trials, seed=1)
    assert np.bincount(shuffled.labels).tolist() == [20, 20]
    assert (shuffled.labels != bench.labels).any()
    folds = bench.permuted(1).folds()
    assert len(folds) == 4
    assert all(np.bincount(shuffled.labels[fold.score_on]).tolist() == [5, 5] for fold in folds)


def test_the_learning_curve_fits_on_a_share_of_each_class_and_ends_at_the_whole(fit_store):
    found, fresh = compared(trials(), fit_store, learning_curve=True)
    assert fresh == 16
    [each] = found.outcomes
    assert [point.n_trials for point in each.learning_curve] == [8, 16, 22, 30]  # of 15 a class: 4, 8, 11
    assert each.learning_curve[-1].accuracy == each.figures.accuracy


def test_a_part_of_a_fold_is_a_run_of_its_trials():
    bench = set_up(trials(in_order=True), [RECIPE], folds=4, repeats=1, seed=0)
    fold = bench.folds()[0]
    part = part_of(fold, bench.labels, 0.5, start=7)
    assert set(part.fit_on) < set(fold.fit_on)
    assert 17 in part.fit_on  # trials 0 to 9 are held out
    assert np.bincount(bench.labels[part.fit_on]).tolist() == [
        round(0.5 * n) for n in np.bincount(bench.labels[fold.fit_on])
    ]


@pytest.mark.parametrize(("in_order", "n_folds"), [(True, 4), (False, 8)])
def test_repeats_count_as_new_folds_in_the_t_test_only_if_they_draw_new_folds(in_order, n_folds):
    epochs = trials(in_order=in_order)
    drawn = splits(epochs, EvaluationConfig(folds=4, repeats=2), seed=0)
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


def test_three_classes_have_all_scores(fit_store):
    found, _ = compared(trials(n=48, n_classes=3), fit_store)
    f = found.outcomes[0].figures
    assert 0 <= f.auc <= 1
    assert f.intercept is None


def test_a_fit_that_failed_is_an_error_that_names_the_recipe():
    bench = set_up(trials(), [RECIPE], folds=4, repeats=1, seed=0)
    failed = changed(FITTED, probs=[], error="Training diverged: lower the rate.")
    with pytest.raises(DataError, match=r"wild: 4 of 4 fits failed\. Training diverged: lower the rate\."):
        compare(plan(bench, {"wild": RECIPE}), lambda wanted: [failed] * len(wanted), files={"wild": ""})
