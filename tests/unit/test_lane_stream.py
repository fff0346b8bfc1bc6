"""A stream on lanes: the samples it refuses, its description, its next decision, catching up, and the self-audit."""

from __future__ import annotations

from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_cases import LANE_ENGINES, X, collect, every_engine, every_lane_engine, examples, small
from pretap.config.train import FitConfig, ScalingConfig, TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.decoder.stream import DecoderStream
from pretap.errors import DataError
from pretap.networks import ClosedFormSpec, EegNetSpec, TangentSpaceSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.fit.fitting import fit_decoder


@every_engine
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("hop", [3, 31])
def test_a_chunk_with_a_value_that_is_not_finite_is_refused_and_changes_nothing(engine, bad, hop):
    stream, untouched = small(engine).stream(hop), small(engine).stream(hop)
    found, wanted = [], []
    for start in range(0, 120, 8):
        chunk = X[start : start + 8]
        for at in (0, 4, 7):
            broken = chunk.copy()
            broken[at, at % 3] = bad
            n_to_next = stream.n_to_next
            with pytest.raises(DataError, match="NaN or infinite"):
                stream.process(broken)
            assert stream.n_to_next == n_to_next
            with pytest.raises(DataError, match="NaN or infinite"):
                stream.process_newest(broken)
        found += stream.process(chunk)
        wanted += untouched.process(chunk)
    assert collect(found) == collect(wanted)
    assert stream.audit() == ""


# -- the description ----------------------------------------------------------------------------------------------


@every_lane_engine
def test_a_stream_describes_how_many_windows_are_open_or_why_they_are_recomputed(engine):
    decoder = small(engine)
    for hop, windows in [(1, "30 windows"), (7, "5 windows"), (15, "2 windows"), (16, "2 windows"), (30, "1 window")]:
        assert decoder.stream(hop).describe() == f"{engine}: {windows} open at once, each advanced sample by sample"
    why = f"{engine}: every window is recomputed, "
    assert decoder.stream(31).describe() == why + "the hop of 31 samples is longer than the window of 30"
    assert decoder.stream(7, recompute=True).describe() == why + "as requested"


def test_in_torch_every_window_is_recomputed():
    why = "torch: every window is recomputed, which torch does faster than step by step"
    assert small("torch").stream(7).describe() == why


@pytest.fixture(scope="module")
def trials():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 2
    x_uv = rng.normal(0, 5, (30, 40, 6)).astype(np.float32)
    x_uv[labels == 1, :, 0] += 3
    return Epochs(
        x_uv=x_uv,
        labels=labels,
        classes=("left", "right"),
        channels=("C3", "C4", "F3", "F4", "P3", "P4"),
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="noise",
    )


@pytest.mark.parametrize(
    "spec",
    [EegNetSpec(temporal=4, kernel=7, separable_kernel=5), ClosedFormSpec(means=4), TangentSpaceSpec()],
    ids=repr,
)
def test_kinds_that_cannot_be_advanced_give_the_reason_and_decide_as_decode_does(spec, trials):
    fit = FitConfig(optimizer="adamw", max_epochs=1) if "torch" in spec.engines else FitConfig()
    config = TrainConfig(network=spec, scaling=ScalingConfig(reference="average", divide_uv=10.0), fit=fit)
    fitted, tensors = fit_decoder(trials, config, seed=0)
    x_uv = np.random.default_rng(1).normal(0, 5, (100, 6)).astype(np.float32)
    for engine in ("auto", *spec.engines):
        decoder = Decoder(fitted.manifest, tensors, engine=engine)
        stream = decoder.stream(9)
        start = f"{decoder.engine}: every window is recomputed, "
        assert stream.describe().startswith(start)
        assert len(stream.describe()) > len(start) + 10  # a reason follows
        outputs = [o for at in range(0, 100, 13) for o in stream.process(x_uv[at : at + 13])]
        assert [o.n_end for o in outputs] == list(range(40, 101, 9))
        for o in outputs:
            np.testing.assert_array_equal(o.probs, decoder.decode(x_uv[o.n_end - 40 : o.n_end]))
        assert stream.audit() == ""


# -- between decisions ---------------------------------------------------------------------------------------------


