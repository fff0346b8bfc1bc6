"""Where stamps break: the same places as by the plain algorithm, in time that grows with the length only."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pretap.recordings.xdf.segments import find_starts, largest_error, lateness


def plain_starts(t_s: NDArray[np.float64], sfreq_hz: float) -> list[int]:
    """`cut` as it is meant: candidates by size, a median of the second before and one of the second after for each."""
    n_around = max(2, round(sfreq_hz))
    late, error = lateness(t_s, sfreq_hz), largest_error(t_s, sfreq_hz)
    jumps = np.abs(np.diff(late))
    starts = [0]
    for i in (np.argsort(-jumps, kind="stable")[: np.count_nonzero(jumps > 1.5)] + 1).tolist():
        start = max(each for each in starts if each <= i)
        stop = min([each for each in starts if each > i], default=len(late))
        before, after = late[max(start, i - n_around) : i], late[i : min(stop, i + n_around)]
        is_long = min(len(before), len(after)) >= n_around // 4
        if jumps[i - 1] > 0.9 * sfreq_hz or (
            is_long
            and abs(np.median(after) - np.median(before))
            > max(1.5, error * np.sqrt(n_around / min(len(before), len(after), n_around)))
        ):
            starts.append(i)
    return sorted(starts)


def jittered(seed: int, n: int, sfreq_hz: float, jitter: float, breaks: list[tuple[float, float]]):
    """Stamps with jitter of `jitter` samples, shifted for good at places (0 to 1) by seconds."""
    t_s = 100 + (np.arange(n) + np.random.default_rng(seed).normal(0, jitter, n)) / sfreq_hz
    for place, shift_s in breaks:
        t_s[int(place * n) :] += shift_s
    return t_s


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 4000),
    sfreq_hz=st.sampled_from([3.0, 50.0, 100.0, 101.0, 250.0]),
    jitter=st.sampled_from([0.0, 0.3, 1.5, 4.0]),
    breaks=st.lists(st.tuples(st.floats(0, 1), st.sampled_from([-3.0, 0.01, 0.02, 0.05, 0.3, 0.95, 5.0])), max_size=8),
)
def test_timestamps_break_at_the_breaks_of_the_plain_algorithm(seed, n, sfreq_hz, jitter, breaks):
    t_s = jittered(seed, n, sfreq_hz, jitter, breaks)
    assert find_starts(t_s, sfreq_hz) == plain_starts(t_s, sfreq_hz)


def test_jittered_timestamps_take_a_fraction_of_the_plain_algorithm_s_time():
    t_s = jittered(0, 30_000, 1000.0, 3.0, [(0.7, 3.0)])
    times_s, found = [], []
    for starts in (plain_starts, find_starts):
        began_s = time.process_time()
        found.append(starts(t_s, 1000.0))
        times_s.append(time.process_time() - began_s)
    assert found[0] == found[1]
    assert times_s[1] < times_s[0] / 4  # a sixteenth on 2 busy cores, 2026-11-30


def test_four_minutes_at_1000_hz_with_jitter_of_three_samples_break_at_the_gap_alone():
    starts = find_starts(jittered(0, 240_000, 1000.0, 3.0, [(0.7, 3.0)]), 1000.0)
    assert [round(each / 240_000, 3) for each in starts] == [0.0, 0.7]


@pytest.mark.parametrize("n_per_packet", [1, 10])
@pytest.mark.parametrize("jitter", [0.0, 0.75])
def test_short_recordings_break_at_each_gap_alone(n_per_packet, jitter):
    rng = np.random.default_rng(0)
    for seconds, places in ((5, [2.4]), (30, [5.2, 6.4, 14.0, 25.2])):
        n = seconds * 250
        delay = np.repeat(rng.normal(0, jitter, n // n_per_packet), n_per_packet)  # (n,) samples
        t_s = 100 + (np.arange(n) + delay) / 250
        for place in places:
            t_s[int(place * 250) :] += 0.1
        assert find_starts(t_s, 250.0) == [0, *(int(place * 250) for place in places)]
