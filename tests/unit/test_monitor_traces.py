"""The traces of the monitor: all samples, or the extremes of too many, in frames for the page."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap_realtime.monitor.rate import RateMeasurement
from pretap_realtime.monitor.traces import Traces


def read_frame(frame):
    """Return the timestamps (n,), the values (n, 1 or 2, n_channels) and the first number in a frame."""
    n, n_channels, first, n_values = struct.unpack("<4I", frame[:16])
    t_s = np.frombuffer(frame, "<f8", n, 16)
    return t_s, np.frombuffer(frame, "<f4", offset=16 + 8 * n).reshape(n, n_values, n_channels), first


def read_all(traces):
    """Return the timestamps and values of all kept columns, from as many frames as that takes."""
    frames, n = [], 0
    while (frame := traces.frame(n))[0]:
        frames.append(read_frame(frame[0])[:2])
        n = frame[1]
    return tuple(np.concatenate(parts) for parts in zip(*frames, strict=True))


@given(st.lists(st.integers(1, 70), min_size=1, max_size=20))
def test_samples_arrive_whole_with_any_chunks(sizes):
    n = sum(sizes)
    x = np.random.default_rng(n).normal(0, 20, (n, 3)).astype(np.float32)
    traces = Traces(n_channels=3, sfreq_hz=1000.0)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        traces.append(x[start : start + size], np.arange(start, start + size) / 1000)
    t_s, values = read_all(traces)
    np.testing.assert_array_equal(values[:, 0], x)
    np.testing.assert_array_equal(t_s, np.arange(n) / 1000)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_columns_hold_the_extremes_of_all_samples_of_a_stream_that_is_too_fast(sizes):
    n = sum(sizes)
    x = np.random.default_rng(n).normal(0, 20, (n, 64)).astype(np.float32)
    traces = Traces(n_channels=64, sfreq_hz=16_000.0)
    assert traces.rate_hz == 100
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        traces.append(x[start : start + size], np.arange(start, start + size) / 16_000)
    whole = x[: n // 160 * 160].reshape(-1, 160, 64)
    if len(whole):
        t_s, values = read_all(traces)
        np.testing.assert_array_equal(values[:, 0], whole.min(axis=1))
        np.testing.assert_array_equal(values[:, 1], whole.max(axis=1))
        np.testing.assert_array_equal(t_s, (np.arange(n) / 16_000)[159::160])
    else:
        assert traces.frame(0) == (b"", 0)


def test_a_spike_of_one_sample_and_a_nan_are_seen():
    x = np.zeros((480, 64), np.float32)
    x[4, 0], x[170, 1] = 900, np.nan
    traces = Traces(n_channels=64, sfreq_hz=16_000.0)
    traces.append(x, np.arange(480) / 16_000)
    _, values = read_all(traces)
    assert values[0, 1, :2].tolist() == [900, 0]
    assert np.isnan(values[1, :, 1]).all()
    assert not np.isnan(values[[0, 2]]).any()


def test_a_frame_holds_the_samples_since_the_last_one():
    traces = Traces(n_channels=2, sfreq_hz=100.0)
    traces.append(np.array([[1, 2], [3, 4]], np.float32), np.array([7.0, 7.01]))
    frame, n = traces.frame(1)
    t_s, values, first = read_frame(frame)
    assert (t_s.tolist(), values.tolist(), first, n) == ([7.01], [[[3, 4]]], 1, 2)
    assert traces.frame(2) == (b"", 2)


def test_half_a_minute_of_64_channels_at_1000_hz_arrives_in_frames_of_a_megabyte():
    traces = Traces(n_channels=64, sfreq_hz=1000.0)
    for k in range(35):
        traces.append(np.full((1000, 64), k, np.float32), k + np.arange(1000) / 1000)
    frame, n = traces.frame(0)
    assert len(frame) < 1_100_000
    assert read_frame(traces.frame(n)[0])[2] == n
    t_s, values = read_all(traces)
    assert t_s[-1] - t_s[0] >= 30
    assert values[-1, 0, 0] == 34


@pytest.mark.parametrize("n_packet", [1, 10])
def test_the_rate_of_a_stream_without_one_is_measured_and_no_sample_is_lost(n_packet):
    n = 900
    x = np.random.default_rng(0).normal(0, 20, (n, 2)).astype(np.float32)
    t_s = 1000 + (np.arange(n) // n_packet + 1) * n_packet / 250  # each packet has the timestamp of its last sample
    measurement = RateMeasurement()
    for start in range(0, n, 100):
        measurement.append(x[start : start + 100], t_s[start : start + 100])
        assert (measurement.rate_hz() > 0) == (start >= 700)
    assert measurement.rate_hz() == 250.0
    np.testing.assert_array_equal(measurement.samples()[0], x)
    np.testing.assert_array_equal(measurement.samples()[1], t_s)
