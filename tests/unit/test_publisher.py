"""The publisher: numbers messages and sends them to the outlets first, then to the other sinks."""

from __future__ import annotations

import itertools

import pytest

from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sender import Sender
from sinks import outgoing, verdict

MAX_PENDING = 4096


class Sink:
    """Keeps what it is sent, in a list that several sinks may share."""

    def __init__(self, calls=None):
        self.calls = [] if calls is None else calls
        self.messages = []

    def send(self, batch):
        self.calls.append((self, "send", list(batch)))
        self.messages += [item.message for item in batch]


class Outlets(Sink):
    def send_probabilities(self, items):
        self.calls.append((self, "probabilities", list(items)))


def make_publisher(*sinks, clock_s=10.5, say=print, **more):
    return Publisher(sinks, clock=lambda: clock_s, say=say, **more)


def send(publisher, *items):
    publisher.publish(*items)
    Sender(publisher).send_rest()


def latencies(publisher):
    n = publisher.latencies.n
    return [publisher.latencies.percentile(100 * (k + 1) / n) for k in range(n)]


def test_messages_are_numbered_and_timestamped_in_order():
    sink = Sink()
    publisher = make_publisher(sink)
    invalid = outgoing(t_s=11.0, valid=False, why="gap: 12 samples lost", lost=12)
    send(publisher, outgoing("state", 9.0), verdict(), invalid)
    state, decided, silent = sink.messages
    assert [m.seq for m in sink.messages] == [0, 1, 2]
    assert (state.type, state.valid, state.p) == ("state", True, {})
    assert (decided.label, decided.p, decided.t, decided.sent) == ("left", {"left": 0.75, "right": 0.25}, 10.0, 10.5)
    assert (silent.valid, silent.label, silent.p, silent.lost) == (False, "none", {}, 12)
    assert latencies(publisher) == pytest.approx([0.5], rel=0.01)


def test_a_withheld_decision_and_one_in_data_time_count_no_latency():
    sink = Sink()
    publisher = make_publisher(sink)
    withheld = outgoing(valid=False, why="older than 1 s when it was ready")
    withheld.has_latency = True
    send(publisher, withheld, verdict(has_latency=False))
    assert [m.sent for m in sink.messages] == [10.5, 10.5]
    assert publisher.latencies.n == 0


def test_outlets_get_the_probabilities_first_and_the_other_sinks_come_last():
    calls = []
    outlets, one, other = Outlets(calls), Sink(calls), Sink(calls)
    publisher = make_publisher(one, other, outlets=outlets)
    items = [verdict(t_s=t) for t in (1.0, 2.0)]
    send(publisher, *items)
    assert calls == [(outlets, "probabilities", items), *[(sink, "send", items) for sink in (outlets, one, other)]]


def test_probabilities_that_are_all_sent_already_are_not_asked_for():
    outlets = Outlets()
    items = [verdict(is_sent=True), verdict(is_sent=True)]
    send(make_publisher(outlets=outlets), *items)
    assert outlets.calls == [(outlets, "send", items)]


def test_what_is_published_together_is_sent_together():
    sink = Sink()
    publisher = make_publisher(sink)
    for n in (1, 3, 2):
        send(publisher, *[verdict() for _ in range(n)])
    assert [len(items) for _, _, items in sink.calls] == [1, 3, 2]
    assert [m.seq for m in sink.messages] == list(range(6))


def test_items_that_do_not_fit_together_are_dropped_together_and_counted():
    publisher = make_publisher(Sink())
    publisher.publish(*[verdict() for _ in range(MAX_PENDING - 1)])
    publisher.publish(verdict(), verdict())
    assert publisher.n_dropped == 2
    publisher.publish(verdict())
    assert publisher.n_dropped == 2


def test_numbers_continue_where_another_service_ended_and_are_kept_before_they_are_sent():
    events = []

    class Noted(Sink):
        def send(self, batch):
            events.append(("sent", batch[-1].message.seq))

    def numbers():
        for seq in itertools.count(7):
            events.append(("kept", seq))
            yield seq

    publisher = make_publisher(Noted(), seqs=numbers())
    send(publisher, verdict(), verdict())
    assert events == [("kept", 7), ("kept", 8), ("sent", 8)]


class BrokenSink(Sink):
    def send(self, batch):
        self.calls.append(len(batch))
        raise OSError("no space")


class BrokenAtProbabilities(Outlets):
    def send_probabilities(self, items):
        self.calls.append(len(items))
        raise OSError("no space")


class BrokenAtMessages(Outlets):
    send_probabilities = BrokenSink.send

    def send(self, batch):
        raise AssertionError("it was left out")


@pytest.mark.parametrize("make", [BrokenSink, BrokenAtProbabilities, BrokenAtMessages])
def test_a_sink_that_fails_is_announced_once_and_left_out_and_the_others_miss_nothing(make):
    broken, sink, said = make(), Sink(), []
    is_outlets = isinstance(broken, Outlets)
    publisher = make_publisher(
        *([] if is_outlets else [broken]), sink, outlets=broken if is_outlets else None, say=said.append
    )
    for k in range(5):
        send(publisher, verdict(t_s=float(k)))
    assert broken.calls == [1]
    (line,) = said
    assert line == f"WARNING: {make.__name__} failed (OSError('no space')): the session goes on without it"
    assert [m.t for m in sink.messages if m.type == "verdict"] == [0, 1, 2, 3, 4]
    (told,) = [m for m in sink.messages if m.type == "state"]
    assert (told.state, told.why) == ("RUNNING", line.removeprefix("WARNING: "))
    assert [m.seq for m in sink.messages] == list(range(6))
