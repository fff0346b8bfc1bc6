"""The queue and the thread behind terminal, log and network outputs."""

from __future__ import annotations

import threading
import time

import pytest

from pretap_realtime.console.background_writer import BackgroundWriter

LONG_S = 60.0


class Gate:
    """Writes an item only once it may."""

    def __init__(self):
        self.may_go, self.has_begun, self.written = threading.Event(), threading.Event(), []

    def write(self, item):
        self.has_begun.set()
        assert self.may_go.wait(LONG_S)
        self.written.append(item)


def test_items_are_written_in_order_by_one_other_thread():
    written = []
    writer = BackgroundWriter(lambda n: written.append((n, threading.get_ident())), name="test", max_pending=1000)
    for n in range(100):
        assert writer.put(n)
    assert writer.close(LONG_S) == 0
    assert [n for n, _ in written] == list(range(100))
    (ident,) = {ident for _, ident in written}
    assert ident != threading.get_ident()
    assert writer.n_dropped == 0


def test_put_never_waits_and_drops_what_does_not_fit():
    gate = Gate()
    writer = BackgroundWriter(gate.write, name="test", max_pending=3)
    writer.put(0)
    assert gate.has_begun.wait(LONG_S)
    assert [writer.put(n) for n in range(1, 6)] == [True, True, True, False, False]
    assert writer.n_dropped == 2
    gate.may_go.set()
    assert writer.close(LONG_S) == 0
    assert gate.written == [0, 1, 2, 3]


def test_it_tells_how_long_an_item_takes():
    gate = Gate()
    writer = BackgroundWriter(gate.write, name="test", max_pending=3)
    assert writer.busy_s == 0
    writer.put(0)
    assert gate.has_begun.wait(LONG_S)
    time.sleep(0.05)
    assert writer.busy_s >= 0.05
    gate.may_go.set()
    assert writer.close(LONG_S) == 0
    assert writer.busy_s == 0


def test_close_does_not_wait_for_a_thread_that_hangs_and_counts_what_it_has_left():
    gate = Gate()
    writer = BackgroundWriter(gate.write, name="test", max_pending=3)
    writer.put(0)
    assert gate.has_begun.wait(LONG_S)
    writer.put(1)
    assert writer.close(0.01) == 2
    gate.may_go.set()


def test_an_error_in_writing_is_raised_by_the_next_put():
    def fail(item):
        raise ValueError(item)

    writer = BackgroundWriter(fail, name="test", max_pending=3)
    writer.put("broken")
    assert writer.close(LONG_S) == 0
    with pytest.raises(ValueError, match="broken"):
        writer.put("more")
