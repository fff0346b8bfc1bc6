"""The estimator: the recipe to the letter, as a scikit-learn pipeline."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from pretap.config.reading import load_config
from pretap.config.train import ScalingConfig, TrainConfig
from pretap.errors import UsageError
from pretap_offline.evaluate.metrics import score
from pretap_offline.fit.estimator import make_fir, make_scaling
from pretap_offline.fit.fitting import fit_decoder
from training_cases import (
    EPOCHS,
    N_CHANNELS,
    N_SAMPLES,
    N_TRIALS,
    RECIPE,
    assert_same_weights,
    changed,
    estimator,
    trials,
    weights_of,
)

TUTORIAL = Path(__file__).parents[2] / "configs" / "tutorial.toml"


def test_the_tutorial_is_fitted_as_keras_would():
    network = estimator(load_config(TrainConfig, TUTORIAL)).named_steps["network"].initialize()
    assert type(network.optimizer_) is torch.optim.NAdam
    (group,) = network.optimizer_.param_groups
    assert (group["lr"], group["eps"], group["momentum_decay"]) == (1e-3, 1e-7, 0.004)
    assert (group["betas"], group["weight_decay"]) == ((0.9, 0.999), 0.0)
    assert (network.batch_size, network.max_epochs, network.train_split) == (20, 15, None)
    assert [layer.hidden_size for layer in network.module_.lstm] == [10, 10, 5]


def test_the_loss_is_cross_entropy_on_logits():
    config = changed(fit=msgspec.structs.replace(RECIPE.fit, max_epochs=1, batch_size=N_TRIALS))
    untrained = estimator(config).named_steps["network"]
    scaled = (
        make_scaling(config, sfreq_hz=100.0, n_window=N_SAMPLES, n_channels=N_CHANNELS)
        .apply(EPOCHS.x_uv)
        .astype(np.float32)
    )
    fitted = clone(untrained).fit(scaled, EPOCHS.labels)  # one batch, so its loss is that of the initial weights
    start = clone(untrained).set_params(lr=0.0, optimizer__weight_decay=0.0).fit(scaled, EPOCHS.labels)
    with torch.no_grad():
        logits = start.module_(torch.from_numpy(scaled)).numpy().astype(np.float64)
    picked = logits[np.arange(N_TRIALS), EPOCHS.labels]
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - picked)
    assert fitted.history[0]["train_loss"] == pytest.approx(expected, abs=1e-6)


def test_training_moves_every_weight_but_torch_s_second_bias_even_with_weight_decay():
    fitted = estimator().fit(EPOCHS.x_uv, EPOCHS.labels).named_steps["network"]
    start = clone(fitted).set_params(max_epochs=0)
    start.fit(np.zeros((2, 10, N_CHANNELS), np.float32), np.array([0, 1]))
    for name, weight in fitted.module_.export().items():
        assert not np.array_equal(weight, start.module_.export()[name]), name
    for layer in fitted.module_.lstm:
        assert torch.count_nonzero(layer.bias_hh_l0) == 0
        assert not layer.bias_hh_l0.requires_grad


def test_a_real_effect_is_learnt():
    recipe = changed(fit=msgspec.structs.replace(RECIPE.fit, max_epochs=20))
    decoder, _ = fit_decoder(EPOCHS, recipe, seed=0)
    fresh = trials(n=400, seed=99)
    assert score(fresh.labels, decoder.decode(fresh.x_uv)).accuracy >= 0.85


@pytest.mark.parametrize(
    ("scaling", "sfreq_hz", "expected"),
    [
        (ScalingConfig(), 1000.0, (0, 1)),
        (ScalingConfig(baseline_ms=50, block_ms=50), 1000.0, (50, 50)),
        (ScalingConfig(baseline_ms=50, block_ms=50), 100.0, (5, 5)),
        (ScalingConfig(baseline_ms=500, block_ms=1), 1000.0, (500, 1)),
        (ScalingConfig(baseline_ms=62.5, block_ms=7.8125), 256.0, (16, 2)),
        (ScalingConfig(baseline_ms=50, block_ms=50), 256.0, (13, 13)),  # 12.8: the nearest
        (ScalingConfig(baseline_ms=50, block_ms=50), 2048.0, (102, 102)),  # 102.4
        (ScalingConfig(baseline_ms=1, block_ms=1), 100.0, (1, 1)),  # 0.1: at least one
    ],
)
def test_milliseconds_become_samples(scaling, sfreq_hz, expected):
    made = make_scaling(changed(scaling=scaling), sfreq_hz=sfreq_hz, n_window=round(sfreq_hz / 2), n_channels=4)
    assert (made.n_baseline, made.n_block) == expected
    assert (made.reference, made.divide_uv) == (scaling.reference, scaling.divide_uv)


@pytest.mark.parametrize(
    ("field", "duration_ms", "sentence"),
    [
        ("block_ms", 210.0, "scaling.block_ms = 210 is 21 samples at 100 Hz: expected at most the window's 20"),
        ("baseline_ms", 210.0, "expected at most the window's 20"),
    ],
)
def test_durations_longer_than_the_window_are_refused(field, duration_ms, sentence):
    config = changed(scaling=ScalingConfig(**{field: duration_ms}))
    with pytest.raises(UsageError) as error:
        make_scaling(config, sfreq_hz=100.0, n_window=N_SAMPLES, n_channels=N_CHANNELS)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("sfreq_hz", "n_window", "expected", "n_steps"),
    [
        (100.0, 50, (1, 0, 5), 10),
        (1000.0, 500, (10, 59, 5), 10),
        (200.0, 100, (2, 12, 5), 10),
        (50.0, 25, (1, 0, 2), 12),  # below it: left as it is
        (199.0, 100, (1, 0, 10), 10),
        (512.0, 256, (5, 30, 5), 10),  # to 102.4 Hz
    ],
)
def test_every_rate_is_decimated_to_the_same_one_and_blocks_are_counted_there(sfreq_hz, n_window, expected, n_steps):
    config = changed(scaling=ScalingConfig(block_ms=50.0, decimate_to_hz=100.0))
    made = make_scaling(config, sfreq_hz=sfreq_hz, n_window=n_window, n_channels=4)
    assert (made.decimate, made.n_taps, made.n_block) == expected
    assert made.n_steps(n_window) == n_steps
    fir = make_fir(config, made, sfreq_hz=sfreq_hz, n_window=n_window)
    if made.n_taps:
        assert fir.shape == (len(made.filter_lengths(n_window)), made.n_taps)
        np.testing.assert_allclose(fir.sum(axis=1), 1, rtol=0, atol=1e-12)
    else:
        assert fir is None


@pytest.mark.parametrize(
    ("changes", "sfreq_hz", "sentence"),
    [
        ({"pass_hz": 60.0}, 1000.0, "expected pass_hz < stop_hz < 500"),
        (
            {"decimate_to_hz": 77.0},  # one in 12
            924.0,
            "decimate_to_hz = 77 keeps 77 samples per second: what the filter leaves below stop_hz = 48 would partly "
            "alias into the band up to pass_hz = 30. Expected decimate_to_hz of at least pass_hz + stop_hz = 78",
        ),
        (
            {"decimate_to_hz": 1.0, "pass_hz": 0.2, "stop_hz": 0.8},
            1000.0,
            "decimate_to_hz = 1 keeps one sample in 1000 at 1000 Hz, but the window has 500: expected at least 2 Hz",
        ),
        (
            {"start_ms": 600.0, "fir_ms": 600.0},
            1000.0,
            "scaling.start_ms = 600 is 600 samples at 1000 Hz: expected at most",
        ),
        (
            {"block_ms": 510.0},
            1000.0,
            "scaling.block_ms = 510 is 51 samples at 100 Hz: expected at most the window's 50",
        ),
    ],
)
def test_an_impossible_decimation_is_refused(changes, sfreq_hz, sentence):
    config = changed(scaling=ScalingConfig(**{"decimate_to_hz": 100.0} | changes))
    with pytest.raises(UsageError, match=re.escape(sentence)):
        make_scaling(config, sfreq_hz=sfreq_hz, n_window=round(sfreq_hz / 2), n_channels=4)


def test_a_rate_of_pass_hz_and_stop_hz_together_is_enough():
    config = changed(scaling=ScalingConfig(decimate_to_hz=78.0))
    assert make_scaling(config, sfreq_hz=936.0, n_window=468, n_channels=4).decimate == 12


def test_a_clone_is_unfitted_with_the_same_parameters_and_fits_to_the_same_weights():
    original = estimator(seed=3).fit(EPOCHS.x_uv, EPOCHS.labels)
    copy = clone(original)
    assert not hasattr(copy.named_steps["network"], "module_")
    assert copy.get_params()["network__random_state"] == 3
    assert copy.get_params()["network__module__spec"] == RECIPE.network
    assert_same_weights(weights_of(copy.fit(EPOCHS.x_uv, EPOCHS.labels)), weights_of(original))


def test_the_seed_is_a_parameter_like_any_other():
    by_name = estimator(seed=0).set_params(network__random_state=4).fit(EPOCHS.x_uv, EPOCHS.labels)
    assert_same_weights(weights_of(by_name), weights_of(estimator(seed=4).fit(EPOCHS.x_uv, EPOCHS.labels)))


def test_scikit_learn_cross_validates_it_and_its_probabilities_are_probabilities():
    scores = cross_val_score(estimator(), EPOCHS.x_uv, EPOCHS.labels, cv=4)
    assert scores.shape == (4,)
    np.testing.assert_array_equal(scores, cross_val_score(estimator(), EPOCHS.x_uv, EPOCHS.labels, cv=4))
    fitted = estimator().fit(EPOCHS.x_uv, EPOCHS.labels)
    probs = fitted.predict_proba(EPOCHS.x_uv)
    assert probs.shape == (N_TRIALS, 2)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(fitted.classes_, [0, 1])
    np.testing.assert_array_equal(fitted.predict(EPOCHS.x_uv), probs.argmax(axis=1))


def test_the_decoder_gives_the_estimator_s_probabilities():
    decoder, weights = fit_decoder(EPOCHS, RECIPE, seed=2)
    fitted = estimator(seed=2).fit(EPOCHS.x_uv, EPOCHS.labels)
    assert_same_weights(weights, weights_of(fitted))
    np.testing.assert_allclose(decoder.decode(EPOCHS.x_uv), fitted.predict_proba(EPOCHS.x_uv), rtol=0, atol=1e-6)
