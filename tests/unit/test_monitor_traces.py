"""The traces of the monitor: extremes of all samples, and the frames for the page."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pretap_realtime.monitor.traces import Traces


@given(st.lists(st.integers(1, 70), min_size=1, max_size=20))
def test_columns_hold_the_extremes_of_all_samples_with_any_chunks(sizes):
    n = sum(sizes)
    x = np.random.default_rng(n).normal(0, 20, (n, 3)).astype(np.float32)
    t_s = np.arange(n) / 1000
    traces = Traces(n_channels=3, sfreq_hz=1000.0)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        traces.append(x[start : start + size], t_s[start : start + size])
    timestamps_s, columns = traces.since(0)
    whole = x[: n // 10 * 10].reshape(-1, 10, 3)[-1201:]
    np.testing.assert_array_equal(columns[:, 0], whole.min(axis=1))
    np.testing.assert_array_equal(columns[:, 1], whole.max(axis=1))
    np.testing.assert_array_equal(timestamps_s, t_s[9::10][-1201:])


def test_a_spike_of_one_sample_and_a_nan_are_seen():
    x = np.zeros((30, 2), np.float32)
    x[4, 0], x[17, 1] = 900, np.nan
    traces = Traces(n_channels=2, sfreq_hz=1000.0)
    traces.append(x, np.arange(30) / 1000)
    _, columns = traces.since(0)
    assert columns[0, 1].tolist() == [900, 0]
    assert np.isnan(columns[1, :, 1]).all()
    assert not np.isnan(columns[[0, 2]]).any()


def test_a_slow_stream_has_a_column_for_each_sample():
    traces = Traces(n_channels=1, sfreq_hz=50.0)
    traces.append(np.array([[1], [2]], np.float32), np.array([0.0, 0.02]))
    assert traces.since(0)[1].tolist() == [[[1], [1]], [[2], [2]]]


def test_a_frame_holds_the_columns_since_the_last_one():
    traces = Traces(n_channels=2, sfreq_hz=100.0)
    traces.append(np.array([[1, 2], [3, 4]], np.float32), np.array([7.0, 7.01]))
    frame = traces.frame(1)
    assert struct.unpack("<4I", frame[:16]) == (1, 2, 1, 0)
    assert struct.unpack("<d4f", frame[16:]) == (7.01, 3, 4, 3, 4)
    assert traces.frame(2) == b""
