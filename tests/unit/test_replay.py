"""Replay: which samples and markers are sent, when, and how the rounds of a loop are announced."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap.recordings.recording import Event, Recording
from pretap_realtime.replay.command import play
from pretap_realtime.replay.pieces import Mark, pieces

N = 100


@pytest.fixture
def recording():
    x = np.arange(N, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)  # the value of a sample is its index
    events = (Event(0, "start"), Event(9, "tap/left"), Event(10, "tap/right"), Event(99, "end"))
    return Recording(("C3", "C4"), 100.0, N, events, lambda start, stop: x[start:stop], "counted samples")


@given(n_chunk=st.integers(1, 150))
def test_every_sample_and_every_marker_goes_out_once_in_order(n_chunk):
    x = np.arange(N, dtype=np.float32)[:, None]
    events = tuple(Event(n, str(n)) for n in (0, 3, 3, 50, 99))
    counted = Recording(("C3",), 100.0, N, events, lambda start, stop: x[start:stop], "counted samples")
    sent = list(pieces(counted, n_chunk=n_chunk, loop=False))
    assert np.array_equal(np.concatenate([p.x_uv for p in sent]), x)
    assert [(m.t_s, m.text) for p in sent for m in p.markers] == [(e.sample / 100, e.text) for e in events]
    assert np.array_equal(np.concatenate([p.t_s for p in sent]), np.arange(N) / 100)
    for p in sent:
        assert p.x_uv[0, 0] == p.first_n
        assert all(p.t_s[0] <= m.t_s <= p.t_s[-1] for m in p.markers)


def test_a_recording_is_read_by_the_second(recording):
    n_read = []

    def read(start, stop):
        n_read.append(stop - start)
        return recording.read(start, stop)

    counted = replace(recording, sfreq_hz=20.0, read=read)
    assert len(list(pieces(counted, n_chunk=3, loop=False))) == 34
    assert n_read == [21, 21, 21, 21, 16]


def test_a_loop_keeps_counting_and_announces_each_round(recording):
    sent = list(islice(pieces(recording, n_chunk=50, loop=True), 5))
    assert [p.first_n for p in sent] == [0, 50, 100, 150, 200]
    assert [(m.t_s, m.text) for m in sent[2].markers] == [
        (1.0, "loop/1"),
        (1.0, "start"),
        (1.09, "tap/left"),
        (1.1, "tap/right"),
    ]
    assert sent[4].markers[0] == Mark(2.0, "loop/2")
    assert sent[2].x_uv[0, 0] == 0.0


@pytest.fixture
def broken():
    """100 samples at 100 Hz whose timestamps say 98 Hz, with a break of 5 s after sample 59; events between samples."""
    x = np.arange(N, dtype=np.float32)[:, None]
    t_s = 1000 + np.arange(N) / 98 + np.where(np.arange(N) >= 60, 5.0, 0.0)
    events = (
        Event(0, "before", -3.0),
        Event(10, "late", 0.004),
        Event(59, "in the break", 2.0),
        Event(60, "early", -0.004),
        Event(99, "after", 7.0),
    )
    return Recording(
        ("C3",), 98.0, N, events, lambda start, stop: x[start:stop], "counted samples", segments=(0, 60), t_s=t_s
    )


def test_timestamps_and_markers_between_samples_are_kept_and_no_chunk_spans_a_break(broken):
    sent = list(pieces(broken, n_chunk=25, loop=False))
    assert [(p.first_n, len(p.x_uv)) for p in sent] == [
        (0, 0),  # 'before', alone
        (0, 25),
        (25, 25),
        (50, 10),
        (60, 0),  # 'in the break', alone
        (60, 25),
        (85, 15),
        (100, 0),  # 'after', alone
    ]
    assert np.array_equal(np.concatenate([p.t_s for p in sent]), broken.t_s - 1000)
    assert [m.text for p in sent for m in p.markers] == ["before", "late", "in the break", "early", "after"]
    expected = [-3.0, 10 / 98 + 0.004, 59 / 98 + 2, 60 / 98 + 5 - 0.004, 99 / 98 + 5 + 7]
    assert [m.t_s for p in sent for m in p.markers] == pytest.approx(expected, abs=1e-9)


def test_a_loop_of_a_recording_with_a_break_keeps_its_own_time_without_the_markers_outside(broken):
    sent = list(islice(pieces(broken, n_chunk=100, loop=True), 5))
    assert [p.first_n for p in sent] == [0, 60, 60, 100, 160]  # the marker in the break goes out alone
    period_s = 99 / 98 + 5 + 1 / 98
    assert sent[3].t_s == pytest.approx(period_s + np.arange(60) / 98, abs=1e-9)
    assert [m.text for m in sent[3].markers] == ["loop/1", "late"]


def test_a_replay_pauses_in_a_break_and_reports_it_once(broken):
    feed, said = _Feed(), []
    play(
        pieces(broken, n_chunk=7, loop=False),
        feed,
        speed=2.0,
        clock=feed.clock,
        stop=_Stop(feed),
        say=said.append,
    )
    assert said == ["Pause of 1.0 s: the recording has a break after 0.6 s (reported once)."]
    for piece, sent_s, t0_s in feed.sent:
        assert sent_s == pytest.approx(max(t0_s + piece.due_s / 2, 50.0), abs=1e-9)


class _Feed:
    """Records when each piece was sent, on a clock that only waiting advances."""

    def __init__(self):
        self.now_s = 50.0
        self.sent = []

    def clock(self):
        return self.now_s

    def send(self, piece, t0_s):
        self.sent.append((piece, self.now_s, t0_s))


class _Stop(threading.Event):
    """A stop that is never set; waiting for it advances the feed's clock."""

    def __init__(self, feed):
        super().__init__()
        self.feed = feed

    def wait(self, timeout=None):
        assert timeout <= 0.1, "Ctrl-C must be seen within 0.1 s"
        self.feed.now_s += timeout
        return False


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_a_chunk_is_sent_when_its_last_sample_is_due_and_never_before(recording, speed):
    feed = _Feed()
    n = play(
        pieces(recording, n_chunk=7, loop=False),
        feed,
        speed=speed,
        clock=feed.clock,
        stop=_Stop(feed),
        say=pytest.fail,
    )
    assert n == N
    for piece, sent_s, t0_s in feed.sent:
        last_n = piece.first_n + len(piece.x_uv) - 1
        assert sent_s == pytest.approx(t0_s + last_n / 100.0 / speed, abs=1e-9)


def test_a_stopped_replay_sends_nothing_more(recording):
    feed = _Feed()
    stop = threading.Event()
    stop.set()
    stream = pieces(recording, n_chunk=7, loop=True)
    assert play(stream, feed, speed=1.0, clock=feed.clock, stop=stop, say=pytest.fail) == 0
    assert feed.sent == []
