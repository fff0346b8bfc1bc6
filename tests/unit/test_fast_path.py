"""The fast path in C does what the pipeline does in Python, to the bit: receive.c calls functions of the test."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from native_parts import FS, MAX_SAMPLES, Inlet, Outlet, WatchedStream
from pretap.decoder.compiled import why_not_compiled
from pretap.errors import StreamRefusedError
from pretap_realtime.decide.modes import CueLocked, FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.native import library as native
from pretap_realtime.send.leader import Leader
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sending_clock import new_sending_clock
from pretap_realtime.serve.fast_path import make_fast_path
from pretap_realtime.signal.chunk import Chunk

pytestmark = pytest.mark.skipif(native.library() is None or why_not_compiled() != "", reason="no C compiler here")


@pytest.fixture(scope="module")
def decoder(make_decoder):
    return make_decoder(sfreq_hz=FS, n_window=50, engine="compiled")


def build(decoder, chunks, *, hop=10, sending_clock=None, before_row=lambda _: None, watch=lambda stream: stream):
    mode = FreeRunning(decoder, hop=hop)
    mode.lanes = watch(mode.lanes)
    pipeline = Pipeline(decoder, mode)
    inlet, outlet = Inlet(chunks, len(decoder.manifest.channels)), Outlet(decoder.manifest.classes, before_row)
    fast_path = make_fast_path(inlet, pipeline, outlet, sending_clock=sending_clock or new_sending_clock(), hop_s=1e-6)
    return fast_path, pipeline, inlet, outlet


def drive(
    fast_path,
    pipeline,
    *,
    may_send=True,
    sending=True,
    max_age_s=math.inf,
    n_overload=MAX_SAMPLES,
    clock_offset_s=0.0,
    audit=None,
):
    """Run to the end of the source, as the service does; return the decisions, and how many were sent in C."""
    decisions, n_sent = [], 0
    while True:
        assert (audit or pipeline.mode.lanes.audit)() == ""  # pending samples have not been overwritten
        decisions += fast_path.prepare(
            timeout_s=0.05, n_overload=n_overload, may_send=sending, max_age_s=max_age_s, clock_offset_s=clock_offset_s
        )
        n_sent += fast_path(may_send=may_send)
        assert fast_path.outlets.goes_out  # with the last row
        try:
            chunk = fast_path.received()
        except ConnectionLostError:
            return decisions + pipeline.close(), n_sent
        if chunk is None:
            continue
        while (taken := fast_path.taken()) is not None:
            decisions += pipeline.accept(taken)
            if fast_path.is_done:
                break
            decisions += fast_path.take_more()
            n_sent += fast_path(may_send=may_send)
        else:
            remainder = fast_path.remainder()
            decisions += pipeline.process(remainder, newest_only=len(remainder.t_s) > n_overload)
            decisions += pipeline.catch_up()


def told(decisions):
    return [(d.t_s, None if d.probs is None else d.probs.tolist(), d.why, d.n_lost) for d in decisions]


def cut(x, t_s, sizes):
    edges = np.minimum(np.cumsum([0, *sizes]), len(t_s)).tolist()
    chunks = [Chunk(x[a:b], t_s[a:b]) for a, b in pairwise(edges)]
    return [*chunks, *([Chunk(x[edges[-1] :], t_s[edges[-1] :])] if edges[-1] < len(t_s) else [])]


def noise(n, n_channels=4, seed=0):
    return np.random.default_rng(seed).normal(0, 20, (n, n_channels)).astype(np.float32), 1000 + np.arange(n) / FS


@st.composite
def cases(draw):
    x, t_s = noise(n := draw(st.integers(300, 700)), seed=draw(st.integers(0, 2**32 - 1)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    t_s += draw(st.sampled_from([0, 0, 1e-5, 1e-3])) * rng.normal(size=n)
    for at in draw(st.lists(st.integers(150, n - 1), max_size=2)):
        t_s[at:] += draw(st.sampled_from([1 / FS, 7 / FS, 3.0, -1.0]))
    for at in draw(st.lists(st.integers(150, n - 1), max_size=2)):
        x[at, draw(st.integers(0, 3))] = draw(st.sampled_from([np.nan, np.inf, 0.0]))
    for at in draw(st.lists(st.integers(100, n - 1), max_size=2)):
        x[at : at + draw(st.sampled_from([40, 60, 150])), draw(st.integers(0, 3))] = 7.0  # flat
    for at in draw(st.lists(st.integers(150, n - 1), max_size=1)):
        t_s[at] = draw(st.sampled_from([np.nan, np.inf, 1e300]))
    largest = draw(st.sampled_from([2, 12, 40, 120]))
    sizes = rng.integers(0, largest, 2 * n // largest).tolist()  # 0: nothing came in time
    return x, t_s, sizes


@settings(max_examples=100, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(case=cases(), hop=st.sampled_from([1, 7, 10, 50]))
def test_it_decides_and_counts_as_the_pipeline_does_and_sends_what_it_decides_itself(decoder, case, hop):
    x, t_s, sizes = case
    plain = Pipeline(decoder, FreeRunning(decoder, hop=hop))
    expected = told([d for chunk in cut(x, t_s, sizes) for d in plain.process(chunk)] + plain.catch_up())
    fast_path, pipeline, _, outlet = build(decoder, cut(x, t_s, sizes), hop=hop)
    decisions, n_sent = drive(fast_path, pipeline)
    assert told(decisions) == expected
    assert pipeline.front_end.losses.counts == plain.front_end.losses.counts
    assert pipeline.front_end.status.describe() == plain.front_end.status.describe()
    assert n_sent == len(outlet.rows)
    rows = [(d.t_s, (*d.probs.astype(np.float32).tolist(), 1.0)) for d in decisions if d.probs is not None]
    assert [row for row in rows if row in outlet.rows] == outlet.rows  # in order, none twice


def test_after_an_overload_what_the_ring_needs_is_still_there(make_decoder):
    x, t_s = noise(900)
    wide = make_decoder(sfreq_hz=FS, n_window=100, engine="compiled")
    fast_path, pipeline, _, _ = build(wide, cut(x, t_s, [10] * 30 + [60] + [10] * 50))
    drive(fast_path, pipeline, n_overload=50)  # it audits
    assert pipeline.mode.n_skipped > 0


def test_a_piece_may_hold_more_decisions_than_an_electrodes_block_of_a_slow_stream(make_decoder):
    sfreq_hz, n = 5000.0, 9000
    x = noise(n)[0]
    t_s = 1000 + np.arange(n) / sfreq_hz
    fast = make_decoder(sfreq_hz=sfreq_hz, n_window=2500, engine="compiled")
    chunks = cut(x, t_s, [50] * 140 + [500, 500, 500])
    plain = Pipeline(fast, FreeRunning(fast, hop=1))
    expected = told([d for chunk in chunks for d in plain.process(chunk)])
    fast_path, pipeline, _, outlet = build(fast, chunks, hop=1)
    decisions, _ = drive(fast_path, pipeline)
    assert told(decisions) == expected
    assert len(outlet.rows) > 1500


@pytest.mark.parametrize("real_hz", [800.0, 1150.0, 2000.0])
def test_a_wrong_rate_is_refused_though_c_code_takes_the_samples(make_decoder, real_hz):
    x = noise(9000)[0]
    t_s = 1000 + np.arange(9000) / real_hz
    slow = make_decoder(sfreq_hz=1000.0, n_window=500, engine="compiled")
    fast_path, pipeline, _, outlet = build(slow, cut(x, t_s, [10] * 900), hop=50)
    with pytest.raises(StreamRefusedError, match="1000 Hz"):
        drive(fast_path, pipeline)
    assert len(outlet.rows) < 2.5 * real_hz / 50


def test_pauses_of_a_good_stream_are_no_wrong_rate(decoder):
    x, t_s = noise(6000)
    t_s += 2.0 * (np.arange(6000) // 800)
    fast_path, pipeline, _, _ = build(decoder, cut(x, t_s, [10] * 600))
    drive(fast_path, pipeline)
    assert pipeline.front_end.losses.counts.n_lost == 7 * 200


def test_most_decisions_of_a_sound_stream_are_sent_by_it(decoder):
    x, t_s = noise(3000)
    fast_path, pipeline, inlet, outlet = build(decoder, cut(x, t_s, [10] * 300))
    decisions, n_sent = drive(fast_path, pipeline, clock_offset_s=0.25)
    assert n_sent > len(decisions) / 2  # at 100 Hz the ends of blocks are near each other
    assert {t for t, _ in outlet.rows} <= {d.t_s + 0.25 for d in decisions}
    assert max(inlet.waited_s) <= 0.05


@pytest.mark.parametrize(
    "terms",
    [{"may_send": False}, {"sending": False}, {"max_age_s": -1e9}, {"n_overload": 5}],
    ids=["another thread hangs in the outlet", "not running", "too old", "overload"],
)
def test_where_a_decision_may_have_to_be_withheld_nothing_is_sent(decoder, terms):
    x, t_s = noise(1000)
    fast_path, pipeline, _, outlet = build(decoder, cut(x, t_s, [10] * 100))
    decisions, n_sent = drive(fast_path, pipeline, **terms)
    assert (n_sent, outlet.rows) == (0, [])
    assert sum(d.probs is not None for d in decisions) > 90


def test_samples_that_came_before_the_source_went_are_not_lost(decoder):
    x, t_s = noise(205)
    fast_path, pipeline, _, _ = build(decoder, [*cut(x[:200], t_s[:200], [50] * 4), Chunk(x[200:], t_s[200:])])
    drive(fast_path, pipeline)
    assert pipeline.front_end.losses.counts.n_received == 205


def test_after_an_audit_that_fails_c_code_takes_no_sample_any_more_and_every_window_is_recomputed(make_decoder):
    x, t_s = noise(3000)
    decoder = make_decoder(sfreq_hz=FS, n_window=50, engine="compiled", tolerance=-1.0)  # no audit passes
    # After it a few samples as they come, then an overload: the first ones must be in the ring before that.
    chunks = cut(x, t_s, [2] * 1003 + [60] + [2] * 400)
    fast_path, pipeline, _, outlet = build(decoder, chunks, watch=WatchedStream)
    n_rows = []

    def audit():
        if pipeline.mode.n_seen >= 1990 and not n_rows:
            n_rows.append(len(outlet.rows))
            assert "every window is recomputed from now on" in pipeline.mode.lanes.audit()
        return ""

    decisions, n_sent = drive(fast_path, pipeline, n_overload=50, audit=audit)
    assert n_sent == n_rows[0] > 100
    assert len(pipeline.mode.lanes.had_lanes) > 100
    assert all(pipeline.mode.lanes.had_lanes)
    ends = [(round((d.t_s - 1000) * FS) + 1, d.probs) for d in decisions if d.probs is not None]
    assert len(ends) > 270
    for end, probs in ends:
        np.testing.assert_allclose(probs, decoder.decode(x[end - 50 : end]), atol=1e-6)


def test_the_engine_that_c_code_uses_is_freed_after_the_fast_path_even_if_an_audit_fails_before(make_decoder):
    x, t_s = noise(300)
    decoder = make_decoder(sfreq_hz=FS, n_window=50, engine="compiled", tolerance=-1.0)  # no audit passes
    fast_path, pipeline, _, _ = build(decoder, cut(x, t_s, [10] * 30))
    engine = weakref.ref(pipeline.mode.lanes.native.owner)
    drive(fast_path, pipeline, audit=lambda: "")
    assert "every window is recomputed from now on" in pipeline.mode.lanes.audit()
    assert pipeline.mode.lanes.native is None
    gc.collect()
    assert engine() is not None
    del fast_path
    gc.collect()
    assert engine() is None


def test_it_is_not_there_for_what_needs_more_than_it_does(decoder, make_decoder):
    cued = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    plain = make_decoder(sfreq_hz=FS, n_window=50)
    resampled = Pipeline(decoder, FreeRunning(decoder, hop=10))
    resampled.reset(sfreq_hz=250.0)
    for pipeline in (cued, Pipeline(plain, FreeRunning(plain, hop=10)), resampled):
        outlet = Outlet(("a", "b"), lambda _: None)
        assert make_fast_path(Inlet([], 4), pipeline, outlet, sending_clock=new_sending_clock(), hop_s=0.1) is None


def test_while_it_hangs_in_the_outlet_another_thread_goes_on_and_sends_the_row_no_second_time(decoder):
    x, t_s = noise(1000)
    items, leaders, hung = [], set(), []
    thaw = threading.Event()

    def hang_once(n_rows):
        if n_rows == 20 and not hung:
            hung.append(threading.get_ident())
            thaw.wait(60)

    leader = Leader(Publisher([], clock=local_clock, say=print))
    fast_path, pipeline, _, outlet = build(
        decoder, cut(x, t_s, [10] * 100), sending_clock=leader.sending_clock, before_row=hang_once
    )

    def loop():
        while True:
            leaders.add(threading.get_ident())
            fast_path.prepare(
                timeout_s=0.05, n_overload=MAX_SAMPLES, may_send=True, max_age_s=math.inf, clock_offset_s=0.0
            )
            yield fast_path
            try:
                chunk = fast_path.received()
            except ConnectionLostError:
                return
            while chunk is not None and (taken := fast_path.taken()) is not None:
                items.append((pipeline.accept(taken), fast_path.n_sent))
                if fast_path.is_done:
                    break
                fast_path.take_more()
                yield fast_path
            else:
                if chunk is not None:
                    items.append((pipeline.process(fast_path.remainder()), 0))
            pipeline.catch_up()

    leader.run(loop())
    decided = [
        (d.t_s, k < n_sent) for decisions, n_sent in items for k, d in enumerate(decisions) if d.probs is not None
    ]
    assert len(decided) == 96
    assert leaders > set(hung)  # another thread went on; on a busy machine a third one may have
    assert outlet.hanging is not None
    thaw.set()
    deadline_s = time.monotonic() + 60
    while len(outlet.rows) < 21 or outlet.hanging is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    assert [t for t, _ in outlet.rows] == [
        t for t, is_sent in decided if is_sent
    ]  # what was not sent, Python has to send
    assert 0 < sum(is_sent for _, is_sent in decided) < 96
