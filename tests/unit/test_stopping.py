"""Stop events: a signal handler that sets one never waits for the thread that it interrupts."""

import random
import signal
import threading
import time

import pytest

from pretap_realtime.console.stopping import StopSignal, stop_on_signals


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
def test_a_handler_may_set_it_at_any_moment_of_a_wait_in_the_main_thread():
    stops = []
    before = signal.signal(signal.SIGALRM, lambda *_: stops[-1].set())
    try:
        for _ in range(400):  # a threading.Event hangs within some dozens
            stops.append(StopSignal())
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 2e-3))
            while not stops[-1].wait(2e-5):
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(stop.is_set() for stop in stops)


def test_it_wakes_all_waiting_threads_and_stays_set():
    stop = StopSignal()
    woken = []
    threads = [threading.Thread(target=lambda: woken.append(stop.wait(60))) for _ in range(3)]
    for thread in threads:
        thread.start()
    stop.set()
    stop.set()
    for thread in threads:
        thread.join(60)
    assert woken == [True, True, True]
    assert stop.wait(60) is True


def test_a_wait_without_it_ends_after_its_timeout():
    began_s = time.monotonic()
    assert StopSignal().wait(0.05) is False
    assert time.monotonic() - began_s >= 0.049


def test_the_first_signal_sets_it_and_the_second_one_ends_the_process():
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        stop = stop_on_signals()
        assert not stop.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
@pytest.mark.parametrize("outlives", [False, True])
def test_a_closed_terminal_sets_it_unless_sighup_is_ignored(outlives):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if outlives else signal.SIG_DFL)
        stop = stop_on_signals()
        signal.raise_signal(signal.SIGHUP)
        assert stop.is_set() is not outlives
        signal.raise_signal(signal.SIGHUP)  # it may come twice
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
