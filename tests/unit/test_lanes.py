"""Lanes return what the recomputed window does, for any network, hop, chunks and gaps.

The reference is `Decoder.exact`: the whole window at once, in numpy and float64.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_cases import (
    ATOL,
    VARIANTS,
    all_tensors,
    assert_bits,
    assert_near_the_reference,
    cases,
    decide,
    decode_whole,
    examples,
    is_on_lanes,
    make_manifest,
    needs_library,
    starts_of,
    window,
)
from pretap.bundle.file import load
from pretap.decoder.compiled import why_not_compiled
from pretap.decoder.decoder import Decoder
from pretap.networks import AverageSpec, CspSpec, LdaSpec, LrpErdLstmSpec, LstmSpec
from pretap.signal.scaling import Scaling


def check_compiled(case):
    decoder = case.decoder("compiled")
    stream = decoder.stream(case.hop)
    assert is_on_lanes(stream)
    found = decide(stream, case, cuts=case.cuts, catch_up_after=case.cuts[::2])
    assert_bits(found, [(start, decode_whole(decoder, window(case, start))) for start in starts_of(case)])
    assert_near_the_reference(case, found)


def check_lanes(case, engine="numpy"):
    decoder = case.decoder(engine)
    stream = decoder.stream(case.hop)
    assert is_on_lanes(stream)
    found = decide(stream, case, cuts=case.cuts, catch_up_after=case.cuts[::2])
    assert [start for start, _ in found] == starts_of(case)
    assert_bits(found, decide(decoder.stream(case.hop), case, cuts=()))
    assert_near_the_reference(case, found)


@needs_library
@given(cases(LstmSpec))
@examples(60)
def test_compiled_lanes_of_an_lstm_equal_its_windows_bit_for_bit_and_the_reference_within_1e_6(case):
    check_compiled(case)


@needs_library
@given(cases(LrpErdLstmSpec))
@examples(80)
def test_compiled_lanes_of_a_block_decoder_equal_its_windows_bit_for_bit_and_the_reference_within_1e_6(case):
    check_compiled(case)


@needs_library
@given(cases(AverageSpec, networks=(LstmSpec, LrpErdLstmSpec), max_window=80))
@examples(15)
def test_compiled_lanes_of_an_average_equal_its_windows_bit_for_bit_and_the_reference_within_1e_6(case):
    check_compiled(case)


@pytest.mark.parametrize("engine", ["auto", "numpy"])
@given(data=st.data())
@examples(14)
def test_lanes_of_an_average_of_any_kinds_equal_the_reference_within_1e_6_and_chunks_change_no_bit(engine, data):
    networks = (LstmSpec, LdaSpec, CspSpec, LrpErdLstmSpec)
    check_lanes(data.draw(cases(AverageSpec, networks=networks, max_window=80)), engine)


@pytest.mark.parametrize("kind", [LstmSpec, LrpErdLstmSpec, LdaSpec, CspSpec])
@given(data=st.data())
@examples(14)
def test_lanes_in_numpy_equal_the_reference_within_1e_6_and_chunks_change_no_bit(kind, data):
    check_lanes(data.draw(cases(kind)))


@needs_library
def test_every_hop_from_one_sample_to_the_window_gives_the_same_bits():
    rng = np.random.default_rng(3)
    scaling = Scaling(reference="average", n_baseline=3, n_block=2, decimate=3, n_taps=11, n_start=4, divide_uv=1)
    spec = LrpErdLstmSpec(blocks=4, lrp_filters=3, erd_filters=2, band_hz=(3.0, 6.0), hidden=5)
    manifest = make_manifest(spec, n_window=61, n_channels=4, n_classes=2, scaling=scaling, n_members=2)
    decoder = Decoder(manifest, all_tensors(rng, manifest), engine="compiled")
    x_uv = rng.normal(0, 20, (200, 4)).astype(np.float32)
    by_start = [decoder.decode(x_uv[start : start + 61]) for start in range(140)]
    for hop in range(1, 62):
        stream = decoder.stream(hop)
        outputs = [o for start in range(0, 200, 9) for o in stream.process(x_uv[start : start + 9])]
        assert [o.n_end for o in outputs] == list(range(61, 201, hop))
        np.testing.assert_array_equal([o.probs for o in outputs], by_start[::hop])


def test_with_ten_times_the_weights_the_error_of_lanes_is_at_most_ten_times_that_of_torch():
    """Such a network can be chaotic, so the test compares each float32 engine's distance from float64."""
    rng = np.random.default_rng(0)
    worst = dict.fromkeys(["torch", "numpy", "compiled"] if VARIANTS else ["torch", "numpy"], 0.0)
    scaling = Scaling(reference="average", n_baseline=5, divide_uv=60.0)
    for _ in range(8):
        manifest = make_manifest(LstmSpec(hidden=(10, 10, 5)), n_window=80, n_channels=9, n_classes=2, scaling=scaling)
        tensors = all_tensors(rng, manifest, gain=10.0)
        exact = Decoder(manifest, tensors, engine="numpy").exact()
        x_uv = rng.normal(0, 20, (200, 9)).astype(np.float32)
        expected = [exact.decode(x_uv[start : start + 80]) for start in range(0, 121, 24)]
        for engine in worst:
            decoder = Decoder(manifest, tensors, engine=engine)
            found = [o.probs for o in decoder.stream(24).process(x_uv)]
            worst[engine] = max(worst[engine], np.abs(np.subtract(found, expected)).max())
    assert worst["torch"] > 1e-6  # the case is hard enough
    assert max(worst.values()) <= 10 * worst["torch"]


