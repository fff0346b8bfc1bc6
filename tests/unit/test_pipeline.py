"""The pipeline: equal samples give equal decisions, and none comes from data that was not there."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.config.serve import QualityConfig
from pretap.errors import StreamRefusedError
from pretap.signal.interpolation import interpolating_matrix
from pretap.signal.resampler import Resampler
from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.decide.modes import CueLocked, FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.signal.chunk import Chunk, Cue

FS = 100.0
N = 800
N_WINDOW = 50


@pytest.fixture(scope="module")
def decoder(make_decoder):
    return make_decoder(sfreq_hz=FS, n_window=N_WINDOW)


@pytest.fixture(scope="module")
def wide(make_decoder):
    channels = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")
    return make_decoder(channels=channels, interpolation=interpolation_weights(channels))


def agree(streamed, decoded):
    """Lanes and whole windows multiply matrices of other shapes, so their last bits depend on the processor's BLAS."""
    return np.allclose(streamed, decoded, rtol=0, atol=1e-6)


def eeg(n=N, seed=0):
    return np.random.default_rng(seed).normal(0, 20, (n, 4)).astype(np.float32)


def stamps(n=N):
    return 1000.0 + np.arange(n) / FS


def run(pipeline, x, t, cuts=(), cues=()):
    """Push x in pieces cut at `cuts`, each cue just before the piece that holds its stamp."""
    decisions, waiting = [], list(cues)
    edges = [0, *sorted(set(cuts)), len(x)]
    for start, stop in pairwise(edges):
        while waiting and stop > start and waiting[0].t_s <= t[stop - 1]:
            decisions += pipeline.ask(waiting.pop(0), arrived_s=0.0)
        decisions += pipeline.process(Chunk(x[start:stop], t[start:stop]))
    return decisions


def plain(decisions):
    return [(d.t_s, None if d.probs is None else d.probs.tobytes(), d.why, d.cue, d.n_lost) for d in decisions]


cut_points = st.lists(st.integers(0, N), max_size=60)


def damaged():
    """A recording with a gap of 7 samples, a NaN, and a second gap; by then the stamps have proved exact."""
    x, t = eeg(), stamps()
    t[420:] += 7 / FS
    x[530, 1] = np.nan
    t[650:] += 40 / FS
    return x, t


@pytest.fixture(scope="module")
def uncut(decoder):
    """Decide on the damaged recording in one piece; each hop is worked out once."""
    return cache(lambda hop: plain(run(Pipeline(decoder, FreeRunning(decoder, hop=hop)), *damaged())))


@settings(max_examples=40, deadline=None)
@given(cuts=cut_points, hop=st.integers(1, 60))
def test_cutting_a_recording_into_any_chunks_never_changes_a_free_running_decision(decoder, uncut, cuts, hop):
    pieces = run(Pipeline(decoder, FreeRunning(decoder, hop=hop)), *damaged(), cuts)
    assert plain(pieces) == uncut(hop)


@settings(max_examples=40, deadline=None)
@given(cuts=cut_points, at=st.lists(st.integers(0, N - 1), min_size=1, max_size=8, unique=True))
def test_cutting_a_recording_into_any_chunks_never_changes_a_cued_decision(decoder, cuts, at):
    x, t = damaged()
    cues = [Cue(float(t[i]), f"tap/{i}") for i in sorted(at)]

    def decide(cuts):
        return run(Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("tap/*",))), x, t, cuts, cues)

    by_cue = {d.cue: plain([d])[0][:4] for d in decide(())}  # a cue is answered when it comes: losses may differ
    assert {d.cue: plain([d])[0][:4] for d in decide(cuts)} == by_cue
    assert set(by_cue) == {cue.text for cue in cues}


