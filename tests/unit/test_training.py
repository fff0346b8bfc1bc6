"""Training: equal seeds produce equal bits, and the bundle describes its own origin."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from pretap import __version__
from pretap.bundle.file import load, read_bundle
from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, SignalConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.networks import LdaSpec, LstmSpec, softmax
from pretap.recordings.epochs import trial_sha256
from pretap_offline.evaluate.cross_validation import cross_validate, validation_work
from pretap_offline.fit.estimator import make_scaling
from pretap_offline.fit.fitting import fit, fit_decoder, fit_work, make_manifest
from pretap_offline.training import prepare, train
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


@pytest.mark.parametrize(
    ("recipe", "sfreq_hz", "sentence"),
    [
        (
            {"network": LstmSpec(hidden=(256, 256)), "fit": FitConfig(members=64)},
            100.0,
            "tensors take 203031488 bytes: expected at most 16777216",
        ),
        (
            {"network": LdaSpec(), "scaling": ScalingConfig(decimate_to_hz=50_000.0)},
            100_000.0,
            "window of 20000 samples takes a matrix of 200000000 values: expected at most 16777216",
        ),
    ],
)
def test_a_recipe_that_no_bundle_can_hold_is_refused_before_the_first_fit(tmp_path, capsys, recipe, sfreq_hz, sentence):
    epochs = replace(EPOCHS, sfreq_hz=sfreq_hz)
    if sfreq_hz != 100.0:
        epochs = replace(epochs, x_uv=np.tile(EPOCHS.x_uv, (1, 1000, 1)))  # the same again and again: 20000 samples
    config = changed(**recipe, signal=SignalConfig())
    with pytest.raises(UsageError, match=sentence):
        train(epochs, config, tmp_path / "b", seed=0)
    assert capsys.readouterr().err == ""  # no progress
    assert list(tmp_path.iterdir()) == []


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
    fit(EPOCHS, make_manifest(EPOCHS, recipe, seed=0), advance=calls.append)
    assert calls == [N_TRIALS] * 2 * RECIPE.fit.max_epochs
    assert sum(calls) == fit_work(recipe, n_trials=N_TRIALS)


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


def test_bundles_of_different_days_differ_only_in_the_date(tmp_path, monkeypatch):
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


def test_without_a_given_date_two_runs_differ_only_in_the_date(tmp_path, monkeypatch):
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


def test_training_neither_uses_nor_changes_global_random_generators(tmp_path):
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


def test_fitting_twice_starts_from_new_weights():
    twice = estimator().fit(trials(seed=7).x_uv, EPOCHS.labels).fit(EPOCHS.x_uv, EPOCHS.labels)
    assert_same_weights(weights_of(twice), weights_of(estimator().fit(EPOCHS.x_uv, EPOCHS.labels)))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_training_shows_its_progress_unless_it_is_told_not_to(tmp_path, capsys, n_workers):
    train(EPOCHS, RECIPE, tmp_path / "b.safetensors", seed=0, n_workers=n_workers)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "training: 100 %"
    percents = [int(line.split()[1]) for line in lines]
    assert percents == sorted(percents)
    train(EPOCHS, RECIPE, tmp_path / "b.safetensors", seed=0, n_workers=n_workers, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("recipe", [RECIPE, changed(network=LdaSpec(), fit=FitConfig())], ids=["epochs", "closed form"])
def test_every_fit_counts_its_trials_in_every_epoch(recipe, n_workers):
    recipe = msgspec.structs.replace(recipe, evaluation=msgspec.structs.replace(RECIPE.evaluation, learning_curve=True))
    calls = []
    cross_validate(EPOCHS, recipe, seed=0, n_workers=n_workers, advance=calls.append)
    n_epochs = RECIPE.fit.max_epochs if recipe.network is RECIPE.network else 1
    n_fitted = 2 * 4 * 30 + 4 * (8 + 15 + 22)  # 2 repeats of 4 folds of 30 trials, and 25, 50 and 75 % of the first
    assert sum(calls) == validation_work(EPOCHS, recipe, seed=0)
    assert sum(calls) == pytest.approx(n_epochs * n_fitted, rel=0.05)  # parts keep whole trials of each class


def test_without_folds_the_bundle_has_no_metrics(tmp_path):
    manifest = train(EPOCHS, changed(evaluation=EvaluationConfig(folds=0)), tmp_path / "b.safetensors", seed=0)
    assert manifest.metrics is None
    assert read_bundle(tmp_path / "b.safetensors").manifest.metrics is None


def test_the_manifest_records_the_origin_of_the_weights(tmp_path):
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
    assert msgspec.structs.replace(manifest.metrics, findings=()) == cross_validate(EPOCHS, RECIPE, seed=11).metrics


def test_the_whole_data_s_sha256_depends_on_the_labels_too():
    flipped = replace(EPOCHS, labels=1 - EPOCHS.labels)
    one, other = (fit_decoder(epochs, RECIPE, seed=0)[0].manifest.training for epochs in (EPOCHS, flipped))
    assert one.trial_sha256 == other.trial_sha256
    assert one.data_sha256 != other.data_sha256


def test_trials_at_another_rate_are_resampled_and_the_manifest_records_it(tmp_path):
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


def test_overflowing_weights_are_refused_with_the_settings_to_lower(tmp_path):
    exploding = changed(
        fit=FitConfig(optimizer="adamw", learning_rate=1e6, weight_decay=1.0, max_epochs=10),
        evaluation=EvaluationConfig(folds=0),
    )
    with pytest.raises(DataError, match=r"Training diverged: .* disagree by nan .* Lower fit\.learning_rate"):
        train(EPOCHS, exploding, tmp_path / "b.safetensors", seed=0)
    assert list(tmp_path.iterdir()) == []


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
