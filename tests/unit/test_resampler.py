"""The causal resampler: exact in time, the same for any chunking, live and offline."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.recordings.recording import Event, Recording
from pretap.recordings.resample import resample_recording
from pretap.signal.resampler import Resampler

RATES = [(250, 1000), (256, 1000), (500, 1000), (512, 1000), (2048, 1000), (1000, 250), (512, 100), (92.67, 100)]


def resampled(x, from_hz, to_hz, cuts=()):
    """All outputs and their stamps, of `x` at ``n / from_hz``, pushed in pieces."""
    resampler = Resampler(from_hz=from_hz, to_hz=to_hz, n_channels=x.shape[1])
    t = np.arange(len(x)) / from_hz
    edges = [0, *sorted(min(cut, len(x)) for cut in cuts), len(x)]
    pieces = [resampler.process(x[a:b], t[a:b]) for a, b in pairwise(edges)]
    return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_a_sine_comes_out_as_the_same_sine_at_its_timestamps(from_hz, to_hz):
    slower = min(from_hz, to_hz)
    t = np.arange(round(4 * from_hz)) / from_hz
    for share in (0.02, 0.1, 0.3, 0.4):
        f_hz = share * slower
        x = np.sin(2 * np.pi * f_hz * t)[:, None].astype(np.float32)
        y, at_s = resampled(x, from_hz, to_hz)
        assert np.abs(y[:, 0] - np.sin(2 * np.pi * f_hz * at_s)).max() < 0.005


@pytest.mark.parametrize(("from_hz", "to_hz"), [(1000, 250), (2048, 1000), (512, 100)])
def test_frequencies_that_would_alias_into_the_pass_band_are_attenuated_by_50_db(from_hz, to_hz):
    t = np.arange(round(8 * from_hz)) / from_hz
    for f_hz in (0.6 * to_hz, 0.9 * to_hz, to_hz):  # they would appear at 0.4, 0.1 and 0 of the new rate
        x = np.sin(2 * np.pi * f_hz * t + 0.5)[:, None].astype(np.float32)
        y, _ = resampled(x, from_hz, to_hz)
        assert np.abs(y).max() < 10 ** (-50 / 20)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_an_electrode_offset_of_100_millivolts_passes_without_a_ripple(from_hz, to_hz):
    y, _ = resampled(np.full((round(3 * from_hz), 1), 1e5, np.float32), from_hz, to_hz)
    assert np.array_equal(y, np.full_like(y, 1e5))


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_outputs_stand_at_the_new_rate_and_come_as_late_as_stated(from_hz, to_hz):
    resampler = Resampler(from_hz=from_hz, to_hz=to_hz, n_channels=1)
    latest = []
    stamps = []
    for n in range(round(2 * from_hz)):
        _, at_s = resampler.process(np.zeros((1, 1), np.float32), np.array([n / from_hz]))
        stamps += at_s.tolist()
        latest += [n / from_hz - t for t in at_s.tolist()]
    assert np.abs(np.diff(stamps) - 1 / to_hz).max() < 2e-5 / to_hz
    assert resampler.delay_s - 1 / from_hz - 1e-9 <= max(latest) <= resampler.delay_s + 1e-9
    assert resampler.delay_s <= 8 / min(from_hz, to_hz) + 1 / from_hz


@settings(max_examples=60, deadline=None)
@given(
    rates=st.sampled_from(RATES),
    cuts=st.lists(st.integers(0, 700), max_size=12),
    seed=st.integers(0, 9),
)
def test_chunks_change_no_bit(rates, cuts, seed):
    x = np.random.default_rng(seed).normal(0, 20, (700, 3)).astype(np.float32)
    whole, pieces = resampled(x, *rates), resampled(x, *rates, cuts)
    assert np.array_equal(whole[0], pieces[0])
    assert np.array_equal(whole[1], pieces[1])


def test_after_a_reset_it_starts_again():
    x = np.random.default_rng(0).normal(0, 20, (300, 2)).astype(np.float32)
    t = np.arange(300) / 250
    resampler = Resampler(from_hz=250, to_hz=1000, n_channels=2)
    first = resampler.process(x, t)
    resampler.process(x[:37] + 1, t[:37])
    resampler.reset()
    again = resampler.process(x, t)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def test_a_clock_that_runs_fast_stays_as_fast_at_the_other_rate():
    n, fast = 5000, 1 + 50e-6
    resampler = Resampler(from_hz=512, to_hz=1000, n_channels=1)
    _, at_s = resampler.process(np.zeros((n, 1), np.float32), np.arange(n) / (512 * fast))
    assert 1 / np.diff(at_s).mean() == pytest.approx(1000 * fast, rel=1e-9)


# -- recordings ----------------------------------------------------------------------------------------------------


def recording(x, sfreq_hz, events=(), **more):
    return Recording(
        channels=tuple(f"ch{k}" for k in range(x.shape[1])),
        sfreq_hz=sfreq_hz,
        n_samples=len(x),
        events=events,
        read=lambda start, stop: x[start:stop],
        source="test",
        **more,
    )


def test_a_recording_is_resampled_as_a_stream_is_whatever_the_pieces():
    x = np.random.default_rng(0).normal(0, 20, (512 * 25, 2)).astype(np.float32)  # more than two pieces
    out = resample_recording(recording(x, 512.0), sfreq_hz=250.0)
    live, at_s = resampled(x, 512, 250, cuts=range(0, len(x), 7))
    assert np.array_equal(out.read(0, out.n_samples), live)
    assert np.array_equal(out.t_s, at_s)
    assert (out.sfreq_hz, out.n_samples) == (250.0, len(live))


def test_events_keep_their_times_across_rates_and_breaks():
    x = np.zeros((3000, 1), np.float32)
    events = (Event(500, "a", 0.001), Event(1999, "b"), Event(2400, "c"))
    t_s = np.arange(3000) / 1000.0
    t_s[2000:] += 100.0
    out = resample_recording(recording(x, 1000.0, events, segments=(0, 2000), t_s=t_s), sfreq_hz=256.0)
    before = {e.text: float(t_s[e.sample]) + e.late_s for e in events}
    after = {e.text: float(out.t_s[e.sample]) + e.late_s for e in out.events}
    assert after == pytest.approx(before, abs=1e-9)
    late = {e.text: abs(e.late_s) for e in out.events}
    assert late["a"] <= 0.5 / 256 + 1e-9
    assert late["c"] <= 0.5 / 256 + 1e-9
    assert late["b"] > 1 / 256  # so near the break there is no output: `late_s` says so
    assert len(out.segments) == 2
    assert out.t_s[out.segments[1]] > 102.0


def test_a_bad_span_at_the_start_of_several_segments_stays_there():
    x = np.zeros((6000, 1), np.float32)
    out = resample_recording(recording(x, 1000.0, segments=(0, 3000), bad=((0, 500), (5900, 6000))), sfreq_hz=250.0)
    (first, last) = out.bad
    assert first[0] == 0
    assert 0.5 <= out.t_s[first[1] - 1] < 0.6
    assert out.t_s[last[0]] < 5.9
    assert last[1] == out.n_samples


def test_a_bad_span_over_a_break_stays_bad_on_both_sides_within_its_segments():
    x = np.zeros((9000, 1), np.float32)
    t_s = np.arange(9000) / 1000.0
    t_s[3000:] += 50.0
    t_s[6000:] += 50.0
    spans = ((2900, 3100), (5000, 6000), (8990, 9000))
    out = resample_recording(recording(x, 1000.0, segments=(0, 3000, 6000), t_s=t_s, bad=spans), sfreq_hz=250.0)
    is_bad = np.zeros(out.n_samples, bool)
    for start, stop in out.bad:
        assert start < stop
        is_bad[start:stop] = True

    def touched(reach_s):
        spans_s = ((2.9 - reach_s, 3.0), (53.0, 53.1 + reach_s), (55.0 - reach_s, 56.0), (108.99 - reach_s, 109.0))
        return np.any([(out.t_s >= first) & (out.t_s <= last) for first, last in spans_s], axis=0)

    assert is_bad[touched(0.031)].all()  # what the filter mixed with bad samples
    assert not is_bad[~touched(0.036)].any()  # rounded to a sample of the new rate


def test_an_event_in_a_break_stays_with_the_segment_of_its_sample():
    t_s = np.arange(4000) / 1000.0
    t_s[2000:] += 3.0
    event = Event(1999, "a", 1.2)
    out = resample_recording(
        recording(np.zeros((4000, 1), np.float32), 1000.0, (event,), segments=(0, 2000), t_s=t_s), sfreq_hz=250.0
    )
    assert out.events[0].sample == out.segments[1] - 1
    assert out.t_s[out.events[0].sample] + out.events[0].late_s == pytest.approx(3.199)


def test_bad_spans_grow_by_the_reach_of_the_filter():
    x = np.zeros((3000, 1), np.float32)
    out = resample_recording(recording(x, 1000.0, bad=((1000, 1100),)), sfreq_hz=250.0)
    ((start, stop),) = out.bad
    assert out.t_s[start] <= 1.0 - 0.031
    assert out.t_s[stop - 1] >= 1.1 + 0.031
