"""Blockwise cross-validation, chance, advice and learning curve: no result claims more than the trials show."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.stats import binomtest

from pretap.bundle.advice import advice
from pretap.bundle.file import load
from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, TrainConfig
from pretap.errors import DataError, UsageError
from pretap.networks import LstmSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.advice import describe
from pretap_offline.evaluate.cross_validation import cross_validate
from pretap_offline.evaluate.folds import splits
from pretap_offline.evaluate.learning_curve import FRACTIONS, SHAPES, gain_of_twice, outlook
from pretap_offline.evaluate.metrics import against_chance, wilson95
from pretap_offline.training import train

RECIPE = TrainConfig(
    network=LstmSpec(hidden=(3,)),
    scaling=ScalingConfig(baseline_ms=50.0, block_ms=50.0, divide_uv=10.0),
    fit=FitConfig(optimizer="adamw", learning_rate=2e-2, batch_size=10, max_epochs=4),
    evaluation=EvaluationConfig(folds=4),
)


def trials(
    *, n=80, effect_uv=12.0, n_classes=2, channels=("C3", "C4", "Cz"), sfreq_hz=100.0, every_s=1.0, seed=0, files=1
) -> Epochs:
    """Noise, and a shift of one channel per class that grows to `effect_uv`; half a second each, `every_s` apart."""
    rng = np.random.default_rng(seed)
    n_samples = round(0.5 * sfreq_hz)
    labels = rng.permutation(np.arange(n) % n_classes)
    x = rng.normal(0, 5, (n, n_samples, len(channels)))
    x[np.arange(n), :, labels % len(channels)] += np.linspace(0, effect_uv, n_samples)
    file = np.arange(n) * files // n
    return Epochs(
        x_uv=x.astype(np.float32),
        labels=labels,
        classes=("left", "right", "rest", "foot", "tongue")[:n_classes],
        channels=channels,
        sfreq_hz=sfreq_hz,
        window_end_ms=-130.0,
        source="noise",
        at_s=np.arange(n) * every_s - file * 1000.0,
        files=file.astype(np.int64),
    )


def changed(**evaluation) -> TrainConfig:
    return msgspec.structs.replace(RECIPE, evaluation=msgspec.structs.replace(RECIPE.evaluation, **evaluation))


# -- blocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_s", [0.1, 0.3, 0.49, 0.5, 1.0])
@pytest.mark.parametrize("files", [1, 3])
def test_each_block_is_held_out_once_and_nothing_that_overlaps_it_in_time_is_trained_on(every_s, files):
    epochs = trials(every_s=every_s, files=files)
    drawn = splits(epochs, RECIPE.evaluation, seed=0)
    assert np.concatenate([each.score_on for each in drawn]).tolist() == list(range(80))  # in time, each once
    for each in drawn:
        assert (np.diff(each.score_on) == 1).all()
        apart_s = np.abs(epochs.at_s[each.fit_on][:, None] - epochs.at_s[each.score_on][None])
        same = epochs.files[each.fit_on][:, None] == epochs.files[each.score_on][None]
        assert apart_s[same].min(initial=np.inf) >= 0.5 - 1e-9  # a window lasts 0.5 s
        left_out = set(range(80)) - set(each.fit_on) - set(each.score_on)
        for trial in left_out:  # and no more is left out than must be
            near = (np.abs(epochs.at_s[each.score_on] - epochs.at_s[trial]) < 0.5) & (
                epochs.files[each.score_on] == epochs.files[trial]
            )
            assert near.any()
        assert bool(left_out) == (every_s < 0.5)


def test_disturbing_a_trial_changes_no_other_score_of_its_block():
    """By experiment: overlapping neighbours of a block are not trained on either."""
    epochs = trials(every_s=0.3, n=40)
    before = cross_validate(epochs, RECIPE, seed=0).raw_probs[0]
    x = epochs.x_uv.copy()
    x[10] += 50.0 * np.random.default_rng(1).normal(size=x[10].shape).astype(np.float32)  # the second block's first
    after = cross_validate(replace(epochs, x_uv=x, trial_ids=()), RECIPE, seed=0).raw_probs[0]
    differs = (before != after).any(axis=1)
    assert not differs[:10].any()  # trial 10 overlaps trial 9: it was in no training of the first block
    assert not differs[11:20].any()
    assert differs[20:].all()


def test_auto_uses_blocks_if_the_order_is_known_and_random_folds_otherwise():
    epochs = trials()
    unordered = replace(epochs, at_s=None, files=None)
    assert "blockwise" in cross_validate(epochs, RECIPE, seed=0).metrics.protocol
    assert "stratified" in cross_validate(unordered, RECIPE, seed=0).metrics.protocol
    assert "stratified" in cross_validate(epochs, changed(split="stratified"), seed=0).metrics.protocol
    with pytest.raises(DataError, match="'blocks' needs trials in the order of recording"):
        splits(unordered, EvaluationConfig(split="blocks"), seed=0)
    with pytest.raises(DataError, match="'blocks' needs trials in the order of recording"):
        splits(epochs.select(np.arange(80)[::-1]), EvaluationConfig(split="blocks"), seed=0)


def test_classes_recorded_one_after_the_other_are_refused():
    epochs = trials()
    one_by_one = replace(epochs, labels=(np.arange(80) >= 60).astype(np.int64))
    with pytest.raises(DataError, match=r"time and class cannot be told apart\. Record the classes mixed"):
        splits(one_by_one, RECIPE.evaluation, seed=0)


def test_a_drift_that_random_folds_reward_gains_nothing_in_blocks():
    """Labels that come in runs and a signal that wanders: neighbours in time look alike and share their label."""
    rng = np.random.default_rng(3)
    labels = np.repeat(rng.permutation(np.arange(16) % 2), 10)
    wander = np.cumsum(rng.normal(0, 3.0, (160, 3)), axis=0)  # (n_epochs, n_channels)
    base = trials(n=160, effect_uv=0.0)
    x = base.x_uv + wander[:, None] * np.linspace(0, 1, 50)[:, None]
    epochs = replace(base, x_uv=x.astype(np.float32), labels=labels, trial_ids=())
    recipe = msgspec.structs.replace(RECIPE, network=LstmSpec(hidden=(8,)), fit=FitConfig("adamw", 2e-2, max_epochs=25))
    blocks, random = (
        cross_validate(
            epochs, msgspec.structs.replace(recipe, evaluation=EvaluationConfig(folds=8, split=split)), seed=0
        )
        for split in ("blocks", "stratified")
    )
    assert random.metrics.accuracy > blocks.metrics.accuracy + 0.1


# -- chance and advice ---------------------------------------------------------------------------------------------


def test_the_p_value_is_the_binomial_tail_at_the_share_of_the_commonest_class():
    chance, p = against_chance(9, [6, 4])
    assert chance == 0.6
    assert p == pytest.approx(10 * 0.6**9 * 0.4 + 0.6**10, rel=1e-9)
    assert against_chance(0, [6, 4])[1] == pytest.approx(1.0)


def test_shuffled_labels_are_not_distinguishable_from_chance():
    epochs = trials(n=120)
    shuffled = replace(epochs, labels=np.random.default_rng(5).permutation(epochs.labels))
    metrics = cross_validate(shuffled, RECIPE, seed=0).metrics
    assert metrics.p_chance > 0.05
    assert metrics.verdict.startswith("not distinguishable from chance (p = 0.")
    assert "do not go live yet; check electrodes and markers, or record more" in describe(metrics, ("left", "right"))


def test_a_real_effect_is_worth_going_live():
    metrics = cross_validate(trials(n=120), RECIPE, seed=0).metrics
    assert metrics.accuracy > 0.8
    assert metrics.p_chance < 1e-6
    assert metrics.verdict.startswith("going live makes sense: expect at least about ")


@pytest.mark.parametrize(
    ("n_correct", "n", "chance", "expected"),
    [
        (52, 100, 0.5, "not distinguishable from chance (p = 0.38): do not go live yet"),
        (62, 100, 0.5, "above chance but weak: expect at least about 5 of 10 correct, while guessing gets 5 of 10"),
        (26, 40, 0.5, "above chance but weak: expect at least about 9 of 20 correct, while guessing gets 5 of 10; "),
        (28, 40, 0.5, "above chance but weak: expect at least about 5 of 10 correct, while guessing gets 5 of 10; "),
        (29, 40, 0.5, "going live makes sense: expect at least about 11 of 20 correct"),
        (80, 100, 0.5, "going live makes sense: expect at least about 7 of 10 correct"),
        (349, 409, 0.5, "going live makes sense: expect at least about 8 of 10 correct"),
        (39, 40, 0.5, "going live makes sense: expect at least about 17 of 20 correct"),
        (995, 1000, 0.5, "going live makes sense: expect at least about 19 of 20 correct"),
        (55, 100, 1 / 3, "going live makes sense: expect at least about 9 of 20 correct"),
        (90, 100, 0.9, "not distinguishable from chance (p = 0.58)"),
        (
            12,
            12,
            0.5,
            "12 trials can promise nothing yet: so far the accuracy is above chance; record at least 28",
        ),
        (
            7,
            12,
            0.5,
            "12 trials can promise nothing yet: so far the accuracy is not distinguishable from chance (p",
        ),
    ],
)
def test_the_advice_promises_the_lower_end_of_the_interval_and_nothing_from_few_trials(n_correct, n, chance, expected):
    p = float(binomtest(n_correct, n, chance, alternative="greater").pvalue)
    said = advice(n_correct / n, n_trials=n, interval95=wilson95(n_correct, n), chance=chance, p_chance=p)
    assert said.startswith(expected)


def test_unbalanced_classes_show_their_balanced_accuracy():
    epochs = trials(n=100, effect_uv=0.0)
    labels = np.zeros(100, np.int64)
    labels[::8] = 1
    text = describe(cross_validate(replace(epochs, labels=labels), RECIPE, seed=0).metrics, ("left", "right"))
    assert "balanced accuracy 0.5" in text or "balanced accuracy 0.4" in text
    assert "chance 0.870" in text


# -- the learning curve --------------------------------------------------------------------------------------------


def drawn(accuracies, n=400, seed=0):
    return np.random.default_rng(seed).random((len(accuracies), n)) < np.array(accuracies)[:, None]


SIZES = np.array([80, 160, 240, 320])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gain_is_recovered_from_accuracies_that_lie_on_the_curve(shape):
    accuracies = 0.95 - 0.4 * (80 / SIZES) ** shape if shape else 0.5 + 0.1 * np.log(SIZES / 80)
    right = np.arange(10_000)[None] < (10_000 * accuracies)[:, None]
    expected = 0.4 * ((80 / 320) ** shape - (80 / 640) ** shape) if shape else 0.1 * np.log(2)
    assert gain_of_twice(SIZES, right, shape=shape) == pytest.approx(expected, abs=1e-3)


def test_the_predicted_gain_is_never_negative_and_never_leads_past_one():
    assert gain_of_twice(SIZES, drawn([0.9, 0.8, 0.7, 0.6]), shape=0.5) == 0
    steep = drawn([0.1, 0.5, 0.9, 0.97])
    assert gain_of_twice(SIZES, steep, shape=0.5) == pytest.approx(1 - steep[-1].mean())


@pytest.mark.parametrize(
    ("accuracies", "n", "expected"),
    [
        ([0.65, 0.74, 0.78, 0.80], 2000, "twice as many trials would give about 0.8"),
        ([0.80, 0.80, 0.80, 0.80], 5000, "twice as many trials would hardly help"),
        ([0.70, 0.72, 0.70, 0.72], 120, "these trials do not show whether twice as many would help"),
        ([0.60, 0.61, 0.62, 0.63], 51, "51 trials are too few to predict what more would bring"),
    ],
)
def test_the_outlook_claims_no_more_than_the_trials_show(accuracies, n, expected):
    assert outlook(SIZES, drawn(accuracies, n), rng=np.random.default_rng(0)).startswith(expected)


def test_the_learning_curve_ends_in_the_cross_validated_accuracy():
    metrics = cross_validate(trials(), changed(learning_curve=True), seed=0).metrics
    assert len(metrics.learning_curve) == len(FRACTIONS)
    assert [n for n, _ in metrics.learning_curve] == [15, 30, 45, 60] or metrics.learning_curve[-1][0] == 60
    assert metrics.learning_curve[-1][1] == metrics.accuracy
    assert metrics.outlook in describe(metrics, ("left", "right"))
    without = cross_validate(trials(), RECIPE, seed=0).metrics
    assert without.accuracy == metrics.accuracy
    assert (without.learning_curve, without.outlook) == ((), "")


# -- any shape -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_classes", "n_channels", "sfreq_hz"),
    [(3, 8, 250.0), (2, 64, 2048.0), (5, 1, 100.0), (4, 256, 512.0), (2, 2, 5000.0)],
)
def test_any_number_of_classes_and_channels_at_any_rate_trains_to_a_bundle_that_loads(
    tmp_path, n_classes, n_channels, sfreq_hz
):
    epochs = trials(n=30, n_classes=n_classes, channels=tuple(f"E{i}" for i in range(n_channels)), sfreq_hz=sfreq_hz)
    path = tmp_path / "b.safetensors"
    manifest = train(epochs, changed(folds=2), path, seed=0)
    decoder = load(path)
    assert decoder.manifest == manifest
    assert decoder.decode(epochs.x_uv[0]).shape == (n_classes,)
    assert (manifest.sfreq_hz, manifest.n_window) == (sfreq_hz, round(sfreq_hz / 2))
    assert manifest.metrics.chance == pytest.approx(-(-30 // n_classes) / 30)


def test_the_average_reference_of_one_channel_is_refused():
    scaling = msgspec.structs.replace(RECIPE.scaling, reference="average")
    with pytest.raises(UsageError, match=r"scaling\.reference = 'average' of a single channel"):
        cross_validate(trials(channels=("Cz",)), msgspec.structs.replace(RECIPE, scaling=scaling), seed=0)


def test_a_day_of_trials_fits_a_bundle(tmp_path):
    epochs = trials(n=6000, sfreq_hz=20.0, channels=("C3", "C4"))
    recipe = msgspec.structs.replace(changed(folds=0), fit=FitConfig(max_epochs=1, batch_size=500))
    train(epochs, recipe, tmp_path / "b.safetensors", seed=0)
    assert load(tmp_path / "b.safetensors").manifest.training.n_trials == 6000
