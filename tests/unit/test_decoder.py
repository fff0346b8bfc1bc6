"""`Decoder`: one window or many, at once or along a stream in any chunks.

On one machine, the same engine, build and hop give the same bits for any chunks. The compiled engine decodes
a window as the only lane of a stream, so its streams and its `decode` are bit-equal too. Lanes in numpy and torch
multiply matrices of other shapes than whole windows do, so they equal `decode` within 1e-6.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factories
import pretap
from pretap.bundle.manifest import Manifest
from pretap.decoder.decoder import ENGINES, Decoder
from pretap.errors import DataError, UsageError
from pretap.networks import LdaSpec, LstmSpec, Network, softmax
from pretap.signal.scaling import Scaling

N_WINDOW, N_CHANNELS = 20, 5
SPEC = LstmSpec(hidden=(10, 5))


def manifest(network: Network = SPEC) -> Manifest:
    scaling = Scaling(reference="average", n_baseline=4, n_block=3, divide_uv=10)
    channels = ("F3", "F4", "C3", "Cz", "C4")
    return factories.make_manifest(network, scaling=scaling, channels=channels, n_window=N_WINDOW)


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    layout = SPEC.tensors(n_steps=1, n_inputs=N_CHANNELS, n_classes=2)
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, (_, shape) in layout.items()}


def decoder(engine: str = "numpy") -> Decoder:
    return Decoder(manifest(), weights(), engine=engine)


def lda_weights() -> dict[str, np.ndarray]:
    layout = LdaSpec().tensors(n_steps=manifest().n_steps, n_inputs=N_CHANNELS, n_classes=2)
    return {
        name: np.zeros(shape, np.float64 if kind == "F64" else np.float32) for name, (kind, shape) in layout.items()
    }


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


@pytest.mark.parametrize("engine", ENGINES)
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
    assert np.ptp(probs[:, 0]) > 0.1  # the network tells the windows apart
    for engine in ("torch", "compiled"):
        np.testing.assert_allclose(decoder(engine).decode(windows), probs, rtol=0, atol=1e-6)


def test_no_windows_give_no_probabilities():
    assert DECODER.decode(np.empty((0, N_WINDOW, N_CHANNELS))).shape == (0, 2)


def test_lists_integers_and_strided_views_are_decoded_alike():
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
    with pytest.raises(UsageError, match=r"Unknown engine 'cuda': expected one of auto, compiled, numpy, torch\."):
        decoder("cuda")


def test_the_package_exports_the_decoder_and_refuses_unknown_names():
    assert pretap.Decoder is Decoder
    with pytest.raises(AttributeError, match="'pretap' has no attribute 'Encoder'"):
        _ = pretap.Encoder


@pytest.mark.parametrize("engine", ENGINES)
def test_the_exact_decoder_computes_in_numpy_and_float64_and_every_engine_is_within_1e_6_of_it(engine):
    one = decoder(engine)
    exact = one.exact()
    windows = signal(30 * N_WINDOW, seed=2).reshape(30, N_WINDOW, N_CHANNELS)
    logits = [
        SPEC.engine({n: w.astype(float) for n, w in weights().items()})(one.manifest.scaling.apply(w)) for w in windows
    ]
    np.testing.assert_array_equal(exact.decode(windows), softmax(np.array(logits)))
    assert exact.engine == "numpy"
    np.testing.assert_allclose(one.decode(windows), exact.decode(windows), rtol=0, atol=1e-6)


def test_auto_selects_the_fastest_engine_available():
    assert decoder("auto").engine == "compiled"
    assert Decoder(manifest(network=LdaSpec()), lda_weights(), engine="auto").engine == "numpy"


def test_the_compiled_engine_refuses_a_kind_that_it_does_not_support():
    sentence = "Engine 'compiled': it does not support networks of kind 'lda'. Set the engine to numpy"
    with pytest.raises(UsageError, match=sentence):
        Decoder(manifest(network=LdaSpec()), lda_weights(), engine="compiled")


# -- streams -----------------------------------------------------------------------------------------------------

ATOL = {"compiled": 0.0, "numpy": 1e-6, "torch": 1e-6}  # between a stream's decisions and `decode` of their windows
BY_ENGINE = {engine: decoder(engine) for engine in ENGINES}
every_engine = pytest.mark.parametrize("engine", ENGINES)
# Torch recomputes every window, so there are few examples.
EXAMPLES = settings(deadline=None, max_examples=12)


def chunks(x, cuts):
    return [x[a:b] for a, b in pairwise([0, *sorted(cuts), len(x)])]


def collect(outputs):
    return [output.n_end for output in outputs], np.array([output.probs for output in outputs]).reshape(-1, 2)


def stream_all(stream, x, cuts=()):
    return collect([o for chunk in chunks(x, cuts) for o in stream.process(chunk)])


def sample_by_sample(one, x, hop):
    return stream_all(one.stream(hop), x, range(len(x)))


def expected(x, hop, one=DECODER):
    ends = list(range(N_WINDOW, len(x) + 1, hop))
    return ends, np.array([one.decode(x[end - N_WINDOW : end]) for end in ends]).reshape(-1, 2)


def assert_same(found, wanted, *, atol=0.0):
    assert found[0] == wanted[0]
    if atol:
        np.testing.assert_allclose(found[1], wanted[1], rtol=0, atol=atol)
    else:
        np.testing.assert_array_equal(found[1], wanted[1])


some_cuts = st.lists(st.integers(0, len(X)), max_size=25)


@every_engine
@given(n=st.integers(0, len(X)), hop=st.integers(1, N_WINDOW), cuts=some_cuts)
@EXAMPLES
def test_any_chunks_give_the_same_bits_and_decisions_equal_decode(engine, n, hop, cuts):
    one = BY_ENGINE[engine]
    found = stream_all(one.stream(hop), X[:n], [min(c, n) for c in cuts])
    assert_same(found, sample_by_sample(one, X[:n], hop))
    assert_same(found, expected(X[:n], hop, one), atol=ATOL[engine])


@every_engine
@pytest.mark.parametrize("hop", [1, 7, N_WINDOW])
def test_a_chunk_s_layout_in_memory_changes_no_bit(engine, hop):
    one = BY_ENGINE[engine]
    wanted = stream_all(one.stream(hop), X)
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X[::-1].copy()[::-1]):
        assert_same(stream_all(one.stream(hop), same, (33, 90)), wanted)


@every_engine
@given(hop=st.integers(N_WINDOW + 1, 45), cuts=some_cuts)
@EXAMPLES
def test_with_a_hop_beyond_the_window_decisions_equal_decode_bit_for_bit(engine, hop, cuts):
    one = BY_ENGINE[engine]
    assert_same(stream_all(one.stream(hop), X, cuts), expected(X, hop, one))


@every_engine
@given(hop=st.integers(1, 45), cuts=some_cuts)
@EXAMPLES
def test_windows_recomputed_on_request_equal_decode_bit_for_bit(engine, hop, cuts):
    one = BY_ENGINE[engine]
    assert_same(stream_all(one.stream(hop, recompute=True), X, cuts), expected(X, hop, one))


def test_the_first_decision_comes_with_the_sample_that_fills_the_window_and_then_each_hop():
    stream = DECODER.stream(hop=7)
    assert stream.process(X[: N_WINDOW - 1]) == []
    ends = [[o.n_end for o in stream.process(sample[None])] for sample in X[N_WINDOW - 1 : N_WINDOW + 14]]
    assert ends == [[20], [], [], [], [], [], [], [27], [], [], [], [], [], [], [34]]


@every_engine
def test_an_empty_chunk_changes_nothing(engine):
    stream = BY_ENGINE[engine].stream(hop=1)
    assert len(stream.process(X[:N_WINDOW])) == 1
    assert stream.process(X[:0]) == []
    assert [o.n_end for o in stream.process(X[N_WINDOW : N_WINDOW + 1])] == [N_WINDOW + 1]


@every_engine
@given(n_before=st.integers(0, 60), hop=st.integers(1, 30), cuts=some_cuts)
@EXAMPLES
def test_after_a_reset_a_stream_decodes_as_a_new_one(engine, n_before, hop, cuts):
    one = BY_ENGINE[engine]
    stream = one.stream(hop)
    stream.process(signal(n_before, seed=9))
    stream.reset()
    assert_same(stream_all(stream, X, cuts), stream_all(one.stream(hop), X))


@every_engine
@given(hop=st.integers(1, 30), cuts=some_cuts, data=st.data())
@EXAMPLES
def test_process_newest_skips_all_but_the_last_decision_and_changes_no_later_one(engine, hop, cuts, data):
    plain, overloaded = BY_ENGINE[engine].stream(hop), BY_ENGINE[engine].stream(hop)
    for chunk in chunks(X, cuts):
        wanted = collect(plain.process(chunk))
        if data.draw(st.booleans()):
            outputs, n_skipped = overloaded.process_newest(chunk)
            assert n_skipped == max(0, len(wanted[0]) - 1)
            wanted = wanted[0][-1:], wanted[1][-1:]
        else:
            outputs = overloaded.process(chunk)
        assert_same(collect(outputs), wanted)


@every_engine
def test_streams_of_one_decoder_share_nothing(engine):
    one, other = BY_ENGINE[engine].stream(10), BY_ENGINE[engine].stream(10)
    outputs = []
    for chunk in chunks(X, range(0, 150, 7)):
        one.process(signal(len(chunk), seed=5))
        BY_ENGINE[engine].decode(signal(N_WINDOW, seed=6))
        outputs += other.process(chunk)
    assert_same(collect(outputs), stream_all(BY_ENGINE[engine].stream(10), X))


@every_engine
def test_a_decision_keeps_its_values_while_the_stream_continues(engine):
    stream = BY_ENGINE[engine].stream(1)
    (first,) = stream.process(X[:N_WINDOW])
    kept = first.probs.copy()
    for chunk in chunks(X[N_WINDOW:], (1, 30, 90)):
        stream.process(chunk)
        stream.catch_up()
    np.testing.assert_array_equal(first.probs, kept)


@pytest.mark.parametrize("hop", [0, -1])
def test_a_hop_below_one_sample_is_refused(hop):
    with pytest.raises(UsageError, match=f"at least 1 sample, got {hop}"):
        DECODER.stream(hop)


@every_engine
@pytest.mark.parametrize(
    "shape", [(N_CHANNELS,), (30, 1), (30, N_CHANNELS - 1), (30, N_CHANNELS + 1), (1, 30, N_CHANNELS)]
)
@pytest.mark.parametrize("hop", [1, N_WINDOW + 1])
def test_a_stream_refuses_samples_of_another_shape_and_continues_without_them(engine, shape, hop):
    stream = BY_ENGINE[engine].stream(hop)
    before = stream.process(X[:33])
    with pytest.raises(DataError, match=r"Expected samples of shape \(n_new, 5\)"):
        stream.process(np.zeros(shape, np.float32))
    after = collect(before + stream.process(X[33:]))
    assert_same(after, stream_all(BY_ENGINE[engine].stream(hop), X))
