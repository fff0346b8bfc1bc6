"""Training: the recipe to the letter, the same bits from the same seed, and no trial scored by a model that saw it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

from pretap import __version__
from pretap.bundle.file import load, read_bundle
from pretap.config.reading import load_config
from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, SignalConfig, TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.networks import LdaSpec, LstmSpec, softmax
from pretap.recordings.epochs import Epochs, trial_sha256
from pretap_offline.evaluate.calibration import fit_temperature
from pretap_offline.evaluate.cross_validation import cross_validate
from pretap_offline.evaluate.metrics import score, wilson95
from pretap_offline.fit.estimator import make_estimator, make_fir, make_scaling
from pretap_offline.fit.fitting import fit, fit_decoder, make_manifest, n_advances
from pretap_offline.training import prepare, train

N_TRIALS, N_SAMPLES, N_CHANNELS = 40, 20, 4
RECIPE = TrainConfig(
    network=LstmSpec(hidden=(4,)),
    signal=SignalConfig(sfreq_hz=100.0),
    scaling=ScalingConfig(reference="average", baseline_ms=50.0, block_ms=20.0, divide_uv=10.0),
    fit=FitConfig(optimizer="adamw", learning_rate=2e-2, weight_decay=1e-2, batch_size=8, max_epochs=3),
    evaluation=EvaluationConfig(folds=4, repeats=2),
)
TUTORIAL = Path(__file__).parents[2] / "configs" / "tutorial.toml"


def trials(seed: int = 0, *, effect_uv: float = 4.0, n: int = N_TRIALS) -> Epochs:
    """Noise, and a slow shift that lateralises by `effect_uv` over the first two channels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    ramp = np.linspace(0, effect_uv, N_SAMPLES)[:, None]
    x = rng.normal(0, 5, (n, N_SAMPLES, N_CHANNELS))
    x += np.where(labels[:, None, None] == 1, 1, -1) * ramp * np.array([1, -1, 0, 0])
    return Epochs(
        x_uv=x.astype(np.float32),
        labels=labels,
        classes=("left", "right"),
        channels=("C3", "C4", "Cz", "Fz"),
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="synthetic trials",
        subject="synthetic-0",
    )


EPOCHS = trials()


def changed(**fields) -> TrainConfig:
    return msgspec.structs.replace(RECIPE, **fields)


def estimator(config: TrainConfig = RECIPE, *, seed: int = 0):
    scaling = make_scaling(config, sfreq_hz=100.0, n_window=N_SAMPLES, n_channels=N_CHANNELS)
    return make_estimator(config, scaling, like=EPOCHS, seed=seed)


def weights_of(fitted) -> dict[str, np.ndarray]:
    return fitted.named_steps["network"].module_.export()


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# -- the recipe ----------------------------------------------------------------------------------------------------


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


def test_an_effect_that_is_there_is_learnt():
    recipe = changed(fit=msgspec.structs.replace(RECIPE.fit, max_epochs=20))
    decoder, _ = fit_decoder(EPOCHS, recipe, seed=0)
    fresh = trials(seed=99)
    assert score(fresh.labels, decoder.decode(fresh.x_uv)).accuracy >= 0.9


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
def test_every_rate_is_decimated_to_one_and_blocks_are_counted_there(sfreq_hz, n_window, expected, n_steps):
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
def test_a_decimation_that_cannot_be_is_refused(changes, sfreq_hz, sentence):
    config = changed(scaling=ScalingConfig(**{"decimate_to_hz": 100.0} | changes))
    with pytest.raises(UsageError, match=re.escape(sentence)):
        make_scaling(config, sfreq_hz=sfreq_hz, n_window=round(sfreq_hz / 2), n_channels=4)


def test_a_rate_of_pass_hz_and_stop_hz_together_is_enough():
    config = changed(scaling=ScalingConfig(decimate_to_hz=78.0))
    assert make_scaling(config, sfreq_hz=936.0, n_window=468, n_channels=4).decimate == 12


