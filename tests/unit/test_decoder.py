"""One window or many, at once or along a stream in any chunks: the same bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pretap
from pretap.config import TrainConfig
from pretap.decoder import ENGINES, Decoder
from pretap.errors import DataError, UsageError
from pretap.manifest import Manifest, Training
from pretap.networks import LstmSpec, softmax
from pretap.scaling import Scaling

N_WINDOW, N_CHANNELS = 20, 5
SPEC = LstmSpec(hidden=(10, 5))
MODEST = settings(deadline=None, max_examples=25)


def manifest(**changes) -> Manifest:
    training = Training(
        data="synthetic",
        subject="",
        n_trials=1,
        data_sha256="0" * 64,
        trial_sha256=("1" * 64,),
        resampled_from_hz=None,
        seed=0,
        config=TrainConfig(network=SPEC),
    )
    fields = {
        "format_version": 1,
        "classes": ("left", "right"),
        "channels": ("F3", "F4", "C3", "Cz", "C4"),
        "unit": "microvolts",
        "sfreq_hz": 100.0,
        "n_window": N_WINDOW,
        "window_end_ms": -130.0,
        "scaling": Scaling(reference="average", n_baseline=4, n_block=3, divide_uv=10),
        "network": SPEC,
        "training": training,
        "metrics": None,
        "self_test_tolerance": 1e-6,
        "versions": {},
        "created": "2020-01-01",
    }
    return Manifest(**{**fields, **changes})


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    layout = SPEC.tensors(n_steps=1, n_inputs=N_CHANNELS, n_classes=2)
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, (_, shape) in layout.items()}


def decoder(engine: str = "numpy", **changes) -> Decoder:
    return Decoder(manifest(**changes), weights(), engine=engine)


def signal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, (n, N_CHANNELS)).astype(np.float32)


X = signal(150)
DECODER = decoder()


# -- windows -----------------------------------------------------------------------------------------------------


def test_decode_is_scaling_then_network_then_softmax():
    logits = SPEC.engine(weights())(DECODER.manifest.scaling.apply(X[:N_WINDOW]))
    probs = DECODER.decode(X[:N_WINDOW])
    np.testing.assert_array_equal(probs, softmax(logits))
    assert probs.dtype == np.float64
    assert probs.shape == (2,)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_window_s_bits_do_not_depend_on_its_neighbours(engine):
    one = decoder(engine)
    windows = X[:100].reshape(5, N_WINDOW, N_CHANNELS)
    many = one.decode(windows)
    assert many.shape == (5, 2)
    np.testing.assert_array_equal(many, [one.decode(window) for window in windows])
    np.testing.assert_array_equal(many[::-1], one.decode(windows[::-1]))


def test_the_engines_agree_within_1e_6():
    windows = signal(60 * N_WINDOW, seed=1).reshape(60, N_WINDOW, N_CHANNELS)
    probs = decoder("numpy").decode(windows)
    assert np.ptp(probs[:, 0]) > 0.1  # the windows do differ to this network
    np.testing.assert_allclose(decoder("torch").decode(windows), probs, rtol=0, atol=1e-6)


def test_no_windows_give_no_probabilities():
    assert DECODER.decode(np.empty((0, N_WINDOW, N_CHANNELS))).shape == (0, 2)


def test_lists_integers_and_strided_views_are_windows_too():
    window = np.rint(X[:N_WINDOW])
    expected = DECODER.decode(window)
    for same in (
        window.tolist(),
        window.astype(np.int16),
        np.asfortranarray(window),
        np.repeat(window, 2, axis=0)[::2],
    ):
        np.testing.assert_array_equal(DECODER.decode(same), expected)


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (N_CHANNELS,),
        (N_WINDOW,),
        (N_WINDOW - 1, N_CHANNELS),
        (N_WINDOW + 1, N_CHANNELS),
        (N_WINDOW, 1),
        (3, N_WINDOW, N_CHANNELS + 1),
        (1, 1, N_WINDOW, N_CHANNELS),
    ],
)
def test_a_window_of_another_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(DataError) as error:
        DECODER.decode(np.zeros(shape))
    assert "(20, 5)" in str(error.value)
    assert str(shape) in str(error.value)
    assert "transposed" not in str(error.value)


@pytest.mark.parametrize("shape", [(N_CHANNELS, N_WINDOW), (7, N_CHANNELS, N_WINDOW)])
def test_a_transposed_window_is_recognised(shape):
    with pytest.raises(DataError, match="transposed: time comes first"):
        DECODER.decode(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(N_WINDOW, N_CHANNELS), (3, N_WINDOW, N_CHANNELS)])
def test_one_non_finite_value_is_enough_to_refuse(value, shape):
    x = np.zeros(shape)
    x[..., -1, -1] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        DECODER.decode(x)


@pytest.mark.parametrize("shape", [(N_WINDOW, N_CHANNELS), (3, N_WINDOW, N_CHANNELS)])
def test_volts_are_refused_and_zeros_and_a_single_microvolt_are_not(shape):
    x_v = np.broadcast_to(X[:N_WINDOW] * 1e-6, shape)
    with pytest.raises(DataError, match=r"looks like volts\. Expected microvolts; multiply by 1e6"):
        DECODER.decode(x_v)
    with pytest.raises(DataError, match="looks like volts"):
        DECODER.decode(-np.abs(x_v))
    assert DECODER.decode(np.zeros(shape)).shape == (*shape[:-2], 2)
    one = np.zeros(shape)
    one[..., 3, 2] = -1.0
    assert DECODER.decode(one).shape == (*shape[:-2], 2)


def test_an_unknown_engine_is_refused_and_the_known_ones_named():
    with pytest.raises(UsageError, match="Unknown engine 'cuda': expected one of numpy, torch"):
        decoder("cuda")


def test_the_package_offers_the_decoder_and_nothing_it_does_not_have():
    assert pretap.Decoder is Decoder
    with pytest.raises(AttributeError, match="'pretap' has no attribute 'Encoder'"):
        _ = pretap.Encoder


# -- streams -----------------------------------------------------------------------------------------------------


def chunks(x, cuts):
    return [x[a:b] for a, b in pairwise([0, *sorted(cuts), len(x)])]


def collect(outputs):
    return [output.n_end for output in outputs], np.array([output.probs for output in outputs]).reshape(-1, 2)


def expected(x, hop, one=DECODER):
    ends = list(range(N_WINDOW, len(x) + 1, hop))
    return ends, np.array([one.decode(x[end - N_WINDOW : end]) for end in ends]).reshape(-1, 2)


def assert_same(found, wanted):
    assert found[0] == wanted[0]
    np.testing.assert_array_equal(found[1], wanted[1])


some_cuts = st.lists(st.integers(0, len(X)), max_size=25)


@given(n=st.integers(0, len(X)), hop=st.integers(1, 45), cuts=some_cuts)
@MODEST
def test_any_chunks_give_bit_for_bit_what_decode_gives_on_each_window(n, hop, cuts):
    stream = DECODER.stream(hop)
    outputs = [o for chunk in chunks(X[:n], [min(c, n) for c in cuts]) for o in stream.push(chunk)]
    assert_same(collect(outputs), expected(X[:n], hop))


@given(hop=st.integers(7, 45), cuts=some_cuts)
@settings(deadline=None, max_examples=10)
def test_the_same_holds_for_the_torch_engine(hop, cuts):
    one = decoder("torch")
    stream = one.stream(hop)
    outputs = [o for chunk in chunks(X, cuts) for o in stream.push(chunk)]
    assert_same(collect(outputs), expected(X, hop, one))


def test_the_first_decision_comes_with_the_sample_that_fills_the_window_and_then_each_hop():
    stream = DECODER.stream(hop=7)
    assert stream.push(X[: N_WINDOW - 1]) == []
    ends = [[o.n_end for o in stream.push(sample[None])] for sample in X[N_WINDOW - 1 : N_WINDOW + 14]]
    assert ends == [[20], [], [], [], [], [], [], [27], [], [], [], [], [], [], [34]]


def test_an_empty_chunk_changes_nothing():
    stream = DECODER.stream(hop=1)
    assert len(stream.push(X[:N_WINDOW])) == 1
    assert stream.push(X[:0]) == []
    assert [o.n_end for o in stream.push(X[N_WINDOW : N_WINDOW + 1])] == [N_WINDOW + 1]


@given(n_before=st.integers(0, 60), hop=st.integers(1, 30), cuts=some_cuts)
@MODEST
def test_after_a_reset_a_stream_decodes_as_a_new_one(n_before, hop, cuts):
    stream = DECODER.stream(hop)
    stream.push(signal(n_before, seed=9))
    stream.reset()
    outputs = [o for chunk in chunks(X, cuts) for o in stream.push(chunk)]
    assert_same(collect(outputs), expected(X, hop))


@given(hop=st.integers(1, 30), cuts=some_cuts, data=st.data())
@MODEST
def test_push_newest_skips_all_but_the_last_decision_and_disturbs_none_that_come_later(hop, cuts, data):
    plain, hurried = DECODER.stream(hop), DECODER.stream(hop)
    for chunk in chunks(X, cuts):
        wanted = collect(plain.push(chunk))
        if data.draw(st.booleans()):
            outputs, n_skipped = hurried.push_newest(chunk)
            assert n_skipped == max(0, len(wanted[0]) - 1)
            wanted = wanted[0][-1:], wanted[1][-1:]
        else:
            outputs = hurried.push(chunk)
        assert_same(collect(outputs), wanted)


def test_streams_of_one_decoder_share_nothing():
    one, other = DECODER.stream(10), DECODER.stream(10)
    one.push(signal(33, seed=5))
    assert_same(collect(other.push(X)), expected(X, 10))


def test_a_decision_keeps_its_values_while_the_stream_goes_on():
    stream = DECODER.stream(1)
    (first,) = stream.push(X[:N_WINDOW])
    stream.push(X[N_WINDOW:])
    np.testing.assert_array_equal(first.probs, DECODER.decode(X[:N_WINDOW]))


@pytest.mark.parametrize("hop", [0, -1])
def test_a_hop_below_one_sample_is_refused(hop):
    with pytest.raises(UsageError, match=f"at least 1 sample, got {hop}"):
        DECODER.stream(hop)


@pytest.mark.parametrize("shape", [(N_CHANNELS,), (30, 1), (30, N_CHANNELS - 1)])
def test_a_stream_refuses_samples_of_another_shape(shape):
    with pytest.raises(DataError, match=r"Expected samples of shape \(n_new, 5\)"):
        DECODER.stream(1).push(np.zeros(shape, np.float32))