@pytest.mark.parametrize("settles_each", [1, 3])
def test_samples_may_be_overwritten_once_they_are_settled(wide, settles_each):
    """As `Inlet.pull` does: the next samples go where the last ones were."""
    x = np.random.default_rng(1).normal(0, 20, (N, 8)).astype(np.float32)
    t = stamps()
    x[530, 1] = np.nan
    t[650:] += 40 / FS
    buffer, buffer_s = np.empty_like(x[: settles_each * 7]), np.empty(settles_each * 7)
    reused, kept = (Pipeline(wide, FreeRunning(wide, hop=10), max_interpolated=0.15) for _ in range(2))
    decisions, expected = [], []
    for start in range(0, N, len(buffer)):
        for at in range(0, min(len(buffer), N - start), 7):
            piece = slice(start + at, start + at + 7)
            room = slice(at, at + len(t[piece]))
            buffer[room], buffer_s[room] = x[piece], t[piece]
            decisions += reused.process(Chunk(buffer[room], buffer_s[room]))
            expected += kept.process(Chunk(x[piece], t[piece]))
        decisions += reused.catch_up()
        expected += kept.catch_up()
        buffer[:], buffer_s[:] = np.nan, np.nan
    assert plain(decisions) == plain(expected)
    assert len([d for d in decisions if d.probs is not None]) > 50


# -- decisions -----------------------------------------------------------------------------------------------------


def test_free_running_decides_at_each_hop_with_the_stamp_of_the_last_sample(decoder):
    x, t = eeg(), stamps()
    decisions = run(Pipeline(decoder, FreeRunning(decoder, hop=20)), x, t)
    ends = range(N_WINDOW, N + 1, 20)
    warm_up, *decisions = decisions
    assert (warm_up.t_s, warm_up.probs, warm_up.why) == (t[0], None, "warm-up: the first window is not full yet")
    assert [d.t_s for d in decisions] == [t[end - 1] for end in ends]
    for d, end in zip(decisions, ends, strict=True):
        assert agree(d.probs, decoder.decode(x[end - N_WINDOW : end]))


def test_a_gap_empties_the_window_and_says_so(decoder):
    x, t = eeg(), stamps()
    t[420:] += 7 / FS
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=10))
    decisions = run(pipeline, x, t)
    assert pipeline.front_end.losses.counts.n_lost == 7
    _, silent = [d for d in decisions if d.probs is None]  # the first one is the warm-up
    assert (silent.t_s, silent.n_lost) == (t[420], 7)
    assert "7 samples" in silent.why
    after = [d for d in decisions if d.t_s > t[419] and d.probs is not None]
    assert after[0].t_s == t[420 + N_WINDOW - 1]
    assert agree(after[0].probs, decoder.decode(x[420 : 420 + N_WINDOW]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_sample_enters_no_window(decoder, bad):
    x, t = eeg(), stamps()
    x[200, 2] = bad
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=1))
    decisions = run(pipeline, x, t)
    assert pipeline.front_end.losses.counts.n_nonfinite == 1
    valid = [d.t_s for d in decisions if d.probs is not None]
    assert not [t_s for t_s in valid if t[200] <= t_s < t[200 + N_WINDOW]]
    assert t[199] in valid
    assert t[200 + N_WINDOW] in valid


def test_a_cue_is_decided_once_for_the_window_that_ends_at_its_offset(decoder):
    x, t = eeg(), stamps()
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=-0.13, patterns=("tap/*",)))
    cues = [Cue(float(t[100]), "tap/left"), Cue(float(t[150]), "rest"), Cue(float(t[200]), "tap/right")]
    decisions = run(pipeline, x, t, range(0, N, 10), cues)
    assert [(d.cue, d.t_s) for d in decisions] == [("tap/left", t[87]), ("tap/right", t[187])]
    assert np.array_equal(decisions[1].probs, decoder.decode(x[138:188]))


@pytest.mark.parametrize("cuts", [range(0, N, 10), range(0, N, 333)])
def test_several_windows_vote_on_a_cue_and_all_of_them_must_be_there(decoder, cuts):
    x, t = eeg(), stamps()
    mode = CueLocked(decoder, offset_s=0.0, patterns=("*",), n_votes=3, vote_step=7)
    cues = [Cue(float(t[62]), "one sample short"), Cue(float(t[63]), "just"), Cue(float(t[300]), "whole")]
    early, just, whole = run(Pipeline(decoder, mode), x, t, cuts, cues)
    assert "only 63 of 64 samples" in early.why
    assert just.why == ""
    votes = decoder.decode(np.stack([x[251:301], x[244:294], x[237:287]]))
    assert np.array_equal(whole.probs, votes.mean(axis=0))
    assert whole.t_s == t[300]


