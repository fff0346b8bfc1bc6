"""Averages of networks: their parts are those of single bundles, in the file, in every engine and along a stream."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bundle_files import refused, with_tensor
from factories import make_average
from lane_cases import collect
from pretap.bundle.file import load, read_bundle, refusal, self_test, write_bundle
from pretap.config.reading import load_config
from pretap.config.train import EvaluationConfig, FitConfig, ScalingConfig, TrainConfig
from pretap.decoder.compiled import why_not_compiled
from pretap.decoder.decoder import Decoder
from pretap.errors import BundleError, UsageError
from pretap.networks import (
    AverageSpec,
    ClosedFormSpec,
    CspSpec,
    EegNetSpec,
    LdaSpec,
    LrpErdLstmSpec,
    LstmSpec,
    TangentSpaceSpec,
    WeightedNetwork,
)
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.cross_validation import cross_validate
from pretap_offline.fit.average import average_of
from pretap_offline.fit.fitting import fit_decoder, fit_work
from pretap_offline.fit.parts import part_recipes
from pretap_offline.training import train

LSTM = LrpErdLstmSpec(blocks=6, lrp_filters=2, erd_filters=3, hidden=4)
TANGENT = TangentSpaceSpec()
FIT = FitConfig(optimizer="adamw", learning_rate=1e-2, max_epochs=3)
MIXED = AverageSpec(
    networks=(
        WeightedNetwork(network=LSTM, weight=0.7, members=2, temperature=1.6),
        WeightedNetwork(network=TANGENT, weight=0.3, temperature=0.8),
    )
)


def trials(*, n=40, seed=0) -> Epochs:
    """Noise; the right class has a slow shift on the first channel and a 20 Hz rhythm on the second."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    x = rng.normal(0, 5, (n, 40, 6))
    x[:, :, 0] += labels[:, None] * np.linspace(0, 6, 40)
    x[:, :, 1] += labels[:, None] * 6 * np.sin(2 * np.pi * (20 * np.arange(40) / 100 + rng.random((n, 1))))
    return Epochs(
        x_uv=x.astype(np.float32), labels=labels, classes=("left", "right"),
        channels=("C3", "C4", "F3", "F4", "P3", "P4"), sfreq_hz=100.0, window_end_ms=-130.0, source="noise",
    )  # fmt: skip


def recipe(network, **changes) -> TrainConfig:
    plain = TrainConfig(
        network=network,
        scaling=ScalingConfig(reference="average", divide_uv=1.0),
        fit=FIT if "torch" in network.engines or isinstance(network, AverageSpec) else FitConfig(),
        evaluation=EvaluationConfig(folds=0),
    )
    return replace(plain, **changes)


def fitted(network, *, members=1, epochs=None, **changes):
    """Return the manifest and the tensors of a single network."""
    config = recipe(network, **changes)
    config = replace(config, fit=replace(config.fit, members=members))
    decoder, tensors = fit_decoder(epochs or EPOCHS, config, seed=3)
    return decoder.manifest, tensors


EPOCHS = trials()


@pytest.fixture(scope="module")
def parts():
    """The two networks of `MIXED` as bundles, each with its temperature."""
    return [
        (replace(manifest, temperature=each.temperature), tensors)
        for each in MIXED.networks
        for manifest, tensors in [fitted(each.network, members=each.members)]
    ]


@pytest.fixture(scope="module")
def average(parts):
    return average_of(parts, weights=[each.weight for each in MIXED.networks])


@pytest.fixture(scope="module")
def average_bytes(average, tmp_path_factory):
    path = tmp_path_factory.mktemp("average") / "b.safetensors"
    write_bundle(path, *average)
    return path.read_bytes()


def weighted(probs, weights):
    """Average the logits of decoders that return `probs`, (n, n_classes) each."""
    odds = sum(weight * np.log(each[:, 1] / each[:, 0]) for each, weight in zip(probs, weights, strict=True))
    right = 1 / (1 + np.exp(-odds))
    return np.stack([1 - right, right], axis=1)


def test_an_average_is_the_weighted_mean_of_the_logits_of_its_bundles(parts, average):
    manifest, tensors = average
    assert manifest.network == MIXED
    singles = [Decoder(*part).exact().decode(EPOCHS.x_uv) for part in parts]
    assert np.abs(singles[0] - singles[1]).max() > 0.1
    expected = weighted(singles, [0.7, 0.3])
    np.testing.assert_allclose(Decoder(manifest, tensors).exact().decode(EPOCHS.x_uv), expected, rtol=0, atol=1e-9)
    for engine in ("auto", "numpy"):
        probs = Decoder(manifest, tensors, engine=engine).decode(EPOCHS.x_uv)
        np.testing.assert_allclose(probs, expected, rtol=0, atol=1e-6)


def test_the_temperature_of_the_bundle_divides_the_average(average):
    manifest, tensors = average
    for engine in ("auto", "numpy"):
        plain = Decoder(manifest, tensors, engine=engine).decode(EPOCHS.x_uv)
        warm = Decoder(replace(manifest, temperature=2.5), tensors, engine=engine).decode(EPOCHS.x_uv)
        np.testing.assert_allclose(warm, weighted([plain], [1 / 2.5]), rtol=0, atol=1e-9)


