"""Replay: what is pushed, when, and how seams are announced."""

from __future__ import annotations

import threading
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap.recordings.recording import Event, Recording
from pretap_realtime.replay import pieces, play

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
    assert [m for p in sent for m in p.markers] == list(events)
    for p in sent:
        assert p.x_uv[0, 0] == p.first_n
        assert all(p.first_n <= m.sample < p.first_n + len(p.x_uv) for m in p.markers)


def test_a_loop_counts_on_and_announces_its_seam(recording):
    sent = list(islice(pieces(recording, n_chunk=50, loop=True), 5))
    assert [p.first_n for p in sent] == [0, 50, 100, 150, 200]
    assert [(m.sample, m.text) for m in sent[2].markers] == [
        (100, "loop/1"),
        (100, "start"),
        (109, "tap/left"),
        (110, "tap/right"),
    ]
    assert sent[4].markers[0] == Event(200, "loop/2")
    assert sent[2].x_uv[0, 0] == 0.0


class _Feed:
    """Notes when each piece was pushed, on a clock that only waiting moves."""

    def __init__(self):
        self.now_s = 50.0
        self.pushed = []

    def clock(self):
        return self.now_s

    def push(self, piece, t0_s):
        self.pushed.append((piece.first_n + len(piece.x_uv) - 1, self.now_s, t0_s))


class _Stop(threading.Event):
    """A stop that is never set; waiting for it lets the feed's time pass."""

    def __init__(self, feed):
        super().__init__()
        self.feed = feed

    def wait(self, timeout=None):
        assert timeout <= 0.1, "Ctrl-C must be seen within 0.1 s"
        self.feed.now_s += timeout
        return False


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_a_chunk_is_pushed_when_its_last_sample_is_due_and_never_before(recording, speed):
    feed = _Feed()
    n = play(
        pieces(recording, n_chunk=7, loop=False),
        feed,
        sfreq_hz=100.0,
        speed=speed,
        clock=feed.clock,
        stop=_Stop(feed),
    )
    assert n == N
    for last_n, pushed_s, t0_s in feed.pushed:
        assert pushed_s == pytest.approx(t0_s + last_n / 100.0 / speed, abs=1e-9)


def test_a_stopped_replay_pushes_nothing_more(recording):
    feed = _Feed()
    stop = threading.Event()
    stop.set()
    stream = pieces(recording, n_chunk=7, loop=True)
    assert play(stream, feed, sfreq_hz=100.0, speed=1.0, clock=feed.clock, stop=stop) == 0
    assert feed.pushed == []