@pytest.mark.parametrize(
    ("recipe", "sfreq_hz", "sentence"),
    [
        (
            {"network": LstmSpec(hidden=(256, 256)), "fit": FitConfig(members=64)},
            100.0,
            "tensors take 203031488 bytes: it holds at most 16777216",
        ),
        (
            {"network": LdaSpec(), "scaling": ScalingConfig(decimate_to_hz=50_000.0)},
            100_000.0,
            "window of 20000 samples takes a matrix of 200000000 numbers: expected at most 16777216",
        ),
    ],
)
def test_what_no_bundle_could_hold_is_refused_before_anything_is_fitted(tmp_path, recipe, sfreq_hz, sentence):
    epochs = replace(EPOCHS, sfreq_hz=sfreq_hz)
    if sfreq_hz != 100.0:
        epochs = replace(epochs, x_uv=np.tile(EPOCHS.x_uv, (1, 1000, 1)))  # the same again and again: 20000 samples
    config = changed(**recipe, signal=SignalConfig())
    fits = []
    with pytest.raises(UsageError, match=sentence):
        train(epochs, config, tmp_path / "b", seed=0, advance=lambda: fits.append(1))
    assert (fits, list(tmp_path.iterdir())) == ([], [])


# -- ensembles and temperature -------------------------------------------------------------------------------------


def test_an_ensemble_is_the_softmax_of_its_members_mean_logits_over_the_temperature(tmp_path):
    recipe = changed(fit=msgspec.structs.replace(RECIPE.fit, members=3))
    _, tensors = fit_decoder(EPOCHS, recipe, seed=5)
    scaling = make_scaling(recipe, sfreq_hz=100.0, n_window=N_SAMPLES, n_channels=N_CHANNELS)
    x = scaling.apply(EPOCHS.x_uv[0])
    members = [{n.removeprefix(f"members.{i}."): t for n, t in tensors.items() if n[8] == str(i)} for i in range(3)]
    logits = [RECIPE.network.engine(member)(x) for member in members]
    expected = softmax(np.mean(logits, axis=0, dtype=np.float64) / 2.5)
    manifest = train(EPOCHS, changed(fit=recipe.fit, evaluation=EvaluationConfig(folds=0)), tmp_path / "b", seed=5)
    assert (manifest.n_members, manifest.temperature) == (3, 1.0)
    for engine in ("numpy", "torch"):
        loaded = load(tmp_path / "b", engine=engine)
        warm = Decoder(msgspec.structs.replace(loaded.manifest, temperature=2.5), tensors, engine=engine)
        np.testing.assert_allclose(warm.decode(EPOCHS.x_uv[0]), expected, rtol=0, atol=1e-6)
    single = fit_decoder(EPOCHS, RECIPE, seed=5)[1]
    assert_same_weights(members[0], single)  # the first member is the network of that seed
    assert not np.array_equal(members[1]["dense.weight"], members[2]["dense.weight"])


def test_an_ensemble_counts_every_epoch_of_every_member():
    calls = []
    recipe = changed(fit=msgspec.structs.replace(RECIPE.fit, members=2))
    fit(EPOCHS, make_manifest(EPOCHS, recipe, seed=0), advance=lambda: calls.append(1))
    assert len(calls) == n_advances(recipe) == 2 * RECIPE.fit.max_epochs


def test_the_bundle_carries_the_temperature_of_the_whole_cross_validation(tmp_path, validation):
    manifest = train(EPOCHS, RECIPE, tmp_path / "b.safetensors", seed=0)
    together = validation.raw_probs.reshape(-1, 2)
    assert manifest.temperature == validation.temperature == fit_temperature(together, np.tile(EPOCHS.labels, 2))
    assert manifest.temperature != 1.0
    unscaled = changed(fit=msgspec.structs.replace(RECIPE.fit, calibrate=False))
    plain = cross_validate(EPOCHS, unscaled, seed=0)
    assert plain.temperature == 1.0
    np.testing.assert_array_equal(plain.probs, validation.raw_probs)
    np.testing.assert_array_equal(plain.probs.argmax(axis=2), validation.probs.argmax(axis=2))