def test_a_recipe_trains_the_networks_that_the_single_recipes_train(tmp_path, average):
    manifest = train(EPOCHS, recipe(MIXED), tmp_path / "b", seed=3, progress=False)
    bundle = read_bundle(tmp_path / "b")
    assert bundle.manifest == manifest
    for name, tensor in average[1].items():
        np.testing.assert_array_equal(bundle.tensors[name], tensor)
    assert set(manifest.versions) == {"pretap", "numpy", "torch", "scikit-learn"}
    assert fit_work(recipe(MIXED), n_trials=40) == 40 * (2 * 3 + 1)


def test_an_average_is_cross_validated_and_calibrated_like_any_other_recipe(tmp_path):
    advanced = []
    config = recipe(MIXED, evaluation=EvaluationConfig(folds=2))
    validation = cross_validate(trials(n=80), config, seed=0, n_workers=1, advance=advanced.append)
    assert validation.metrics.accuracy > 0.7
    assert sum(advanced) == 2 * fit_work(config, n_trials=40)


def test_a_file_states_the_recipe_of_an_average(tmp_path):
    (tmp_path / "average.toml").write_text("""
        [network]
        kind = "average"

        [[network.networks]]
        weight = 0.7
        members = 2
        temperature = 1.6
        network = { kind = "lrp-erd-lstm", blocks = 6, lrp_filters = 2, erd_filters = 3, hidden = 4 }

        [[network.networks]]
        weight = 0.3
        temperature = 0.8
        network = { kind = "tangent-space" }
        """)
    assert load_config(TrainConfig, tmp_path / "average.toml").network == MIXED


def test_an_average_round_trips_through_its_file(average, average_bytes, scratch):
    manifest, tensors = average
    scratch.write_bytes(average_bytes)
    bundle = read_bundle(scratch)
    assert bundle.manifest == manifest
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(bundle.tensors[name], tensor)
    decoder = load(scratch)
    assert decoder.engine == ("numpy" if why_not_compiled() else "compiled")
    assert decoder.manifest.describe_network() == (
        "0.7 x (mean of 2: LRP (2 filters) and ERD 14 to 40 Hz (3 filters) over 6 blocks -> LSTM 4 -> 2) / 1.6 + "
        "0.3 x (Riemannian tangent space 10 to 33 Hz, logistic regression -> 2) / 0.8"
    )


@pytest.mark.filterwarnings("error")
@given(data=st.data(), value=st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([1e-3, -0.5, 1.0]))
@settings(deadline=None, max_examples=60)
def test_a_value_changed_in_any_tensor_is_refused_or_the_bundle_passes_its_self_test(
    average, average_bytes, scratch, data, value
):
    def change(values):
        values[data.draw(st.integers(0, len(values) - 1))] = value

    with np.errstate(over="ignore"):  # float64 to float32
        changed = with_tensor(average_bytes, data.draw(st.sampled_from(sorted(average[1]))), change)
    scratch.write_bytes(changed)
    try:
        decoder = load(scratch)
    except BundleError:
        return
    bundle = read_bundle(scratch)
    assert self_test(decoder, bundle) <= bundle.manifest.self_test_tolerance


def test_a_large_change_of_a_network_s_weights_fails_the_self_test(average_bytes, scratch):
    for name in ("networks.0.members.1.dense.bias", "networks.1.dense.bias"):
        changed = with_tensor(average_bytes, name, lambda values: values.__setitem__(0, values[0] + 1))
        assert "self-test" in refused(scratch, changed)


# -- streams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "numpy"])
@given(hop=st.integers(1, 45), cuts=st.lists(st.integers(0, 150), max_size=8))
@settings(deadline=None, max_examples=15)
def test_a_stream_of_an_average_with_a_tangent_space_decides_as_whole_windows_do(average, engine, hop, cuts):
    decoder = Decoder(*average, engine=engine)
    x_uv = np.random.default_rng(1).normal(0, 5, (150, 6)).astype(np.float32)
    stream = decoder.stream(hop)
    edges = [0, *sorted(cuts), 150]
    outputs = [o for at, end in pairwise(edges) for o in stream.process(x_uv[at:end])]
    ends = list(range(40, 151, hop))
    assert collect(outputs) == (ends, [decoder.decode(x_uv[end - 40 : end]).tolist() for end in ends])


@pytest.mark.parametrize("engine", ["auto", "numpy"])
def test_a_stream_names_the_network_because_of_which_windows_are_recomputed(average, engine):
    decoder = Decoder(*average, engine=engine)
    assert decoder.stream(5).describe() == (
        f"{decoder.engine}: every window is recomputed, because of its network of kind 'tangent-space': the logarithm "
        "of its covariance needs the whole window"
    )