# -- extreme values ------------------------------------------------------------------------------------------------


EXTREME = {
    "zeros": lambda x: 0 * x,
    "a constant": lambda x: 0 * x + 7,
    "denormals": lambda x: x * np.float32(1e-40),
    "the smallest": lambda x: np.sign(x) * np.float32(1e-45),
    "saturating": lambda x: x * np.float32(1e3),
    "1e6 uV": lambda x: x * np.float32(5e4),
    "1e12 uV": lambda x: x * np.float32(5e10),
    "1e30 uV": lambda x: x * np.float32(5e28),
    "steps of 1e30 uV": lambda x: np.where(x > 0, np.float32(1e30), np.float32(-1e30)),
    "one spike of 1e30 uV": lambda x: x + np.float32(1e30) * (np.arange(len(x)) == 70)[:, None],
    "an offset of 100 mV": lambda x: x + np.float32(1e5),
}


@pytest.mark.parametrize("engine", ["compiled", "numpy"])
@pytest.mark.parametrize("change", EXTREME.values(), ids=list(EXTREME))
@pytest.mark.parametrize(
    "spec",
    [LstmSpec(hidden=(7, 4)), LrpErdLstmSpec(blocks=4, lrp_filters=3, erd_filters=3, band_hz=(8, 20), hidden=5)],
    ids=["lstm", "block decoder"],
)
@pytest.mark.filterwarnings("error")
def test_extreme_values_give_finite_probabilities_equal_to_the_reference(engine, change, spec):
    if engine == "compiled" and why_not_compiled():
        pytest.skip(why_not_compiled())
    rng = np.random.default_rng(5)
    manifest = make_manifest(
        spec, n_window=50, n_channels=4, n_classes=3, scaling=Scaling(reference="average", n_baseline=4, divide_uv=10)
    )
    decoder = Decoder(manifest, all_tensors(rng, manifest), engine=engine)
    x_uv = change(rng.normal(0, 20, (150, 4)).astype(np.float32)).astype(np.float32)
    exact = decoder.exact()
    for output in decoder.stream(10).process(x_uv):
        expected = decode_whole(exact, x_uv[output.n_end - 50 : output.n_end])
        assert np.isfinite(output.probs).all()
        assert output.probs.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(output.probs, expected, rtol=0, atol=ATOL)


# -- hours ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drift_script():
    spec = importlib.util.spec_from_file_location("drift", Path(__file__).parents[2] / "studies" / "drift.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_library
@pytest.mark.parametrize("network", ["ensemble-1000hz", "tutorial"])
def test_after_200_000_samples_decisions_still_equal_the_reference(drift_script, network):
    decoder = load(network) if network != "tutorial" else drift_script.tutorial_like(engine="auto")
    assert decoder.engine == "compiled"
    greatest, n_outputs, _ = drift_script.drift(decoder, n_samples=200_000, hop=50, n_last=30)
    assert n_outputs == 3991
    assert greatest <= ATOL
