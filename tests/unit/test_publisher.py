"""The publisher: nothing that hangs behind it may hold up who decodes."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from pretap.errors import OutletFrozenError
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import Item

MOST_WAITING = 4096
LONG_S = 60.0  # only guards against hanging: a busy machine may take its time


class Kept:
    """A sink that keeps what it gets, and what it was told to hurry with."""

    may_hang = False

    def __init__(self):
        self.messages, self.batches, self.calls = [], [], []

    def hurry(self, items):
        self.calls.append(("hurry", list(items)))

    def rescue(self):
        raise AssertionError("this sink never hangs")

    def send(self, batch):
        self.calls.append(("send", [item for _, item in batch]))
        self.batches.append(len(batch))
        self.messages += [message for message, _ in batch]


class Frozen(Kept):
    """A sink that hangs, as an LSL outlet does when a peer asks for a buffer of one sample."""

    may_hang = True

    def __init__(self):
        super().__init__()
        self.is_frozen = True
        self.n_rescues = 0
        self.entered, self.thaw, self.came_back = threading.Event(), threading.Event(), threading.Event()
        self._under_way = None

    def send(self, batch):
        self._under_way = batch
        if self.is_frozen:
            self.entered.set()
            self.thaw.wait(LONG_S)
            if self._under_way is not batch:
                self.came_back.set()
                return  # this thread was left behind
        super().send(batch)

    def rescue(self):
        self.n_rescues += 1
        self.is_frozen = False
        batch = list(self._under_way)
        self.send(batch)
        return "the outlet was frozen and is replaced"


def verdict(t_s=10.0, **more):
    return Item("verdict", "RUNNING", t_s, label="left", code=1, probs=np.array([0.75, 0.25]), **more)


def make_publisher(*sinks, clock_s=10.5, **more):
    more = {"say": print} | more
    return Publisher(sinks, classes=("left", "right"), clock=lambda: clock_s, **more)


def until(condition, within_s=LONG_S):
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def latencies(publisher):
    return [publisher.latencies.percentile(100 * (k + 1) / publisher.latencies.n) for k in range(publisher.latencies.n)]


# -- messages ------------------------------------------------------------------------------------------------------


def test_messages_are_numbered_and_stamped_in_order():
    kept = Kept()
    publisher = make_publisher(kept)
    publisher.put(Item("state", "RUNNING", 9.0))
    publisher.put(verdict())
    publisher.put(Item("verdict", "RUNNING", 11.0, why="gap: 12 samples lost", n_lost=12))
    assert publisher.close(timeout_s=LONG_S)
    state, decided, silent = kept.messages
    assert [m.seq for m in kept.messages] == [0, 1, 2]
    assert (state.type, state.valid, state.p) == ("state", True, {})
    assert (decided.label, decided.p, decided.t, decided.sent) == ("left", {"left": 0.75, "right": 0.25}, 10.0, 10.5)
    assert (silent.valid, silent.label, silent.p, silent.lost) == (False, "none", {}, 12)
    assert latencies(publisher) == pytest.approx([0.5], rel=0.01)


def test_a_withheld_decision_shows_no_probabilities_and_counts_no_latency():
    kept = Kept()
    publisher = make_publisher(kept, clock_s=12.0)
    publisher.put(verdict(why="older than 1 s when it was ready"))
    assert publisher.close(timeout_s=LONG_S)
    assert (kept.messages[0].valid, kept.messages[0].p) == (False, {})
    assert publisher.latencies.n == 0


@pytest.mark.parametrize("offset_s, latency_s, t_s", [(0.25, [0.25], 10.25), (None, [], 10.0)])
def test_stamps_of_another_clock_are_brought_to_ours_and_data_time_has_no_latency(offset_s, latency_s, t_s):
    kept = Kept()
    publisher = make_publisher(kept)
    publisher.put(verdict(stamp_to_clock_s=offset_s))
    assert publisher.close(timeout_s=LONG_S)
    assert latencies(publisher) == pytest.approx(latency_s, rel=0.01)
    assert kept.messages[0].t == t_s


# -- the loop ------------------------------------------------------------------------------------------------------


def test_what_the_loop_puts_is_sent_before_it_goes_on_and_what_came_together_goes_together():
    kept = Kept()
    publisher = make_publisher(kept)
    seen = []

    def loop():
        for n in (1, 3, 0, 2):
            publisher.put(*[verdict()] * n)
            yield
            seen.append(len(kept.messages))
        publisher.put(verdict())  # and no yield: it waits for `close`

    publisher.run(loop())
    assert seen == [1, 4, 4, 6]
    assert kept.batches == [1, 3, 2]
    assert publisher.close(timeout_s=LONG_S)
    assert [m.seq for m in kept.messages] == list(range(7))


def test_each_sink_hurries_with_the_very_items_that_it_then_sends():
    one, other = Kept(), Kept()
    publisher = make_publisher(one, other)
    items = [verdict(t_s=t) for t in (1.0, 2.0, 3.0)]

    def loop():
        publisher.put(*items[:2])
        yield
        publisher.put(items[2])
        yield

    publisher.run(loop())
    for sink in (one, other):
        wanted = [("hurry", items[:2]), ("send", items[:2]), ("hurry", items[2:]), ("send", items[2:])]
        assert sink.calls == wanted


def test_the_loop_runs_outside_the_thread_that_waits_for_it_which_hears_the_signals():
    names = []

    def loop():
        names.append(threading.current_thread())
        yield

    make_publisher(Kept()).run(loop())
    assert names[0] is not threading.main_thread()
    assert names[0].daemon  # one that hangs does not keep the process alive


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_in_the_loop_is_raised_where_it_was_started_and_what_waits_is_still_sent(error):
    kept = Kept()
    publisher = make_publisher(kept)

    def loop():
        publisher.put(verdict())
        yield
        publisher.put(verdict())
        raise error

    with pytest.raises(type(error)) as raised:
        publisher.run(loop())
    assert raised.value is error
    assert len(kept.messages) == 1
    assert publisher.close(timeout_s=LONG_S)
    assert [m.seq for m in kept.messages] == [0, 1]


class Broken(Kept):
    def __init__(self, where):
        super().__init__()
        self.where, self.n_calls = where, 0

    def _fail(self, where):
        if where == self.where:
            self.n_calls += 1
            raise OSError("no more outlets")

    def hurry(self, items):
        self._fail("hurry")

    def send(self, batch):
        self._fail("send")


@pytest.mark.parametrize("where", ["hurry", "send"])
def test_a_sink_that_fails_is_said_once_and_left_out_and_the_others_miss_nothing(where):
    broken, kept, said = Broken(where), Kept(), []
    publisher = make_publisher(broken, kept, say=said.append)

    def loop():
        for k in range(5):
            publisher.put(verdict(t_s=float(k)))
            yield

    publisher.run(loop())
    assert publisher.close(timeout_s=LONG_S)
    assert broken.n_calls == 1
    (line,) = said
    assert line == "WARNING: Broken failed (OSError('no more outlets')): the session goes on without it"
    assert [m.t for m in kept.messages if m.type == "verdict"] == [0, 1, 2, 3, 4]
    (told,) = [m for m in kept.messages if m.type == "state"]
    assert (told.state, told.why) == ("RUNNING", line.removeprefix("WARNING: "))
    assert [m.seq for m in kept.messages] == list(range(6))


def test_numbers_go_on_where_another_service_ended_and_are_kept_before_they_are_sent():
    events = []

    class Noted(Kept):
        def send(self, batch):
            events.append(("sent", batch[-1][0].seq))

    publisher = make_publisher(Noted(), first_seq=7, keep_seq=lambda seq: events.append(("kept", seq)))
    publisher.put(verdict(), verdict())
    assert publisher.close(timeout_s=LONG_S)
    assert events == [("kept", 9), ("sent", 8)]


# -- a frozen outlet -----------------------------------------------------------------------------------------------


def test_another_thread_takes_the_lead_while_an_outlet_hangs():
    frozen = Frozen()
    frozen.may_hang = False  # it is not replaced, however long a busy machine takes
    publisher = make_publisher(frozen)
    leaders = [[], []]  # before and after each freeze

    def loop():
        for k in range(7):
            frozen.is_frozen = True
            frozen.thaw.clear()
            frozen.entered.clear()
            publisher.put(verdict())
            leaders[0].append(threading.current_thread())
            yield
            leaders[1].append(threading.current_thread())
            assert frozen.entered.wait(LONG_S)
            assert len(frozen.messages) == k  # it hangs, and the loop goes on
            frozen.is_frozen = False
            frozen.thaw.set()
            until(lambda: len(frozen.messages) > k)  # noqa: B023 - it has ended before the next k

    publisher.run(loop())
    assert leaders[0][0] is not leaders[1][0]
    assert [m.seq for m in frozen.messages] == list(range(7))


def test_while_an_outlet_hangs_the_loop_goes_on_and_after_the_thaw_all_that_waited_is_sent_in_order():
    frozen, behind = Frozen(), Kept()
    frozen.may_hang = False  # it is not replaced, however long a busy machine takes
    publisher = make_publisher(frozen, behind)
    n = 5000

    def loop():
        for k in range(n):
            publisher.put(verdict(t_s=float(k)))
            yield
        assert frozen.entered.wait(LONG_S)
        assert behind.messages == []
        frozen.is_frozen = False
        frozen.thaw.set()
        until(lambda: len(behind.messages) == 1 + MOST_WAITING)
        publisher.put(verdict(t_s=float(n)))
        yield

    publisher.run(loop())
    assert publisher.close(timeout_s=LONG_S)
    assert frozen.n_rescues == 0
    assert publisher.n_dropped == n - 1 - MOST_WAITING  # one was being sent
    for sink in (frozen, behind):
        assert [m.seq for m in sink.messages] == list(range(MOST_WAITING + 2))
        assert [m.t for m in sink.messages] == [*range(MOST_WAITING + 1), n]


def test_a_frozen_outlet_is_replaced_before_it_thaws_and_nothing_is_lost():
    frozen, behind, said = Frozen(), Kept(), []
    publisher = make_publisher(frozen, behind, say=said.append)
    n_put = 0

    def loop():
        nonlocal n_put
        while frozen.n_rescues == 0 or len(behind.messages) < n_put + 1:
            publisher.put(verdict(t_s=float(n_put)))
            n_put += 1
            yield
            time.sleep(0.001)

    publisher.run(loop())
    assert not frozen.came_back.is_set()
    assert publisher.close(timeout_s=LONG_S)
    assert publisher.n_dropped == 0
    for sink in (frozen, behind):
        assert [m.seq for m in sink.messages] == list(range(n_put + 1))
        assert [m.t for m in sink.messages if m.type == "verdict"] == list(range(n_put))
    (told,) = [m for m in behind.messages if m.type == "state"]
    assert told.why.startswith("the outlet was frozen and is replaced (it hung for ")
    assert said == [f"WARNING: {told.why}"]
    frozen.thaw.set()  # the thread that was left behind goes on, and sends nothing twice
    assert frozen.came_back.wait(LONG_S)
    assert len(frozen.messages) == n_put + 1


def test_a_sink_that_is_only_slow_is_waited_for_while_the_loop_goes_on():
    slow, said = Frozen(), []
    slow.may_hang = False  # as outlets that are being opened
    publisher = make_publisher(slow, say=said.append)
    n_put = 0

    def loop():
        nonlocal n_put
        since_s = time.monotonic()
        while time.monotonic() - since_s < 1.5:
            if time.monotonic() - since_s > 1.0:  # a frozen one is left behind after 0.4
                slow.is_frozen = False
                slow.thaw.set()
            publisher.put(verdict(t_s=float(n_put)))
            n_put += 1
            yield
            time.sleep(0.001)

    publisher.run(loop())
    assert publisher.close(timeout_s=LONG_S)
    assert slow.n_rescues == 0
    assert said == []
    assert [m.t for m in slow.messages] == list(range(n_put))


def test_the_fourth_freeze_ends_the_loop_and_the_log_has_all():
    frozen, log = Frozen(), Kept()
    publisher = make_publisher(frozen, log)
    n_put = 0

    def loop():
        nonlocal n_put
        while True:
            if not frozen.is_frozen and sum(m.type == "verdict" for m in log.messages) == n_put:
                frozen.is_frozen = True
            publisher.put(verdict(t_s=float(n_put)))
            n_put += 1
            yield
            time.sleep(0.001)

    with pytest.raises(OutletFrozenError, match="froze 4 times"):
        publisher.run(loop())
    assert frozen.n_rescues == 3
    assert publisher.close(timeout_s=LONG_S) is False
    assert [m.t for m in log.messages if m.type == "verdict"] == list(range(n_put))
    assert any(m.why.startswith("Outlets froze 4 times") for m in log.messages)
    frozen.thaw.set()


def test_items_that_do_not_fit_together_are_dropped_together_and_counted():
    publisher = make_publisher(Kept())
    publisher.put(*[verdict()] * (MOST_WAITING - 1))
    publisher.put(verdict(), verdict())
    assert publisher.n_dropped == 2
    publisher.put(verdict())
    assert publisher.n_dropped == 2


def test_an_outlet_that_hangs_is_left_behind_when_the_service_ends_and_the_log_gets_the_rest():
    frozen, log = Frozen(), Kept()
    publisher = make_publisher(frozen, log)

    def loop():
        for _ in range(3):
            publisher.put(verdict())
            yield

    publisher.run(loop())  # returns all the same
    assert publisher.close(timeout_s=1) is False
    assert frozen.messages == []
    assert [m.seq for m in log.messages] == [0, 1, 2]
    frozen.thaw.set()


def test_an_outlet_that_freezes_and_thaws_at_random_loses_nothing_and_mixes_nothing_up():
    rng = np.random.default_rng(0)

    class Moody(Kept):
        def send(self, batch):
            if rng.random() < 0.02:
                time.sleep(rng.choice([0.005, 0.03, 0.08]))
            super().send(batch)

    moody = Moody()
    publisher = make_publisher(moody)

    def loop():
        for k in range(600):
            publisher.put(verdict(t_s=float(k)))
            yield
            time.sleep(0.0005)

    publisher.run(loop())
    assert publisher.close(timeout_s=LONG_S)
    assert publisher.n_dropped == 0
    assert [m.t for m in moody.messages] == list(range(600))
    assert [m.seq for m in moody.messages] == list(range(600))


def test_numbers_sent_by_a_call_do_not_overtake_a_decision_that_waits_for_another_thread():
    class LetGo:
        """Held by a thread that has just found nothing more to send; it lets go when somebody looks."""

        def __init__(self):
            self.lock = threading.Lock()
            self.lock.acquire()
            self.looks = 0

        def acquire(self, blocking=True):
            taken = self.lock.acquire(blocking)
            self.looks += 1
            if self.looks == 1:
                assert not taken
                self.lock.release()
            return taken

        def release(self):
            self.lock.release()

        def locked(self):
            return self.lock.locked()

    kept, sent = Kept(), []

    class Numbers:
        sink = kept

        def __call__(self, *, may_send):
            sent.append(may_send)
            return int(may_send)

    publisher = make_publisher(kept)
    publisher._sending = LetGo()

    def loop():
        publisher.put(verdict(1.0))
        yield Numbers()
        publisher.put(verdict(2.0, is_out=sent[0]))
        yield None

    publisher.run(loop())
    assert publisher.close(timeout_s=LONG_S)
    assert sent == [False]
    assert [item.t_s for what, items in kept.calls if what == "hurry" for item in items] == [1.0, 2.0]
