"""Calls of the loop that send probabilities, as the fast path does: none is sent twice, too early or never."""

from __future__ import annotations

import threading
import time

import numpy as np

from sinks import LONG_S, Outlets, Sink, make_leader, until, verdict


class Call:
    """Sends the probabilities of one decision itself, if it may, and hangs in the outlets if they are frozen."""

    def __init__(self, outlets, watchdog, t_s):
        self._outlets, self._watchdog, self._t_s = outlets, watchdog, t_s
        self._lock, self._is_in_outlets, self._is_cancelled = threading.Lock(), False, False
        self.may_send, self.is_sent, self.is_finished = [], False, False

    def __call__(self, *, may_send):
        self.may_send.append(may_send)
        if not may_send:
            return 0
        with self._lock:
            self._is_in_outlets = self.is_sent = True
        self._watchdog.since_s = time.monotonic()
        if self._outlets.is_frozen:
            self._outlets.entered.set()
            self._outlets.thaw.wait(LONG_S)
        self._outlets.probabilities.append(self._t_s)
        with self._lock:
            self._is_in_outlets = False
        return 1

    def cancel(self):
        with self._lock:
            return self._is_in_outlets

    def finish(self):
        self.is_finished = True


def test_a_call_that_hangs_in_the_outlets_is_finished_when_it_returns_and_then_pending_items_are_sent():
    outlets = Outlets(may_hang=False)
    publisher, leader = make_leader(outlets=outlets)
    calls, threads = [], []

    def loop():
        for k in range(5):
            if k == 2:
                outlets.freeze()
            calls.append(Call(outlets, leader.sending_clock, float(k)))
            threads.append(threading.current_thread())
            yield calls[-1]
            publisher.publish(verdict(float(k), is_sent=calls[-1].is_sent))
            yield
        assert outlets.messages[-1].t == 1
        outlets.melt()
        until(lambda: len(outlets.messages) == 5)

    leader.run(loop())
    assert leader.close(timeout_s=LONG_S)
    assert [call.may_send for call in calls] == [[True], [True], [True], [False], [False]]
    assert [call.is_finished for call in calls] == [False, False, True, False, False]
    assert threads[2] is not threads[3]
    assert outlets.probabilities == outlets.verdicts() == [0, 1, 2, 3, 4]
    assert outlets.seqs() == list(range(5))


def test_if_a_call_hangs_forever_the_outlets_are_rescued_and_it_is_not_finished_when_it_returns_after_all():
    outlets, log = Outlets(is_frozen=True), Sink()
    outlets.begin_sending([])
    publisher, leader = make_leader(log, outlets=outlets)
    call = Call(outlets, leader.sending_clock, 0.0)

    def loop():
        yield call
        publisher.publish(verdict(0.0, is_sent=call.is_sent))
        yield
        until(lambda: log.messages)

    leader.run(loop())
    assert leader.close(timeout_s=LONG_S)
    assert outlets.n_rescues == 1
    assert log.verdicts() == outlets.verdicts() == [0]
    outlets.thaw.set()
    until(lambda: outlets.probabilities == [0])
    time.sleep(0.01)
    assert not call.is_finished


def test_a_call_does_not_send_before_a_decision_that_another_thread_has_still_to_send():
    outlets = Outlets(is_frozen=True, may_hang=False)
    publisher, leader = make_leader(outlets=outlets)
    call = Call(outlets, leader.sending_clock, 1.0)

    def loop():
        publisher.publish(verdict(0.0))
        yield call
        publisher.publish(verdict(1.0, is_sent=call.is_sent))
        yield
        outlets.melt()

    leader.run(loop())
    assert leader.close(timeout_s=LONG_S)
    assert call.may_send == [False]
    assert outlets.probabilities == [0, 1]


def test_calls_and_items_keep_their_order_while_the_outlets_freeze_and_thaw_at_random():
    rng = np.random.default_rng(1)

    class Moody(Outlets):
        def send(self, batch):
            time.sleep(rng.choice([0, 0.03], p=[0.97, 0.03]))
            super().send(batch)

    outlets = Moody(may_hang=False)
    publisher, leader = make_leader(outlets=outlets)
    n_sent = 0

    def loop():
        nonlocal n_sent
        for k in range(600):
            call = Call(outlets, leader.sending_clock, float(k))
            yield call
            n_sent += call.is_sent
            publisher.publish(verdict(float(k), is_sent=call.is_sent))
            yield
            time.sleep(0.0005)

    leader.run(loop())
    assert leader.close(timeout_s=LONG_S)
    assert 300 < n_sent < 600
    assert outlets.probabilities == outlets.verdicts() == list(range(600))
