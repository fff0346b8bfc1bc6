"""The watchdog: in C and in Python it behaves the same."""

from __future__ import annotations

import math
import threading
import time

import pytest

from pretap_realtime.native import library as native
from pretap_realtime.send import sending_clock

WATCHDOGS = [
    pytest.param(sending_clock.PollingSendingClock, id="python"),
    pytest.param(
        lambda: sending_clock.NativeSendingClock(native.library()),
        id="C",
        marks=pytest.mark.skipif(native.library() is None, reason="no C compiler here"),
    ),
]


@pytest.mark.parametrize("make", WATCHDOGS)
def test_it_wakes_if_sending_takes_too_long_and_if_the_loop_has_ended(make):
    dog = make()
    assert math.isinf(dog.since_s)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(dog.wait_until_slow(0.01)))
    thread.start()
    dog.since_s = time.monotonic()
    thread.join(60)
    assert answers == [True]
    assert time.monotonic() - dog.since_s > 0.01

    dog.since_s = math.inf
    thread = threading.Thread(target=lambda: answers.append(dog.wait_until_slow(0.01)))
    thread.start()
    dog.stop()
    thread.join(60)
    assert answers == [True, False]


@pytest.mark.parametrize("make", WATCHDOGS)
def test_slow_sending_is_noticed_after_much_quick_sending_and_the_end_wakes_every_thread(make):
    dog = make()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(dog.wait_until_slow(20.0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        dog.since_s = time.monotonic()
        time.sleep(0.0005)
        dog.since_s = math.inf
    dog.since_s = time.monotonic()
    time.sleep(0.05)  # it polls meanwhile, and sending does not take too long yet
    assert answers == []
    dog.since_s = time.monotonic() - 30
    until_s = time.monotonic() + 60
    while True not in answers:
        assert time.monotonic() < until_s
        time.sleep(0.001)
    dog.since_s = math.inf
    dog.stop()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 3


def test_without_the_library_it_polls_in_python(monkeypatch):
    monkeypatch.setattr(sending_clock, "library", lambda: None)
    assert isinstance(sending_clock.new_sending_clock(), sending_clock.PollingSendingClock)
