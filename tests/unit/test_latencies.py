"""Latencies of a session: percentiles within 1 %, in memory that does not grow."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap_realtime.send.latencies import Latencies, describe_negative, percentile


def counted(latencies_s):
    latencies = Latencies()
    for latency_s in latencies_s:
        latencies.add(latency_s)
    return latencies


@given(
    latencies_s=st.lists(st.floats(1e-6, 600), min_size=1, max_size=300),
    q=st.one_of(st.sampled_from([0.1, 50, 95, 99, 99.9, 100]), st.floats(0.01, 100)),
)
@settings(deadline=None, max_examples=200)
def test_every_percentile_is_within_1_percent_of_one_of_the_values(latencies_s, q):
    latencies = counted(latencies_s)
    assert latencies.n == len(latencies_s)
    assert latencies.percentile(q) == pytest.approx(percentile(latencies_s, q), rel=0.01)


def test_percentiles_of_a_day_at_1000_decisions_a_second_need_as_little_memory_as_of_a_minute():
    latencies = Latencies()
    some_s = np.random.default_rng(0).lognormal(np.log(5e-4), 0.5, 5000).tolist()
    for latency_s in some_s:
        latencies.add(latency_s)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(4):
        for latency_s in some_s:
            latencies.add(latency_s)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1000
    assert latencies.n == 25_000
    for q in (50, 95, 99):
        assert latencies.percentile(q) == pytest.approx(percentile(some_s, q), rel=0.01)


@pytest.mark.parametrize("latency_s", [0.0, 1e-9])
def test_a_latency_below_a_microsecond_counts_as_a_microsecond(latency_s):
    assert counted([latency_s]).percentile(50) == pytest.approx(1e-6, rel=0.01)


def test_negative_latencies_are_counted_on_their_own():
    latencies = counted([0.002, -3.0, -0.5])
    assert (latencies.n, latencies.n_negative, latencies.lowest_s) == (1, 2, -3.0)
    assert latencies.percentile(50) == pytest.approx(0.002, rel=0.01)
    assert describe_negative(2, 3, -3.0).startswith("ERROR: 2 of 3 latencies are negative, down to -3000.0 ms: ")


def test_latencies_that_are_negative_by_no_more_than_the_jitter_are_no_error():
    said = "2 of 300 latencies are negative, down to -4.0 ms: the timestamps of the EEG jitter by 12.0 ms"
    assert describe_negative(2, 300, -0.004, jitter_s=0.012) == said
    assert describe_negative(2, 300, -0.013, jitter_s=0.012).startswith("ERROR: 2 of 300")


def test_an_hour_counts_as_the_longest_latency():
    latencies = counted([3600.0, 1e-3, 1e-3])
    assert latencies.percentile(100) > 600
    assert latencies.percentile(50) == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize("q, expected", [(50, 5.0), (95, 10.0), (99, 10.0), (10, 1.0)])
def test_percentiles_of_a_list_are_values_of_it(q, expected):
    assert percentile([10.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], q) == expected