# -- the same seed, the same bits ----------------------------------------------------------------------------------


def bundle_bytes(path: Path, *, seed: int = 0) -> bytes:
    train(EPOCHS, RECIPE, path, seed=seed)
    return path.read_bytes()


def test_one_seed_gives_one_bundle_and_another_seed_another(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1577836800")
    files = [bundle_bytes(tmp_path / f"{i}.safetensors", seed=seed) for i, seed in enumerate((5, 5, 6))]
    assert files[0] == files[1]
    one, two = (read_bundle(tmp_path / f"{i}.safetensors") for i in (0, 2))
    for name in one.tensors:
        if name.startswith("lstm"):
            assert not np.array_equal(one.tensors[name], two.tensors[name])
    assert (one.manifest.training.seed, two.manifest.training.seed) == (5, 6)
    assert one.manifest.created == "2020-01-01"


def test_on_another_day_nothing_differs_but_the_date(tmp_path, monkeypatch):
    bundles = []
    for epoch in ("0", "1577836800"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        path = tmp_path / f"{epoch}.safetensors"
        bundle_bytes(path)
        bundles.append(read_bundle(path))
    one, other = bundles
    assert (one.manifest.created, other.manifest.created) == ("1970-01-01", "2020-01-01")
    assert msgspec.structs.replace(one.manifest, created="2020-01-01") == other.manifest
    assert_same_weights(one.tensors, other.tensors)


def test_without_a_given_date_two_runs_differ_in_nothing_but_the_date(tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        bundle_bytes(path)
    one, other = map(read_bundle, paths)
    assert msgspec.structs.replace(one.manifest, created="") == msgspec.structs.replace(other.manifest, created="")
    assert_same_weights(one.tensors, other.tensors)


@pytest.mark.parametrize("epoch", ["yesterday", "1" * 30, "1.5"])
def test_a_malformed_date_is_refused(monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match=f"SOURCE_DATE_EPOCH = '{epoch}': expected seconds since 1970"):
        fit_decoder(EPOCHS, RECIPE, seed=0)


def test_training_draws_nothing_from_anybody_s_global_generators_and_heeds_none(tmp_path):
    torch_before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads_before = torch.get_num_threads()
    first = estimator().fit(EPOCHS.x_uv, EPOCHS.labels)
    train(EPOCHS, RECIPE, tmp_path / "b.safetensors", seed=0)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.get_num_threads() == threads_before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        again = estimator().fit(EPOCHS.x_uv, EPOCHS.labels)
    assert_same_weights(weights_of(first), weights_of(again))


def test_a_failed_fit_leaves_the_generator_and_the_threads_as_they_were():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    with pytest.raises(RuntimeError, match="input_size"):
        estimator().fit(EPOCHS.x_uv[:, :, :2], EPOCHS.labels)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_fitting_twice_starts_afresh():
    twice = estimator().fit(trials(seed=7).x_uv, EPOCHS.labels).fit(EPOCHS.x_uv, EPOCHS.labels)
    assert_same_weights(weights_of(twice), weights_of(estimator().fit(EPOCHS.x_uv, EPOCHS.labels)))


# -- scikit-learn --------------------------------------------------------------------------------------------------


def test_a_clone_is_unfitted_with_the_same_parameters_and_fits_to_the_same_weights():
    original = estimator(seed=3).fit(EPOCHS.x_uv, EPOCHS.labels)
    copy = clone(original)
    assert not hasattr(copy.named_steps["network"], "module_")
    assert copy.get_params()["network__random_state"] == 3
    assert copy.get_params()["network__module__spec"] == RECIPE.network
    assert_same_weights(weights_of(copy.fit(EPOCHS.x_uv, EPOCHS.labels)), weights_of(original))


def test_its_seed_is_a_parameter_like_any_other():
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


# -- cross-validation ----------------------------------------------------------------------------------------------


def folds_of(seed: int) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """(fit_on, score_on) of each fold of each repeat."""
    splitter = RepeatedStratifiedKFold(n_splits=4, n_repeats=2, random_state=seed)
    splits = list(splitter.split(np.zeros(N_TRIALS), EPOCHS.labels))
    return [splits[:4], splits[4:]]


@pytest.fixture(scope="module")
def validation():
    return cross_validate(EPOCHS, RECIPE, seed=0)


def test_each_trial_is_scored_once_a_repeat_by_the_decoder_fitted_on_the_other_folds(validation):
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
    """By experiment: who was scored by a model that saw trial 17? Nobody of its fold, and everybody else."""
    disturbed = EPOCHS.x_uv.copy()
    disturbed[17, :, 0] += np.linspace(-40, 40, N_SAMPLES)
    again = cross_validate(replace(EPOCHS, x_uv=disturbed, trial_ids=()), RECIPE, seed=0)
    for repeat, folds in enumerate(folds_of(seed=0)):
        (fold,) = (set(score_on) for _, score_on in folds if 17 in score_on)
        differs = (again.raw_probs[repeat] != validation.raw_probs[repeat]).any(axis=1)
        assert set(np.flatnonzero(~differs)) == fold - {17}


def test_a_network_that_memorises_coin_tosses_is_not_praised_for_it():
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
    assert metrics.protocol.startswith("4-fold stratified cross-validation, 2 repeat(s), ")


def test_progress_is_told_once_a_fold_and_once_an_epoch_of_the_final_fit(tmp_path):
    calls = []
    train(EPOCHS, RECIPE, tmp_path / "b.safetensors", seed=0, advance=lambda: calls.append(1))
    assert len(calls) == 4 * 2 + 3


def test_without_folds_nothing_is_measured_and_nothing_is_claimed(tmp_path):
    manifest = train(EPOCHS, changed(evaluation=EvaluationConfig(folds=0)), tmp_path / "b.safetensors", seed=0)
    assert manifest.metrics is None
    assert read_bundle(tmp_path / "b.safetensors").manifest.metrics is None


# -- the bundle's account of itself --------------------------------------------------------------------------------


def test_the_manifest_says_what_the_weights_were_made_from(tmp_path):
    path = tmp_path / "b.safetensors"
    manifest = train(EPOCHS, RECIPE, path, seed=11)
    decoder = load(path)
    assert decoder.manifest == manifest
    training = manifest.training
    assert training.trial_sha256 == tuple(trial_sha256(x)[:16] for x in EPOCHS.x_uv)
    assert len(set(training.trial_sha256)) == training.n_trials == N_TRIALS
    whole = hashlib.sha256("".join(EPOCHS.trial_ids).encode() + EPOCHS.labels.astype("<i8").tobytes())
    assert training.data_sha256 == whole.hexdigest()
    assert (training.data, training.subject) == ("synthetic trials", "synthetic-0")
    assert (training.seed, training.config, training.resampled_from_hz) == (11, RECIPE, None)
    assert (manifest.classes, manifest.channels) == (EPOCHS.classes, EPOCHS.channels)
    assert (manifest.sfreq_hz, manifest.n_window, manifest.window_end_ms) == (100.0, N_SAMPLES, -130.0)
    assert manifest.versions == {"numpy": np.__version__, "pretap": __version__, "torch": torch.__version__}
    assert manifest.self_test_tolerance == 1e-6
    assert manifest.metrics == cross_validate(EPOCHS, RECIPE, seed=11).metrics


def test_the_whole_data_s_sha256_depends_on_the_labels_too():
    flipped = replace(EPOCHS, labels=1 - EPOCHS.labels)
    one, other = (fit_decoder(epochs, RECIPE, seed=0)[0].manifest.training for epochs in (EPOCHS, flipped))
    assert one.trial_sha256 == other.trial_sha256
    assert one.data_sha256 != other.data_sha256


def test_trials_at_another_rate_are_resampled_and_the_manifest_says_so(tmp_path):
    recipe = changed(signal=SignalConfig(sfreq_hz=200.0))
    manifest = train(EPOCHS, recipe, tmp_path / "b.safetensors", seed=0)
    assert (manifest.sfreq_hz, manifest.n_window) == (200.0, 2 * N_SAMPLES)
    assert manifest.training.resampled_from_hz == 100.0
    assert manifest.training.count_known(EPOCHS.trial_ids) == len(EPOCHS)  # of the trials as they were read
    assert (manifest.scaling.n_baseline, manifest.scaling.n_block) == (10, 4)  # 50 ms and 20 ms at 200 Hz


def test_a_wild_fit_is_refused_or_its_bundle_passes_the_self_test_on_every_engine(tmp_path):
    """Weights this large make a network chaotic: about half of these fits end where float32 decides the answer."""
    noise = np.random.default_rng(0).normal(0, 5, (N_TRIALS, 300, N_CHANNELS)).astype(np.float32)
    wild = changed(
        network=LstmSpec(hidden=(32, 32)),
        scaling=ScalingConfig(divide_uv=1.0),
        fit=FitConfig(optimizer="adamw", learning_rate=1.0, max_epochs=2),
        evaluation=EvaluationConfig(folds=0),
    )
    tolerances = []
    for seed in range(4):
        path = tmp_path / f"{seed}.safetensors"
        try:
            manifest = train(replace(EPOCHS, x_uv=noise, trial_ids=()), wild, path, seed=seed)
        except DataError as error:
            assert str(error).startswith("Training diverged: float32 and float64 disagree by ")  # noqa: PT017
            assert not path.exists()
            tolerances.append(1.0)
            continue
        for engine in ("numpy", "torch"):
            assert load(path, engine=engine).manifest == manifest
        tolerances.append(manifest.self_test_tolerance)
    assert min(tolerances) >= 1e-6
    assert max(tolerances) > 1e-6  # the case is as hard as it claims to be


def test_weights_that_overflow_are_refused_with_what_to_lower(tmp_path):
    exploding = changed(
        fit=FitConfig(optimizer="adamw", learning_rate=1e6, weight_decay=1.0, max_epochs=10),
        evaluation=EvaluationConfig(folds=0),
    )
    with pytest.raises(DataError, match=r"Training diverged: .* disagree by nan .* Lower fit\.learning_rate"):
        train(EPOCHS, exploding, tmp_path / "b.safetensors", seed=0)
    assert list(tmp_path.iterdir()) == []


# -- what cannot be trained on -------------------------------------------------------------------------------------


def test_trials_without_labels_are_refused():
    with pytest.raises(DataError, match="synthetic trials: these trials have no labels; train on the training part"):
        prepare(replace(EPOCHS, labels=None), RECIPE)


@pytest.mark.parametrize(
    ("n_left", "n_right", "folds", "enough"),
    [(4, 4, 4, True), (3, 20, 4, False), (20, 3, 4, False), (0, 20, 0, False), (1, 20, 0, False), (2, 2, 0, True)],
)
def test_each_class_needs_two_trials_and_one_for_each_fold(n_left, n_right, folds, enough):
    index = np.concatenate([np.flatnonzero(EPOCHS.labels == 0)[:n_left], np.flatnonzero(EPOCHS.labels)[:n_right]])
    few, recipe = EPOCHS.select(index), changed(evaluation=EvaluationConfig(folds=folds))
    if enough:
        assert prepare(few, recipe) is few  # at the configured rate already
    else:
        with pytest.raises(DataError, match=f"at least {max(2, folds)} trials .* got {n_left} left, {n_right} right"):
            prepare(few, recipe)
