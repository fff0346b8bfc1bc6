"""Plain samples: accepting them unexamined gives what examining every sample gives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.decide.modes import FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.signal.chunk import Chunk

FS = 100.0


@pytest.fixture(scope="module")
def wide(make_decoder):
    channels = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")
    return make_decoder(channels=channels, interpolation=interpolation_weights(channels), engine="auto")


class Thorough(Pipeline):
    """Examines every sample: none may be accepted."""

    def horizon(self):
        return replace(super().horizon(), n_samples=0)


class Counting(Pipeline):
    """Counts the plain samples that were accepted."""

    n_plain = 0

    def accept(self, taken):
        self.n_plain += len(taken.chunk.t_s)
        return super().accept(taken)


def noise(n=800):
    return np.random.default_rng(0).normal(0, 20, (n, 8)).astype(np.float32), 1000.0 + np.arange(n) / FS


def told(decisions):
    return [(d.t_s, None if d.probs is None else d.probs.tobytes(), d.why, d.cue, d.n_lost) for d in decisions]


def state(pipeline):
    """The state of the checks that decides how the following samples are handled."""
    front_end = pipeline.front_end
    return {
        "counts": front_end.losses.counts,
        "gap": front_end.losses.smallest_gap_samples,
        "electrodes": (front_end.status.describe(), front_end.status.bad),
        "horizon": repr(pipeline.front_end.horizon()),  # repr: there is no line yet if t0_s is NaN
        "next": pipeline.mode.n_to_next,
    }


@st.composite
def troubled(draw, *, n=900):
    """Eight channels with some gaps, clock steps, jitter, bad timestamps, NaN and flat electrodes, or none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sfreq_hz = draw(st.sampled_from([FS, FS, 256.0]))
    x = rng.normal(0, 20, (n, 8)).astype(np.float32)
    t = draw(st.sampled_from([0.0, 1e5, 1.7e9])) + np.arange(n) / sfreq_hz * (1 + draw(st.sampled_from([0, 5e-5])))
    t += draw(st.sampled_from([0, 0, 1e-5, 1e-3])) * rng.normal(size=n)
    moments = st.integers(150, n - 1)
    for at in draw(st.lists(moments, max_size=2)):
        t[at:] += draw(st.sampled_from([1 / sfreq_hz, 7 / sfreq_hz, 3.0, 5000.0, -1.0]))
    for at in draw(st.lists(moments, max_size=2)):
        x[at : at + draw(st.integers(1, 3)), draw(st.integers(0, 7))] = draw(st.sampled_from([np.nan, np.inf]))
    for at in draw(st.lists(moments, max_size=1)):
        x[at : at + draw(st.sampled_from([20, 60, 400])), draw(st.integers(0, 7))] = draw(
            st.sampled_from([0.0, np.nan])
        )
    for at in draw(st.lists(moments, max_size=1)):
        t[at] = draw(st.sampled_from([np.nan, np.inf, 1e300, -1e300]))
    sizes = draw(st.sampled_from([(1, 2), (1, 12), (5, 40), (60, 300)]))
    cuts = np.cumsum(rng.integers(*sizes, n))
    return sfreq_hz, x, t, [0, *cuts[cuts < n].tolist(), n]


@settings(max_examples=60, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(case=troubled(), hop=st.sampled_from([1, 10, 37]), data=st.data())
def test_accepting_plain_samples_gives_the_decisions_and_the_state_that_examining_every_sample_gives(
    wide, case, hop, data
):
    sfreq_hz, x, t, edges = case
    fast, thorough = (kind(wide, FreeRunning(wide, hop=hop), max_interpolated=0.15) for kind in (Pipeline, Thorough))
    for pipeline in (fast, thorough):
        pipeline.reset(sfreq_hz=sfreq_hz)
    catches_up = data.draw(st.sampled_from(["always", "never", "sometimes"]))
    rng = np.random.default_rng(len(edges))
    found, expected = [], []
    for start, stop in pairwise(edges):
        piece = Chunk(x[start:stop], t[start:stop])
        found += fast.process(piece)
        expected += thorough.process(piece)
        if catches_up == "always" or (catches_up == "sometimes" and rng.random() < 0.5):
            found += fast.catch_up()
            assert told(found) == told(expected)
            assert state(fast) == state(thorough)
    found += fast.catch_up()
    assert told(found) == told(expected)
    assert state(fast) == state(thorough)


def test_nearly_all_samples_of_a_good_stream_are_accepted_as_plain(wide):
    pipeline = Counting(wide, FreeRunning(wide, hop=10), max_interpolated=0.15)
    x = np.random.default_rng(0).normal(0, 20, (2000, 8)).astype(np.float32)
    for k in range(2000):
        pipeline.process(Chunk(x[k : k + 1], 1000.0 + np.arange(k, k + 1) / FS))
        pipeline.catch_up()
    assert pipeline.n_plain > 1700


@settings(max_examples=30, deadline=None, derandomize=True)
@given(hop=st.integers(1, 60), n_before=st.integers(0, 400), n=st.integers(1, 400))
def test_overload_gives_the_newest_decision_alone_however_the_samples_are_examined(wide, hop, n_before, n):
    x, t = noise()
    fast, thorough = (kind(wide, FreeRunning(wide, hop=hop)) for kind in (Pipeline, Thorough))
    for pipeline in (fast, thorough):
        for start in range(0, n_before, 10):
            piece = slice(start, min(start + 10, n_before))
            pipeline.process(Chunk(x[piece], t[piece]))
    piece = Chunk(x[n_before : n_before + n], t[n_before : n_before + n])
    expected = told(thorough.process(piece, newest_only=True))
    assert len([d for d in expected if d[1] is not None]) <= 1
    assert told(fast.process(piece, newest_only=True)) == expected
    assert fast.mode.n_skipped == thorough.mode.n_skipped