@every_engine
@given(
    hop=st.integers(1, 35),
    sizes=st.lists(st.integers(0, 40), max_size=12),
    data=st.data(),
)
@examples(15)
def test_the_next_decision_comes_after_n_to_next_samples(engine, hop, sizes, data):
    stream = small(engine).stream(hop)
    at = 0
    for size in sizes:
        if data.draw(st.sampled_from([False, False, False, True])):
            stream.reset()
            assert stream.n_to_next == 30
        n_to_next = stream.n_to_next
        assert 1 <= n_to_next <= max(30, hop)
        chunk = X[at : at + size]
        at += len(chunk)
        outputs = stream.process(chunk)
        assert len(outputs) == max(0, (len(chunk) - n_to_next) // hop + 1)
        if data.draw(st.booleans()):
            stream.catch_up()
        assert stream.n_to_next == (n_to_next - len(chunk) + len(outputs) * hop)


@every_engine
@given(sizes=st.lists(st.integers(0, 70), max_size=12), hop=st.integers(1, 30), data=st.data())
@examples(12)
def test_catching_up_at_any_moment_changes_no_bit(engine, sizes, hop, data):
    plain, caught_up = small(engine).stream(hop), small(engine).stream(hop)
    at = 0
    for size in sizes:
        chunk = X[at : at + size]
        at += size
        assert collect(caught_up.process(chunk)) == collect(plain.process(chunk))
        for _ in range(data.draw(st.integers(0, 2))):
            caught_up.catch_up()


# -- the self-audit ------------------------------------------------------------------------------------------------


class Tampered:
    """Lanes whose probabilities are wrong while `is_broken`."""

    def __init__(self, lanes, fault=0.01):
        self._lanes, self._fault = lanes, fault
        self.is_broken = False

    def process(self, x_uv):
        ends, probs = self._lanes.process(x_uv)
        return ends, probs + self._fault if self.is_broken else probs

    def catch_up(self):
        self._lanes.catch_up()

    def reset(self):
        self._lanes.reset()


def tampered_stream(engine, hop, fault=0.01):
    made = []

    def tampered(lanes, *arguments, **options):
        made.append(Tampered(lanes, fault))
        return DecoderStream(made[0], *arguments, **options)

    with mock.patch("pretap.decoder.decoder.DecoderStream", tampered):
        stream = small(engine).stream(hop)
    return stream, made[0]


@every_lane_engine
@given(sizes=st.lists(st.integers(0, 50), max_size=12), hop=st.integers(1, 30))
@examples(8)
def test_an_audit_of_correct_lanes_finds_nothing_at_any_moment_and_changes_nothing(engine, sizes, hop):
    stream, plain = small(engine).stream(hop), small(engine).stream(hop)
    assert stream.audit() == ""
    description = stream.describe()
    at = 0
    for size in sizes:
        chunk = X[at : at + size].copy()
        at += size
        assert collect(stream.process(chunk)) == collect(plain.process(chunk))
        assert stream.audit() == ""
        stream.catch_up()
        assert stream.audit() == ""
        chunk[:] = np.nan  # samples may change after `catch_up`
        assert stream.audit() == ""
    stream.reset()
    assert stream.audit() == ""
    assert stream.describe() == description


@every_lane_engine
@given(data=st.data(), hop=st.integers(1, 30), n_before=st.integers(30, 130))
@examples(12)
def test_a_failed_audit_reports_the_error_and_from_then_on_the_reference_decides(engine, data, hop, n_before):
    stream, lanes = tampered_stream(engine, hop)
    exact = small().exact()
    found = list(stream.process(X[:n_before]))
    assert stream.audit() == ""
    lanes.is_broken = True
    at = n_before + stream.n_to_next
    found += stream.process(X[n_before:at])  # the wrong decision
    extra = data.draw(st.integers(0, 12))  # the audit may come later
    for k in range(at, at + extra):
        found += stream.process(X[k : k + 1])
    if data.draw(st.booleans()):
        stream.catch_up()
    n_to_next = stream.n_to_next
    fault = stream.audit()
    assert fault == (
        "the self-audit failed: probabilities differ by 0.01 from the reference's, 1e-05 is allowed; every window is "
        "recomputed from now on"
    )
    assert stream.describe().startswith(
        "numpy: every window is recomputed, the self-audit failed: probabilities differ by 0.01"
    )
    assert stream.audit() == ""
    assert stream.n_to_next == n_to_next
    at += extra
    n_right = len(found)
    cuts = sorted(data.draw(st.lists(st.integers(at, 260), max_size=8)))
    for start, stop in pairwise([at, *cuts, 260]):
        with pytest.raises(DataError, match="NaN or infinite"):
            stream.process(np.full((4, 3), np.nan, np.float32))
        found += stream.process(X[start:stop])
        stream.catch_up()
    assert [o.n_end for o in found] == list(range(30, 261, hop))
    for o in found[n_right:]:
        np.testing.assert_array_equal(o.probs, exact.decode(X[o.n_end - 30 : o.n_end]))
    stream.reset()
    after = stream.process(X[:100])
    assert [o.n_end for o in after] == list(range(30, 101, hop))
    for o in after:
        np.testing.assert_array_equal(o.probs, exact.decode(X[o.n_end - 30 : o.n_end]))


@every_lane_engine
def test_lanes_that_return_nan_fail_the_audit(engine):
    stream, lanes = tampered_stream(engine, 5, np.nan)
    lanes.is_broken = True
    stream.process(X[:40])
    assert "probabilities differ by nan" in stream.audit()
    assert np.isfinite(stream.process(X[40:45])[0].probs).all()


def test_overload_after_a_failed_audit_skips_decisions_as_before():
    stream, lanes = tampered_stream(LANE_ENGINES[0], 5)
    lanes.is_broken = True
    stream.process(X[:40])
    assert stream.audit()
    outputs, n_skipped = stream.process_newest(X[40:92])
    assert ([o.n_end for o in outputs], n_skipped) == ([90], 9)
    np.testing.assert_array_equal(outputs[0].probs, small().exact().decode(X[60:90]))
