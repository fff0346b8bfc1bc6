"""Every kind of network: what scikit-learn or torch fitted is what the bundle's numpy lines compute."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import mne
import msgspec
import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfilt
from sklearn.covariance import oas
from sklearn.linear_model import LogisticRegression

from pretap.bundle.file import load
from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.networks import (
    ClosedFormSpec,
    CspSpec,
    EegNetSpec,
    LdaSpec,
    LrpErdLstmSpec,
    LstmSpec,
    TangentSpaceSpec,
)
from pretap.networks.bandpass import bandpassed, toeplitz
from pretap.networks.covariance import oas_covariance, tangent
from pretap.networks.csp import log_power
from pretap.networks.lrp_erd_lstm import blocked
from pretap.recordings.epochs import Epochs
from pretap.torch_networks import LrpErdLstmNetwork
from pretap_offline.fit.bandpass import bandpass_impulse
from pretap_offline.fit.estimator import make_estimator, make_fir, make_scaling
from pretap_offline.fit.fitting import fit_decoder, fit_work
from pretap_offline.training import train

CLOSED = [LdaSpec(), LdaSpec(shrinkage=0.2), CspSpec(filters=4), TangentSpaceSpec(), ClosedFormSpec(means=4)]
LEARNED = [
    LstmSpec(hidden=(4,)),
    LrpErdLstmSpec(blocks=6, lrp_filters=2, erd_filters=3, hidden=4),
    LrpErdLstmSpec(blocks=3, lrp_filters=0, erd_filters=4, hidden=4, start="csp"),
    EegNetSpec(temporal=4, kernel=7, separable_kernel=5),
]


def trials(*, n=60, n_classes=2, n_channels=6, sfreq_hz=100.0, seed=0) -> Epochs:
    """Noise; class k has a slow shift on channel k and a 20 Hz rhythm on the channel after it."""
    rng = np.random.default_rng(seed)
    n_samples = round(0.4 * sfreq_hz)
    labels = np.arange(n) % n_classes
    t = np.arange(n_samples) / sfreq_hz
    x = rng.normal(0, 5, (n, n_samples, n_channels))
    x[np.arange(n), :, labels] += np.linspace(0, 6, n_samples)
    x[np.arange(n), :, labels + 1] += 6 * np.sin(2 * np.pi * (20 * t + rng.random((n, 1))))
    names = ("C3", "C4", "F3", "F4", "P3", "P4")[:n_channels]
    return Epochs(
        x_uv=x.astype(np.float32), labels=labels, classes=("left", "right", "rest")[:n_classes], channels=names,
        sfreq_hz=sfreq_hz, window_end_ms=-130.0, source="noise",
    )  # fmt: skip


def recipe(spec, **scaling) -> TrainConfig:
    fit = FitConfig(optimizer="adamw", learning_rate=1e-2, max_epochs=15) if "torch" in spec.engines else FitConfig()
    scaling = {"reference": "average", "baseline_ms": 10.0, "divide_uv": 10.0} | scaling
    return TrainConfig(network=spec, scaling=ScalingConfig(**scaling), fit=fit, evaluation=EvaluationConfig(folds=0))


def fitted(config: TrainConfig, epochs: Epochs):
    scaling = make_scaling(config, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples, n_channels=len(epochs.channels))
    fir = make_fir(config, scaling, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples)
    return make_estimator(config, scaling, like=epochs, seed=0, fir=fir).fit(epochs.x_uv, epochs.labels)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("spec", CLOSED + LEARNED, ids=repr)
def test_numpy_inference_from_the_bundle_equals_the_fitted_estimator(tmp_path, spec, n_classes):
    epochs = trials(n_classes=n_classes)
    expected = fitted(recipe(spec), epochs).predict_proba(epochs.x_uv)
    train(epochs, recipe(spec), tmp_path / "b.safetensors", seed=0)
    for engine in spec.engines:
        probs = load(tmp_path / "b.safetensors", engine=engine).decode(epochs.x_uv)
        assert np.ptp(probs[:, 0]) > 0.05  # the windows do differ to it
        np.testing.assert_allclose(probs, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", CLOSED, ids=repr)
def test_every_closed_form_learns_a_class_difference(spec):
    decoder, _ = fit_decoder(trials(n=200), recipe(spec), seed=0)
    fresh = trials(n=100, seed=1)
    assert (decoder.decode(fresh.x_uv).argmax(axis=1) == fresh.labels).mean() > 0.75


@pytest.mark.parametrize("spec", CLOSED + LEARNED, ids=repr)
def test_a_window_at_1000_hz_is_decimated_inside_the_bundle(tmp_path, spec):
    epochs = trials(n=20, sfreq_hz=1000.0)
    manifest = train(epochs, recipe(spec, decimate_to_hz=100.0), tmp_path / "b.safetensors", seed=0)
    assert (manifest.n_window, manifest.n_steps) == (400, 40)
    decoder = load(tmp_path / "b.safetensors")
    expected = fitted(recipe(spec, decimate_to_hz=100.0), epochs).predict_proba(epochs.x_uv)
    np.testing.assert_allclose(decoder.decode(epochs.x_uv), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", CLOSED, ids=repr)
def test_a_closed_form_has_no_torch_engine_and_no_epochs(tmp_path, spec):
    train(trials(n=20), recipe(spec), tmp_path / "b.safetensors", seed=0)
    kind = type(spec).__struct_config__.tag
    with pytest.raises(UsageError, match=f"kind '{kind}' has no engine 'torch': expected numpy"):
        load(tmp_path / "b.safetensors", engine="torch")
    assert fit_work(recipe(spec), n_trials=20) == 20
    config = msgspec.structs.replace(recipe(spec), fit=FitConfig(max_epochs=3, members=2))
    with pytest.raises(UsageError, match=r"fit\.max_epochs, fit\.members: a network of kind"):
        fit_decoder(trials(n=20), config, seed=0)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (CspSpec(band_hz=(14.0, 50.0)), r"network\.band_hz = \[14, 50\]: expected low < high < 50"),
        (TangentSpaceSpec(band_hz=(30.0, 10.0)), r"network\.band_hz = \[30, 10\]"),
        (CspSpec(filters=7), r"network\.filters = 7: expected at most the 6 channels"),
        (ClosedFormSpec(means=41), r"network\.means = 41: expected at most the window's 40 steps"),
        (LrpErdLstmSpec(blocks=60), r"network\.blocks = 60: expected at most the 40 steps"),
    ],
)
def test_a_network_that_does_not_fit_the_window_is_refused(spec, sentence):
    with pytest.raises(UsageError, match=sentence):
        fit_decoder(trials(n=20), recipe(spec), seed=0)


def test_a_last_batch_of_one_value_is_refused_and_of_two_is_not():
    config = recipe(EegNetSpec(pool=21))  # one of 40 steps; batches of 20
    sentence = r"network\.pool = 21 leaves 1 of 40 steps, and fit\.batch_size = 20 leaves 1 of 41 trials in the last"
    with pytest.raises(UsageError, match=sentence):
        fit_decoder(trials(n=41), config, seed=0)
    fit_decoder(trials(n=42), config, seed=0)
    fit_decoder(trials(n=41), recipe(EegNetSpec(pool=20)), seed=0)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_closed_form_needs_three_trials_of_a_class(n_classes):
    few = trials(n=n_classes * 3, n_classes=n_classes)
    fit_decoder(few, recipe(ClosedFormSpec()), seed=0)
    with pytest.raises(DataError, match="expected at least 3 trials of each class to fit on, got 2"):
        fit_decoder(few.select(np.arange(1, len(few))), recipe(ClosedFormSpec()), seed=0)


# -- the parts -----------------------------------------------------------------------------------------------------


def test_the_toeplitz_matrix_is_the_filter_from_rest_less_the_first_sample():
    x = np.random.default_rng(0).normal(size=(3, 50, 2)) + 1000.0
    impulse = bandpass_impulse((14.0, 30.0), order=2, sfreq_hz=100.0, n_steps=50)
    sos = butter(2, (14.0, 30.0), "bandpass", fs=100.0, output="sos")
    expected = sosfilt(sos, x - x[:, :1], axis=1)
    np.testing.assert_allclose(bandpassed(x, toeplitz(impulse)), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(toeplitz(np.array([1.0, 2.0, 3.0])), [[1, 0, 0], [2, 1, 0], [3, 2, 1]])


def test_the_shrunk_covariance_is_scikit_learn_s():
    x = np.random.default_rng(1).normal(size=(30, 5)) @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_allclose(oas_covariance(x), oas(x)[0], rtol=0, atol=1e-12)


def test_the_tangent_vector_of_a_diagonal_matrix_by_hand_and_its_length_is_that_of_the_logarithm():
    np.testing.assert_allclose(tangent(np.diag([1.0, np.e, np.e**2]), np.eye(3)), [0, 0, 0, 1, 0, 2], atol=1e-12)
    turned = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)
    vector = tangent(turned @ np.diag([np.e, np.e**3]) @ turned.T, np.eye(2))
    np.testing.assert_allclose(vector, [2, np.sqrt(2), 2], atol=1e-12)
    assert np.linalg.norm(vector) == pytest.approx(np.hypot(1, 3))


def test_log_power_by_hand():
    x = np.array([[1.0, 2.0], [3.0, -2.0]])
    np.testing.assert_allclose(log_power(x, np.array([[1.0, 0.0], [0.0, 1.0]])), np.log([5.0, 4.0]))


def test_the_weights_of_the_closed_form_s_scores_are_fitted_on_trials_the_branches_did_not_see():
    """Labels that mean nothing: a branch that saw them looks perfect, one that did not earns no weight."""
    epochs = trials(n=80, n_channels=6, seed=3)
    coins = np.random.default_rng(0).permutation(epochs.labels)
    pipeline = fitted(recipe(ClosedFormSpec(ridge=(0.01,))), replace(epochs, labels=coins))
    network = pipeline.named_steps["network"]
    x = pipeline.named_steps["scaling"].transform(epochs.x_uv)
    fitted_weights = network.weigher_.coef_
    network.weigher_ = SimpleNamespace(predict_proba=lambda scores: scores)
    naive = LogisticRegression().fit(network.predict_proba(x), coins)  # on scores of trials that the branches saw
    assert naive.coef_[0, 0] > 1.0
    assert np.abs(fitted_weights).max() < 0.5 * naive.coef_[0, 0]


# -- EEGNet --------------------------------------------------------------------------------------------------------


def test_eegnet_of_28_channels_has_1210_parameters_and_its_spatial_filters_stay_within_length_1():
    epochs = trials(n=30)
    network = fitted(recipe(EegNetSpec()), epochs).named_steps["network"].module_
    layout = EegNetSpec().tensors(n_steps=50, n_inputs=28, n_classes=2)
    assert sum(int(np.prod(shape)) for _, shape in layout.values()) == 1210
    norm = network.spatial_norm
    with torch.no_grad():
        network.spatial.weight.mul_(10)
        gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).numpy()  # (n_maps,) part of what is exported
    filters = network.export()["spatial.weight"] / gain[:, None]  # (n_maps, n_inputs)
    assert np.linalg.norm(filters, axis=1).max() == pytest.approx(1)


def test_engines_agree_on_electrodes_that_ride_on_100_millivolts():
    epochs = trials()
    decoder, tensors = fit_decoder(epochs, recipe(LrpErdLstmSpec(blocks=8, hidden=4), divide_uv=1.0), seed=0)
    x_uv = epochs.x_uv + np.array([1e5, -1e5, 0, 3e4, 0, 0], np.float32)
    by_torch = Decoder(decoder.manifest, tensors, engine="torch").decode(x_uv)
    np.testing.assert_allclose(decoder.decode(x_uv), by_torch, rtol=0, atol=1e-6)


def test_the_lrp_branch_reads_means_less_the_first_and_the_erd_branch_log_power():
    spec = LrpErdLstmSpec(blocks=3, lrp_filters=1, erd_filters=1, hidden=1)
    x = np.random.default_rng(0).normal(0, 4, (11, 2))  # 3 blocks of 3: the first two samples belong to none
    tensors = {
        "bandpass.impulse": np.eye(11)[0],  # passes everything
        "lrp.filters": np.array([[1.0, 0.0]]),
        "erd.filters": np.array([[0.0, 1.0]]),
        "lstm.0.weight_ih": np.array([[0.0, 0.0], [0.0, 0.0], [0.3, 0.7], [0.0, 0.0]]),
        "lstm.0.weight_hh": np.zeros((4, 1)),
        "lstm.0.bias": np.array([0.0, -1e3, 0.0, 0.0]),  # the forget gate is shut: the last block decides
        "dense.weight": np.array([[0.0], [1.0]]),
        "dense.bias": np.zeros(2),
    }
    slow = x[8:, 0].mean() - x[2:5, 0].mean()
    power = np.log(np.mean((x[8:, 1] - x[0, 1]) ** 2) + 0.1)
    expected = 0.5 * np.tanh(0.5 * np.tanh(0.3 * slow + 0.7 * power))
    np.testing.assert_allclose(spec.engine(tensors)(x), [0.0, expected], rtol=1e-12)


def branches(spec: LrpErdLstmSpec, *, n_steps: int, n_inputs: int) -> LrpErdLstmNetwork:
    """A network for windows that are in the band already."""
    return LrpErdLstmNetwork(spec, n_steps=n_steps, n_inputs=n_inputs, n_classes=2, impulse=np.eye(n_steps)[0])


@pytest.mark.parametrize("start", ["csp", "random"])
@pytest.mark.parametrize("n_filters", [3, 8])  # fewer and more than inputs
def test_the_erd_filters_start_with_unit_power_each(start, n_filters):
    x = torch.from_numpy(np.random.default_rng(0).normal(0, [[[3, 6, 5, 4, 9]]], (40, 60, 5)))
    module = branches(LrpErdLstmSpec(erd_filters=n_filters, start=start), n_steps=60, n_inputs=5)
    module.initialise_from(module.condense(x), torch.arange(40) % 2)
    power = ((x - x[:, :1]) @ module.erd[0].double().T).square().mean(dim=(0, 1))
    np.testing.assert_allclose(power.detach(), 1.0, rtol=0.1)  # less the 2 % shrinkage, which a weak input sees most


def test_with_start_csp_the_erd_filters_start_at_the_patterns_that_mne_finds():
    rng = np.random.default_rng(0)
    labels, mixing = np.arange(200) % 2, np.linalg.qr(rng.normal(size=(6, 6)))[0]
    deviations = np.where(labels[:, None] == 1, [3, 1, 1, 1, 2, 1], [1, 1, 1, 2, 1, 1.5])  # (n_epochs, n_sources)
    x = rng.normal(0, deviations[:, None], (200, 60, 6)) @ mixing
    x[:, 0] = 0  # which is what is subtracted
    module = branches(LrpErdLstmSpec(erd_filters=4, start="csp"), n_steps=60, n_inputs=6)
    module.initialise_from(module.condense(torch.from_numpy(x)), torch.from_numpy(labels))
    with mne.utils.use_log_level("ERROR"):
        csp = mne.decoding.CSP(n_components=4).fit(x.transpose(0, 2, 1), labels)
    ours = module.erd[0].detach().double().numpy()  # (4, 6), the classes in turn
    sources = np.abs(np.corrcoef(x.reshape(-1, 6) @ ours.T, x.reshape(-1, 6) @ csp.filters_[:4].T, rowvar=False))
    assert (sources[:4, 4:].max(axis=1) > 0.98).all()  # the shrinkage turns them a little


@pytest.mark.parametrize("n_steps", [20, 90])  # blocks shorter and longer than the number of inputs
def test_the_lrp_branch_reads_slow_potentials_in_units_of_their_spread(n_steps):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 40, (50, n_steps, 5)).cumsum(axis=1))
    module = branches(LrpErdLstmSpec(blocks=3), n_steps=n_steps, n_inputs=5)
    module.initialise_from(module.condense(x), torch.arange(50) % 2)
    weights = module.lrp[0].detach().clone()  # (lrp_filters, n_inputs)
    slow = np.stack([blocked(each, 3).mean(axis=1) for each in x.numpy()])
    slow -= slow[:, :1]
    spread = np.sqrt(np.mean(slow[:, 1:] ** 2))
    np.testing.assert_allclose(module.export()[0]["lrp.filters"], weights / spread, rtol=1e-5)


@pytest.mark.parametrize("n_steps", [20, 90])  # blocks shorter and longer than the number of inputs
@pytest.mark.parametrize("n_lrp", [0, 3])
def test_what_training_reads_of_a_window_gives_the_logits_of_the_window(n_steps, n_lrp):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 20, (30, n_steps, 5)) + 1000.0)
    impulse = bandpass_impulse((14.0, 30.0), order=2, sfreq_hz=100.0, n_steps=n_steps)
    spec = LrpErdLstmSpec(blocks=3, lrp_filters=n_lrp, erd_filters=4)
    module = LrpErdLstmNetwork(spec, n_steps=n_steps, n_inputs=5, n_classes=2, impulse=impulse).eval()
    condensed = module.condense(x)
    assert condensed.shape == (30, 3, 1 + min(5, n_steps // 3), 5)  # does not grow with the window
    module.initialise_from(condensed, torch.arange(30) % 2)
    with torch.no_grad():
        (by_torch,) = module.logits(condensed[None]).numpy()
    engine = spec.engine({name: tensor.astype(np.float64) for name, tensor in module.export()[0].items()})
    np.testing.assert_allclose(by_torch, [engine(each) for each in x.numpy()], rtol=0, atol=1e-5)


@pytest.mark.parametrize("spec", CLOSED + LEARNED, ids=repr)
def test_exactly_the_kinds_that_remove_offsets_ignore_electrode_offsets(spec):
    epochs = trials()
    decoder, _ = fit_decoder(epochs, recipe(spec, baseline_ms=0.0), seed=0)
    offsets = np.array([300, -300, 100, -200, 50, 0], np.float32)
    difference = np.abs(decoder.decode(epochs.x_uv + offsets) - decoder.decode(epochs.x_uv)).max()
    assert (difference < 1e-5) == decoder.manifest.removes_offsets == spec.removes_offsets
