"""The leader: an outlet that hangs never holds up the loop that decodes."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from pretap.errors import OutletFrozenError
from sinks import LONG_S, Outlets, Sink, make_leader, until, verdict

MAX_PENDING = 4096


# -- the loop ------------------------------------------------------------------------------------------------------


def test_what_the_loop_publishes_is_sent_before_it_continues():
    sink, seen = Sink(), []
    publisher, leader = make_leader(sink)

    def loop():
        for n in (1, 3, 0, 2):
            publisher.publish(*[verdict() for _ in range(n)])
            yield
            seen.append(len(sink.messages))
        publisher.publish(verdict())  # without a yield, it is pending until `close`

    leader.run(loop())
    assert seen == [1, 4, 4, 6]
    assert leader.close(timeout_s=LONG_S)
    assert sink.seqs() == list(range(7))


def test_the_loop_runs_in_a_daemon_thread_so_that_the_main_thread_handles_signals():
    threads = []

    def loop():
        threads.append(threading.current_thread())
        yield

    make_leader(Sink())[1].run(loop())
    assert threads[0] is not threading.main_thread()
    assert threads[0].daemon


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_in_the_loop_is_raised_by_run_and_pending_items_are_still_sent(error):
    sink = Sink()
    publisher, leader = make_leader(sink)

    def loop():
        publisher.publish(verdict())
        yield
        publisher.publish(verdict())
        raise error

    with pytest.raises(type(error)) as raised:
        leader.run(loop())
    assert raised.value is error
    assert len(sink.messages) == 1
    assert leader.close(timeout_s=LONG_S)
    assert sink.seqs() == [0, 1]


def test_a_sink_without_which_there_is_no_session_ends_the_loop():
    class Needed(Sink):
        def send(self, batch):
            raise OutletFrozenError("only a new process can replace the outlet")

    sink, said = Sink(), []
    publisher, leader = make_leader(Needed(), sink, say=said.append)

    def loop():
        while True:
            publisher.publish(verdict())
            yield

    with pytest.raises(OutletFrozenError, match="only a new process"):
        leader.run(loop())
    assert said == ["WARNING: only a new process can replace the outlet"]
    assert [message.type for message in sink.messages] == ["verdict", "state"]


def test_if_the_next_number_cannot_be_kept_the_session_ends():
    def seqs():
        raise OSError("the handover file is gone")
        yield 0

    publisher, leader = make_leader(Sink(), seqs=seqs())

    def loop():
        while True:
            publisher.publish(verdict())
            yield

    with pytest.raises(OSError, match="the handover file is gone"):
        leader.run(loop())
    assert leader.close(timeout_s=LONG_S)


# -- outlets that hang ---------------------------------------------------------------------------------------------


def test_another_thread_leads_while_an_outlet_hangs():
    outlets = Outlets(may_hang=False)  # so it is not replaced, however long a busy machine takes
    publisher, leader = make_leader(outlets=outlets)
    before, after = [], []

    def loop():
        for k in range(7):
            outlets.freeze()
            publisher.publish(verdict())
            before.append(threading.current_thread())
            yield
            after.append(threading.current_thread())
            assert outlets.entered.wait(LONG_S)
            assert len(outlets.messages) == k  # it hangs, and the loop continues
            outlets.melt()
            until(lambda: len(outlets.messages) > k)  # noqa: B023 - it ends before the next k

    leader.run(loop())
    assert before[0] is not after[0]
    assert outlets.seqs() == list(range(7))


def test_while_an_outlet_hangs_the_loop_continues_and_after_the_thaw_all_pending_items_are_sent_in_order():
    outlets, log = Outlets(is_frozen=True, may_hang=False), Sink()
    publisher, leader = make_leader(log, outlets=outlets)
    n = 5000

    def loop():
        for k in range(n):
            publisher.publish(verdict(t_s=float(k)))
            yield
        assert outlets.entered.wait(LONG_S)
        assert log.messages == []
        outlets.melt()
        until(lambda: len(log.messages) == 1 + MAX_PENDING)
        publisher.publish(verdict(t_s=float(n)))
        yield

    leader.run(loop())
    assert leader.close(timeout_s=LONG_S)
    assert outlets.n_rescues == 0
    assert publisher.n_dropped == n - 1 - MAX_PENDING  # one was being sent
    for sink in (outlets, log):
        assert sink.seqs() == list(range(MAX_PENDING + 2))
        assert sink.verdicts() == [*range(MAX_PENDING + 1), n]


def test_a_frozen_outlet_is_replaced_before_it_thaws_and_nothing_is_lost():
    outlets, log, said = Outlets(is_frozen=True), Sink(), []
    publisher, leader = make_leader(log, outlets=outlets, say=said.append)
    n = 0

    def loop():
        nonlocal n
        while outlets.n_rescues == 0 or len(log.messages) < n + 1:
            publisher.publish(verdict(t_s=float(n)))
            n += 1
            yield
            time.sleep(0.001)

    leader.run(loop())
    assert not outlets.returned.is_set()
    assert leader.close(timeout_s=LONG_S)
    assert publisher.n_dropped == 0
    for sink in (outlets, log):
        assert sink.seqs() == list(range(n + 1))
        assert sink.verdicts() == list(range(n))
    (told,) = [message for message in log.messages if message.type == "state"]
    assert told.why.startswith("the outlet was frozen and is replaced (it hung for ")
    assert said == [f"WARNING: {told.why}"]
    outlets.thaw.set()  # the abandoned thread returns, and sends nothing twice
    assert outlets.returned.wait(LONG_S)
    assert len(outlets.messages) == n + 1


def test_outlets_that_are_only_slow_get_their_time_while_the_loop_continues():
    outlets, said = Outlets(is_frozen=True, may_hang=False), []  # as those that are being opened
    publisher, leader = make_leader(outlets=outlets, say=said.append)
    n = 0

    def loop():
        nonlocal n
        since_s = time.monotonic()
        while time.monotonic() - since_s < 1.5:
            if time.monotonic() - since_s > 1.0:  # a thread that hangs is abandoned after 0.4
                outlets.melt()
            publisher.publish(verdict(t_s=float(n)))
            n += 1
            yield
            time.sleep(0.001)

    leader.run(loop())
    assert leader.close(timeout_s=LONG_S)
    assert outlets.n_rescues == 0
    assert said == []
    assert outlets.verdicts() == list(range(n))


def test_the_fourth_freeze_ends_the_loop_and_the_log_has_all():
    outlets, log = Outlets(is_frozen=True), Sink()
    publisher, leader = make_leader(log, outlets=outlets)
    n = 0

    def loop():
        nonlocal n
        while True:
            if not outlets.is_frozen and len(log.verdicts()) == n:
                outlets.is_frozen = True
            publisher.publish(verdict(t_s=float(n)))
            n += 1
            yield
            time.sleep(0.001)

    with pytest.raises(OutletFrozenError, match="froze 4 times"):
        leader.run(loop())
    assert outlets.n_rescues == 3
    assert leader.close(timeout_s=LONG_S) is False
    assert log.verdicts() == list(range(n))
    assert any(message.why.startswith("Outlets froze 4 times") for message in log.messages)
    outlets.thaw.set()


def test_if_an_outlet_hangs_when_the_service_ends_the_log_gets_the_rest():
    outlets, log = Outlets(is_frozen=True), Sink()
    publisher, leader = make_leader(log, outlets=outlets)

    def loop():
        for _ in range(3):
            publisher.publish(verdict())
            yield

    leader.run(loop())  # it returns all the same
    assert leader.close(timeout_s=0.2) is False
    assert outlets.messages == []
    assert log.seqs() == [0, 1, 2]
    outlets.thaw.set()


def test_outlets_that_freeze_and_thaw_at_random_lose_nothing_and_mix_nothing_up():
    rng = np.random.default_rng(0)

    class Moody(Outlets):
        def send(self, batch):
            if rng.random() < 0.02:
                time.sleep(rng.choice([0.005, 0.03, 0.08]))
            super().send(batch)

    outlets = Moody()
    publisher, leader = make_leader(outlets=outlets)

    def loop():
        for k in range(600):
            publisher.publish(verdict(t_s=float(k)))
            yield
            time.sleep(0.0005)

    leader.run(loop())
    assert leader.close(timeout_s=LONG_S)
    assert publisher.n_dropped == 0
    assert outlets.verdicts() == list(range(600))
    assert outlets.seqs() == list(range(600))
    assert outlets.probabilities == list(range(600))
