"""The publisher: nothing that hangs behind it may hold up who decodes."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pretap_realtime.publisher import Item, Publisher


class Kept:
    def __init__(self):
        self.messages = []

    def send(self, message, item):
        self.messages.append(message)


class Frozen:
    """A sink that hangs, as an LSL outlet does when a peer asks for a buffer of one sample."""

    def __init__(self):
        self.entered, self.thaw = threading.Event(), threading.Event()

    def send(self, message, item):
        self.entered.set()
        self.thaw.wait(20)


def verdict(t_s=10.0, **more):
    return Item("verdict", "RUNNING", t_s, label="left", code=1, probs=np.array([0.75, 0.25]), **more)


def test_messages_are_numbered_and_stamped_in_order():
    kept = Kept()
    publisher = Publisher([kept], classes=("left", "right"), clock=lambda: 10.5)
    publisher.put(Item("state", "RUNNING", 9.0))
    publisher.put(verdict())
    publisher.put(Item("verdict", "RUNNING", 11.0, why="gap: 12 samples lost", n_lost=12))
    assert publisher.close(timeout_s=5)
    state, decided, silent = kept.messages
    assert [m.seq for m in kept.messages] == [0, 1, 2]
    assert (state.type, state.valid, state.p) == ("state", True, {})
    assert (decided.label, decided.p, decided.t, decided.sent) == ("left", {"left": 0.75, "right": 0.25}, 10.0, 10.5)
    assert (silent.valid, silent.label, silent.p, silent.lost) == (False, "none", {}, 12)
    assert list(publisher.latencies_s) == [0.5]


def test_a_withheld_decision_shows_no_probabilities_and_counts_no_latency():
    kept = Kept()
    publisher = Publisher([kept], classes=("left", "right"), clock=lambda: 12.0)
    publisher.put(verdict(why="older than 1 s when it was ready"))
    assert publisher.close(timeout_s=5)
    assert (kept.messages[0].valid, kept.messages[0].p) == (False, {})
    assert list(publisher.latencies_s) == []


@pytest.mark.parametrize("offset_s, latency_s, t_s", [(0.25, [0.25], 10.25), (None, [], 10.0)])
def test_stamps_of_another_clock_are_brought_to_ours_and_data_time_has_no_latency(offset_s, latency_s, t_s):
    kept = Kept()
    publisher = Publisher([kept], classes=("left", "right"), clock=lambda: 10.5)
    publisher.put(verdict(stamp_to_clock_s=offset_s))
    assert publisher.close(timeout_s=5)
    assert list(publisher.latencies_s) == latency_s
    assert kept.messages[0].t == t_s


def test_a_frozen_outlet_never_blocks_the_loop_and_what_it_costs_is_counted():
    frozen = Frozen()
    publisher = Publisher([frozen], classes=("left", "right"), clock=lambda: 0.0)
    publisher.put(verdict())
    assert frozen.entered.wait(5)
    for _ in range(300):
        publisher.put(verdict())  # 256 fit; put never waits, or this test would run into its time limit
    assert publisher.n_dropped == 44
    assert publisher.close(timeout_s=0.05) is False
    frozen.thaw.set()
