"""The watch over who sends, in C and in Python: the same."""

from __future__ import annotations

import math
import threading
import time

import pytest

from pretap_realtime.native import library as native
from pretap_realtime.send import watchdog

WATCHES = [
    pytest.param(watchdog._PlainWatch, id="python"),
    pytest.param(
        lambda: watchdog._NativeWatch(native.library()),
        id="C",
        marks=pytest.mark.skipif(native.library() is None, reason="no C compiler here"),
    ),
]


@pytest.mark.parametrize("make", WATCHES)
def test_who_watches_wakes_when_sending_takes_too_long_and_when_all_has_ended(make):
    watch = make()
    assert math.isinf(watch.since_s)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(watch.wait_until_slow(0.01)))
    thread.start()
    watch.since_s = time.monotonic()
    thread.join(60)
    assert answers == [True]
    assert time.monotonic() - watch.since_s > 0.01

    watch.since_s = math.inf
    thread = threading.Thread(target=lambda: answers.append(watch.wait_until_slow(0.01)))
    thread.start()
    watch.end()
    thread.join(60)
    assert answers == [True, False]


@pytest.mark.parametrize("make", WATCHES)
def test_it_is_seen_though_sending_was_quick_many_times_before_and_each_watcher_hears_of_the_end(make):
    watch = make()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(watch.wait_until_slow(20.0))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        watch.since_s = time.monotonic()
        time.sleep(0.0005)
        watch.since_s = math.inf
    watch.since_s = time.monotonic()
    time.sleep(0.05)  # a look finds it sending, and not for too long yet
    assert answers == []
    watch.since_s = time.monotonic() - 30
    until_s = time.monotonic() + 60
    while True not in answers:
        assert time.monotonic() < until_s
        time.sleep(0.001)
    watch.since_s = math.inf
    watch.end()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 3


def test_without_the_library_python_does_it(monkeypatch):
    monkeypatch.setattr(watchdog, "library", lambda: None)
    assert isinstance(watchdog.new_watch(), watchdog._PlainWatch)