def test_a_cue_may_come_two_seconds_after_its_samples(decoder):
    x, t = eeg(), stamps()
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    run(pipeline, x, t)
    (on_time,) = pipeline.ask(Cue(float(t[-200]), "late"), arrived_s=0.0)
    assert np.array_equal(on_time.probs, decoder.decode(x[N - 199 - N_WINDOW : N - 199]))
    (too_late,) = pipeline.ask(Cue(float(t[-230]), "too late"), arrived_s=0.0)
    assert too_late.probs is None
    assert "21 of 50 samples" in too_late.why


@pytest.mark.parametrize(
    "off_samples, why",
    [(30.0, "only 31 of 50 samples"), (-5.0, "no sample within half a sample")],
)
def test_a_cue_without_a_whole_window_is_refused_with_the_reason(decoder, off_samples, why):
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    decisions = run(pipeline, eeg(), stamps(), (), [Cue(1000.0 + off_samples / FS, "cue")])
    (refused,) = decisions
    assert refused.probs is None
    assert why in refused.why


def test_a_cue_whose_window_crosses_a_gap_is_refused_and_one_beside_it_is_not(decoder):
    x, t = eeg(), stamps()
    t[200:] += 9 / FS
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    cues = [Cue(float(t[i]), str(i)) for i in (199, 220, 248, 249)]
    assert [d.cue for d in run(pipeline, x, t, (), cues) if d.probs is not None] == ["199", "249"]


def test_a_cue_waits_one_second_for_its_samples_and_is_then_refused(decoder):
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    assert pipeline.ask(Cue(2000.0, "early"), arrived_s=10.0) == []
    assert pipeline.expire(11.0) == []
    (refused,) = pipeline.expire(11.01)
    assert (refused.cue, refused.probs) == ("early", None)
    assert "did not come within 1 s" in refused.why
    assert pipeline.expire(99.0) == []


def test_a_cue_stamp_with_float_noise_still_finds_the_last_sample(decoder):
    x, t = eeg(), stamps()
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    (decision,) = run(pipeline, x, t, (), [Cue(np.nextafter(t[-1], 0), "end")])
    (above,) = pipeline.ask(Cue(float(t[-1]) + 1e-9, "end"), arrived_s=0.0)
    assert decision.t_s == above.t_s == t[-1]


@pytest.mark.parametrize("stamp", [np.nan, np.inf, -np.inf])
def test_a_cue_without_a_usable_timestamp_is_refused_at_once_and_has_no_time(decoder, stamp):
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    run(pipeline, eeg(), stamps())
    (refused,) = pipeline.ask(Cue(stamp, "cue"), arrived_s=77.0)
    assert (np.isnan(refused.t_s), refused.probs, refused.why) == (True, None, "its timestamp is not a number")


@pytest.mark.parametrize("stamp", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("cuts", [(333, 500), (333,), (495,), range(0, N, 7)], ids=["at it", "before", "near", "many"])
def test_a_sample_without_a_usable_stamp_breaks_the_window_under_the_last_usable_one(decoder, stamp, cuts):
    x, t = eeg(), stamps()
    usable_s = t[499]
    t[500] = stamp
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=10))
    _, silent = [d for d in run(pipeline, x, t, cuts) if d.probs is None]
    assert (silent.t_s, silent.why) == (usable_s, "non-finite: timestamp")
    assert pipeline.front_end.losses.counts.n_bad_timestamps == 1


def test_overload_skips_to_the_newest_hop_and_counts_the_others(decoder):
    x, t = eeg(), stamps()
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=20))
    assert run(pipeline, x[:90], t[:90])[-1].t_s == t[89]
    (newest,) = pipeline.process(Chunk(x[90:300], t[90:300]), newest_only=True)
    assert newest.t_s == t[289]
    assert agree(newest.probs, decoder.decode(x[240:290]))
    assert pipeline.mode.n_skipped == 9  # the hops at 110, 130, ... 270
    (next_one,) = pipeline.process(Chunk(x[300:310], t[300:310]))
    assert next_one.t_s == t[309]


