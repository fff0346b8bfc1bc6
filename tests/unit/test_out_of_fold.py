"""Cross-validation: no trial is scored by a model that was fitted on it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from sklearn.model_selection import RepeatedStratifiedKFold

from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, TrainConfig
from pretap.networks import LstmSpec
from pretap_offline.evaluate.calibration import fit_temperature
from pretap_offline.evaluate.cross_validation import cross_validate
from pretap_offline.evaluate.metrics import score, wilson95
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.training import train
from training_cases import EPOCHS, N_SAMPLES, N_TRIALS, RECIPE, changed, trials


def test_the_bundle_carries_the_temperature_of_the_whole_cross_validation(tmp_path, validation):
    manifest = train(EPOCHS, RECIPE, tmp_path / "b.safetensors", seed=0)
    assert manifest.temperature == validation.temperature == fit_temperature(validation.raw_probs, EPOCHS.labels)
    assert manifest.temperature != 1.0
    unscaled = changed(fit=msgspec.structs.replace(RECIPE.fit, calibrate=False))
    plain = cross_validate(EPOCHS, unscaled, seed=0)
    assert plain.temperature == 1.0
    np.testing.assert_array_equal(plain.probs, validation.raw_probs)
    np.testing.assert_array_equal(plain.probs.argmax(axis=2), validation.probs.argmax(axis=2))


def folds_of(seed: int) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """(fit_on, score_on) of each fold of each repeat."""
    splitter = RepeatedStratifiedKFold(n_splits=4, n_repeats=2, random_state=seed)
    splits = list(splitter.split(np.zeros(N_TRIALS), EPOCHS.labels))
    return [splits[:4], splits[4:]]


@pytest.fixture(scope="module")
def validation():
    return cross_validate(EPOCHS, RECIPE, seed=0)


def test_each_trial_is_scored_once_per_repeat_by_the_decoder_fitted_on_the_other_folds(validation):
    assert validation.probs.shape == (2, N_TRIALS, 2)
    for repeat, folds in enumerate(folds_of(seed=0)):
        assert sorted(np.concatenate([score_on for _, score_on in folds])) == list(range(N_TRIALS))
        for fit_on, score_on in folds:
            assert not set(fit_on) & set(score_on)
            decoder, _ = fit_decoder(EPOCHS.select(fit_on), RECIPE, seed=0 + repeat)
            training = decoder.manifest.training
            assert training.count_known(EPOCHS.trial_ids[i] for i in fit_on) == len(fit_on)
            assert training.count_known(EPOCHS.trial_ids[i] for i in score_on) == 0
            np.testing.assert_array_equal(validation.raw_probs[repeat, score_on], decoder.decode(EPOCHS.x_uv[score_on]))


def test_disturbing_a_trial_changes_no_score_of_its_own_fold_and_every_score_of_the_others(validation):
    """Trial 17 trained the models of all folds but its own, so only their scores change."""
    disturbed = EPOCHS.x_uv.copy()
    disturbed[17, :, 0] += np.linspace(-40, 40, N_SAMPLES)
    again = cross_validate(replace(EPOCHS, x_uv=disturbed, trial_ids=()), RECIPE, seed=0)
    for repeat, folds in enumerate(folds_of(seed=0)):
        (fold,) = (set(score_on) for _, score_on in folds if 17 in score_on)
        differs = (again.raw_probs[repeat] != validation.raw_probs[repeat]).any(axis=1)
        assert set(np.flatnonzero(~differs)) == fold - {17}


def test_a_network_that_memorises_coin_tosses_scores_at_chance():
    coins = replace(trials(effect_uv=0.0), labels=np.random.default_rng(8).permutation(EPOCHS.labels))
    recipe = TrainConfig(
        network=LstmSpec(hidden=(16,)),
        signal=RECIPE.signal,
        scaling=ScalingConfig(divide_uv=5.0),
        fit=FitConfig(optimizer="adamw", learning_rate=3e-2, batch_size=10, max_epochs=40),
        evaluation=EvaluationConfig(folds=4),
    )
    decoder, _ = fit_decoder(coins, recipe, seed=0)
    assert score(coins.labels, decoder.decode(coins.x_uv)).accuracy == 1.0  # learnt by heart
    metrics = cross_validate(coins, recipe, seed=0).metrics
    assert metrics.accuracy_ci95[0] < 0.5
    assert metrics.accuracy < 0.75


def test_the_metrics_are_the_means_over_the_repeats(validation):
    repeats = [score(EPOCHS.labels, probs) for probs in validation.probs]
    metrics = validation.metrics
    assert metrics.accuracy == pytest.approx(np.mean([s.accuracy for s in repeats]), abs=1e-15)
    assert metrics.accuracy_sd == pytest.approx(np.std([s.accuracy for s in repeats], ddof=1), abs=1e-15)
    assert metrics.kappa == pytest.approx(np.mean([s.kappa for s in repeats]), abs=1e-15)
    assert metrics.nll == pytest.approx(np.mean([s.nll for s in repeats]), abs=1e-15)
    assert metrics.n_trials == N_TRIALS  # the interval counts trials, not trials times repeats
    assert metrics.accuracy_ci95 == wilson95(round(metrics.accuracy * N_TRIALS), N_TRIALS)
    assert metrics.protocol.startswith("4-fold stratified cross-validation, 2 repeats, ")