def test_an_average_of_kinds_without_a_compiled_engine_is_computed_in_numpy():
    manifest, tensors = average_of([fitted(LdaSpec()), fitted(CspSpec(filters=4))], weights=[0.5, 0.5])
    assert Decoder(manifest, tensors, engine="auto").engine == "numpy"
    with pytest.raises(UsageError, match=r"Engine 'compiled': .* Set the engine to numpy"):
        Decoder(manifest, tensors, engine="compiled")


def test_an_average_has_the_engine_torch_if_each_of_its_networks_has(average):
    with pytest.raises(UsageError, match="A network of kind 'average' has no engine 'torch': expected numpy"):
        Decoder(*average, engine="torch")
    both = average_of([fitted(LstmSpec(hidden=(3,))), fitted(EegNetSpec(temporal=2, kernel=5))], weights=[0.4, 0.6])
    expected = Decoder(*both).decode(EPOCHS.x_uv)
    np.testing.assert_allclose(Decoder(*both, engine="torch").decode(EPOCHS.x_uv), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("networks", "forward_only", "removes_offsets"),
    [
        ((LSTM, TANGENT), True, True),
        ((LSTM, LdaSpec()), True, False),
        ((EegNetSpec(), TANGENT), False, False),
    ],
)
def test_an_average_has_a_property_if_each_of_its_networks_has(networks, forward_only, removes_offsets):
    spec = make_average(*networks)
    assert (spec.forward_only, spec.removes_offsets) == (forward_only, removes_offsets)


def test_the_cost_of_an_average_is_the_sum_over_all_members():
    size = {"n_steps": 40, "n_inputs": 6, "n_classes": 2}
    lstm, tangent = (each.multiply_adds(**size) for each in (LSTM, TANGENT))
    assert MIXED.multiply_adds(**size) == 2 * lstm + tangent + 2 * 2
    n_lstm, n_tangent = (len(each.tensors(**size)) for each in (LSTM, TANGENT))
    assert len(MIXED.tensors(**size)) == 2 * n_lstm + n_tangent


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("networks", "sentence"),
    [
        ([("lda", 1.0), ("lda", 1e-9)], "Expected `float` < 1.0"),
        ([("lda", 0.5)], "length >= 2"),
        ([("lda", 0.5), ("lda", 0.4)], "must sum to 1, found 0.9"),
        ([("average", 0.5), ("lda", 0.5)], "Invalid value 'average'"),
    ],
)
def test_an_average_of_one_network_of_averages_or_with_other_weights_is_refused(networks, sentence):
    table = {"kind": "average", "networks": [{"network": {"kind": k}, "weight": weight} for k, weight in networks]}
    with pytest.raises(msgspec.ValidationError, match=sentence):
        msgspec.convert({"network": table}, TrainConfig)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fit": replace(FIT, members=2)}, r"fit\.members = 2: each network of an average has its own members"),
        (
            {"network": make_average(TANGENT, LSTM, members=[2, 1])},
            r"fit\.members: a network of kind 'tangent-space' is fitted in closed form",
        ),
        (
            {"network": make_average(TANGENT, ClosedFormSpec())},
            r"fit\.optimizer, fit\.learning_rate, fit\.max_epochs: a network of kind 'tangent-space'",
        ),
        (
            {"network": make_average(TANGENT, replace(LSTM, blocks=41))},
            r"network\.blocks = 41: expected at most the 40 steps",
        ),
    ],
)
def test_a_recipe_that_an_average_cannot_follow_is_refused(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        fit_decoder(EPOCHS, recipe(**{"network": MIXED, **changes}), seed=0)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            lambda: fitted(TANGENT, scaling=ScalingConfig()),
            r"'tangent-space' differs .* in scaling, \[scaling\]: expected",
        ),
        (lambda: fitted(TANGENT, epochs=EPOCHS.select(np.arange(30))), r"in n_trials, data_sha256, trial_sha256"),
        (lambda: fitted(LstmSpec(hidden=(3,)), fit=replace(FIT, batch_size=7)), r"'lstm' differs .* in \[fit\]"),
        (lambda: average_of([fitted(LdaSpec()), fitted(TANGENT)], weights=[0.5, 0.5]), "Pass its networks instead"),
    ],
)
def test_bundles_that_were_fitted_differently_are_not_averaged(parts, other, sentence):
    with pytest.raises(UsageError, match=sentence):
        average_of([parts[0], other()], weights=[0.5, 0.5])


def test_an_average_too_large_for_memory_or_with_members_of_its_own_is_refused(average):
    manifest = average[0]
    assert refusal(manifest) == ""
    assert "An average in 3 members: expected 1" in refusal(replace(manifest, n_members=3))
    long = refusal(replace(manifest, n_window=2500))
    assert long.startswith("networks[0]: A band-pass over 2500 steps in 3 member(s): expected at most 2364 steps.")


def test_fit_applies_to_the_networks_that_torch_trains_and_members_to_each():
    first, second = part_recipes(recipe(MIXED, fit=replace(FIT, calibrate=False)))
    assert (first.network, first.fit) == (LSTM, replace(FIT, calibrate=False, members=2))
    assert (second.network, second.fit) == (TANGENT, FitConfig(calibrate=False))
    assert part_recipes(first) == [first]