def test_a_new_connection_starts_with_an_empty_window_and_keeps_the_accounts(decoder):
    x, t = eeg(), stamps()
    t[420:] += 7 / FS
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=1))
    run(pipeline, x[:500], t[:500])
    (silent,) = pipeline.interrupt(1006.0, "the stream was lost")
    assert (silent.probs, silent.why) == (None, "the stream was lost")
    pipeline.reset(sfreq_hz=FS)
    again = pipeline.process(Chunk(x[500:560], 5000.0 + t[500:560]))
    assert [d.t_s for d in again] == [5000.0 + s for s in t[549:560]]
    assert (pipeline.front_end.losses.counts.n_lost, pipeline.front_end.losses.counts.n_received) == (7, 560)


@pytest.mark.parametrize("factor", [1e-6, 1e6, 0.0])
def test_an_amplitude_that_no_eeg_has_is_refused_before_any_decision(decoder, factor):
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=1))
    x = eeg() * np.float32(factor)
    assert {d.probs for d in pipeline.process(Chunk(x[:49], stamps()[:49]))} == {None}
    with pytest.raises(StreamRefusedError, match=r"EEG lies between.*\[stream\] unit"):
        pipeline.process(Chunk(x[49:60], stamps()[49:60]))


def test_electrode_offsets_of_100_millivolts_are_no_reason_to_refuse(decoder):
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=10))
    offset = np.array([1e5, -1e5, 5e4, 0], np.float32)
    decisions = run(pipeline, eeg() + offset, stamps())
    assert len([d for d in decisions if d.probs is not None]) == 76


@pytest.mark.parametrize("reconnected", [True, False])
def test_a_cue_after_the_clock_was_set_back_is_decided_on_the_new_samples(decoder, reconnected):
    x, t = eeg(), stamps()
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=0.0, patterns=("*",)))
    run(pipeline, x[:300], t[:300])
    later = t[300:500] - 500.0
    if reconnected:
        pipeline.interrupt(1005.0, "the stream was lost")
        pipeline.reset(sfreq_hz=FS)
    decisions = run(pipeline, x[300:500], later, cuts=(100, 150), cues=[Cue(later[120], "tap/left")])
    (decision,) = [d for d in decisions if d.cue]
    assert decision.t_s == later[120]
    assert np.array_equal(decision.probs, decoder.decode(x[371:421]))


def test_a_stream_at_another_rate_gives_the_decisions_of_the_resampled_recording(decoder):
    x = np.random.default_rng(0).normal(0, 20, (2000, 4)).astype(np.float32)
    t = 1000.0 + np.arange(2000) / 256.0
    y, at_s = Resampler(from_hz=256.0, to_hz=FS, n_channels=4).process(x, t)
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=10))
    pipeline.reset(sfreq_hz=256.0)
    decisions = [d for d in run(pipeline, x, t, cuts=range(0, 2000, 7)) if d.probs is not None]
    assert [d.t_s for d in decisions] == at_s[49::10].tolist()
    for k, d in enumerate(decisions):
        assert agree(d.probs, decoder.decode(y[10 * k : 10 * k + 50]))
    assert pipeline.delay_s == pytest.approx(0.0820, abs=1e-4)


def test_a_gap_empties_the_resampler_too(decoder):
    x = np.random.default_rng(0).normal(0, 20, (2000, 4)).astype(np.float32)
    t = 1000.0 + np.arange(2000) / 256.0
    t[1000:] += 0.5
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=1))
    pipeline.reset(sfreq_hz=256.0)
    decisions = [d for d in run(pipeline, x, t, cuts=range(0, 2000, 7)) if d.probs is not None]
    after = [d for d in decisions if d.t_s > t[1000]]
    y, at_s = Resampler(from_hz=256.0, to_hz=FS, n_channels=4).process(x[1000:], t[1000:])
    assert [d.t_s for d in after] == at_s[49:].tolist()
    assert agree(after[0].probs, decoder.decode(y[:50]))
    assert max(d.t_s for d in decisions if d.t_s < t[1000]) < t[999]
    assert pipeline.front_end.losses.counts.n_lost == 128


