"""The figures of `pretap latency`: stages, impossible latencies, histograms, and the clock of the page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap_realtime.latency.figures import Figures
from pretap_realtime.latency.page import Answer, PageClock
from pretap_realtime.latency.passages import Latencies, Passage


def latencies(*passages: Passage) -> Latencies:
    return Latencies.of(passages, service="pretap", eeg="amp", seconds=1.0, n_missed=0)


def test_each_stage_is_the_time_between_two_points_and_the_whole_their_sum():
    found = latencies(Passage(sample_s=1.0, arrived_s=1.001, sent_s=1.003, received_s=1.007, shown_s=1.015))
    assert {name: round(each.p50_ms, 6) for name, each in found.stages.items()} == {
        "sample to arrival": 1,
        "arrival to decision": 2,
        "decision to consumer": 4,
        "consumer to page frame": 8,
        "sample to consumer": 7,
        "sample to page frame": 15,
    }
    assert found.n_impossible == 0


def test_what_was_not_measured_is_left_out():
    found = latencies(Passage(1.0, 1.003, 1.007), Passage(2.0, 2.003, 2.007, arrived_s=2.001))
    assert {name: each.n for name, each in found.stages.items()} == {
        "sample to arrival": 1,
        "arrival to decision": 1,
        "decision to consumer": 2,
        "sample to consumer": 2,
    }


@pytest.mark.parametrize(("sent_s", "received_s"), [(0.99, 1.0), (1.01, 1.005)])
def test_a_negative_latency_is_counted_as_impossible_and_shown_as_it_is(sent_s, received_s):
    found = latencies(Passage(1.0, sent_s, received_s), Passage(2.0, 2.003, 2.007))
    assert found.n_impossible == 1
    assert received_s - sent_s > 0 or found.stages["decision to consumer"].p5_ms < 0


def test_the_report_has_a_row_for_each_stage_and_bars_that_add_up():
    found = latencies(*[Passage(k, k + 0.001 * (1 + k % 5), k + 0.01) for k in range(50)])
    text = str(found)
    assert "decision to consumer" in text
    assert "sample to consumer, 50 decisions:" in text
    bars = text.splitlines()[text.splitlines().index("sample to consumer, 50 decisions:") + 1 :]
    assert sum(int(line.split()[-1]) for line in bars) == 50


@given(st.lists(st.floats(-1, 10), min_size=1, max_size=300))
def test_every_delay_is_in_one_bin(delays_s):
    found = Figures.of(delays_s)
    assert sum(each.n for each in found.histogram) == found.n == len(delays_s)
    assert len(found.histogram) <= 15
    x_ms = 1000 * np.array(delays_s)
    for each in found.histogram:
        slack_ms = 1e-6
        high_ms = np.inf if each.to_ms is None else each.to_ms
        inside = (x_ms >= each.from_ms + slack_ms) & (x_ms < high_ms - slack_ms)
        assert np.count_nonzero(inside) <= each.n
    assert found.histogram[0].from_ms <= x_ms.min() + 1e-6
    assert len(found.bars().splitlines()) == len(found.histogram)


def test_the_page_s_clock_is_bounded_by_the_quickest_exchanges():
    rng, offset_s = np.random.default_rng(0), 1234.5
    clock = PageClock()
    for k in range(50):
        sent_s = 2000.0 + k
        got_s = sent_s + rng.uniform(0.0002, 0.05)
        frame_s = got_s + rng.uniform(0, 0.016)
        answered_s = frame_s + rng.uniform(0.0002, 0.05)
        answer = Answer(k, 1000 * (got_s - offset_s), 1000 * (frame_s - offset_s))
        clock.add(answer, sent_s=sent_s, answered_s=answered_s)
    assert clock.to_ours_s(1000 * (3000 - offset_s)) == pytest.approx(3000, abs=0.003)