def test_a_cue_waits_for_a_window_that_ends_after_it(decoder):
    x, t = eeg(), stamps()
    pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=1.5, patterns=("*",)))
    assert run(pipeline, x[:100], t[:100]) == []
    assert pipeline.ask(Cue(t[90], "imagine/left"), arrived_s=10.0) == []
    assert pipeline.expire(12.5) == []
    (decision,) = run(pipeline, x[100:300], t[100:300])
    assert decision.t_s == t[240]
    assert np.array_equal(decision.probs, decoder.decode(x[191:241]))
    assert pipeline.ask(Cue(t[290], "imagine/left"), arrived_s=20.0) == []
    (refused,) = pipeline.expire(22.51)
    assert "did not come within 2.5 s" in refused.why


@pytest.mark.parametrize("policy", ["flag", "mask"])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 600), max_size=12))
def test_an_electrode_that_sends_nan_for_good_is_replaced_and_may_come_back(wide, policy, cuts):
    x = np.random.default_rng(0).normal(0, 20, (600, 8)).astype(np.float32)
    x[210:400, 2] = np.nan
    t = 1000.0 + np.arange(600) / FS
    mode = FreeRunning(wide, hop=1)
    decisions = run(Pipeline(wide, mode, max_interpolated=0.15, quality=QualityConfig(policy=policy)), x, t, cuts)
    said = [d.why for d in decisions if d.probs is None]
    flat, masked = (f"1 of 8 electrodes {how}: Cz; interpolated from their neighbours" for how in ("flat", "masked"))
    # the quality check believes in the electrode a block of 25 samples later
    assert said[1:] == ["non-finite: channel 2", flat, *[masked] * (policy == "mask"), "all electrodes are back"]
    good = {round((d.t_s - 1000) * FS): d.probs for d in decisions if d.probs is not None}
    matrix = interpolating_matrix(wide.interpolation, [2])
    # the block of samples 225 to 249 is the first without a finite value
    assert sorted(good) == [*range(49, 210), *range(299, 500), *range(574 if policy == "mask" else 549, 600)]
    assert np.abs(good[299] - wide.decode(np.nan_to_num(x[250:300]) @ matrix.T)).max() < 1e-5


def test_an_electrode_flat_from_the_start_is_in_no_decision(make_decoder):
    channels = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")
    for n_window in (10, 20, 50, 100):
        decoder = make_decoder(channels=channels, n_window=n_window, interpolation=interpolation_weights(channels))
        x = np.random.default_rng(0).normal(0, 20, (300, 8)).astype(np.float32)
        x[:, 2] = 0.0
        pipeline = Pipeline(decoder, FreeRunning(decoder, hop=1), max_interpolated=0.15)
        decisions = [d for d in run(pipeline, x, stamps(300)) if d.probs is not None]
        matrix = interpolating_matrix(decoder.interpolation, [2])
        first = round((decisions[0].t_s - 1000) * FS) + 1
        expected = decoder.decode((x @ matrix.T)[first - n_window : first])
        assert np.abs(decisions[0].probs - expected).max() < 1e-5


def test_a_cue_while_too_many_electrodes_are_flat_is_refused_for_that_reason(wide):
    x = np.random.default_rng(0).normal(0, 20, (400, 8)).astype(np.float32)
    x[100:, 1:4] = 0.0
    pipeline = Pipeline(wide, CueLocked(wide, offset_s=0.0, patterns=("*",)), max_interpolated=0.15)
    run(pipeline, x, stamps(400))
    assert pipeline.ask(Cue(stamps(400)[300], "tap/left"), arrived_s=10.0) == []
    (refused,) = pipeline.expire(12.0)
    assert refused.why.startswith("3 of 8 electrodes flat: C3, Cz, C4; at most 1 may be interpolated")
