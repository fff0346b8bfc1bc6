"""The dashboard of the monitor: states, latencies, losses, and text from hostile streams."""

from __future__ import annotations

import numpy as np

from pretap_realtime.monitor.dashboard import Dashboard
from pretap_realtime.send.messages import Message, encode
from pretap_realtime.signal.chunk import Cue

CLASSES = ("left", "right")


def message(**facts) -> str:
    return encode(Message(**({"type": "heartbeat", "seq": 0, "state": "RUNNING", "t": 5.0, "sent": 5.0} | facts)))


def test_states_latencies_losses_and_missed_messages_are_counted():
    board = Dashboard(CLASSES)
    board.add_message(message(type="state", why="fits"), now_s=5.0, has_latency=True)
    for k, latency_s in enumerate((0.001, 0.002, 0.004)):
        facts = {"type": "verdict", "seq": 2 + k, "label": "left", "p": {"left": 0.9, "right": 0.1}}
        facts |= {"t": 6.0 + k, "sent": 6.0 + k + latency_s}
        board.add_message(message(**facts), now_s=6.0, has_latency=True)
    board.add_message(message(seq=5, lost=7, bad=("C3",), why="C3: railed"), now_s=6.1, has_latency=True)
    figures = board.figures(now_s=6.2)
    assert (figures.state, figures.why, figures.bad, figures.lost) == ("RUNNING", "C3: railed", ["C3"], 7)
    assert figures.messages_missed == 1
    assert figures.latency_ms == [2.0, 4.0, 4.0]
    assert not figures.silent
    assert board.figures(now_s=8.2).silent
    assert [(event.kind, event.label) for event in board.events.since(0)] == [
        ("state", "RUNNING"), *[("verdict", "left")] * 3,
    ]  # fmt: skip
    assert [(row.t, row.p) for row in board.decisions.since(1)] == [(7.0, [0.9, 0.1]), (8.0, [0.9, 0.1])]


def test_an_invalid_verdict_has_no_probabilities_and_no_latency():
    board = Dashboard(CLASSES)
    text = message(type="verdict", valid=False, why="a gap", p={"left": 0.9, "right": 0.1}, label="left")
    board.add_message(text, now_s=5.0, has_latency=True)
    assert [row.p for row in board.decisions.since(0)] == [[0.0, 0.0]]
    assert [event.label for event in board.events.since(0)] == ["none"]
    assert board.figures(now_s=5.0).latency_ms is None


def test_commands_are_marked():
    board = Dashboard(CLASSES)
    for seq, is_command in enumerate((True, False)):
        verdict = message(type="verdict", seq=seq, valid=True, label="left", command=is_command, p={"left": 1.0})
        board.add_message(verdict, now_s=5.0, has_latency=True)
    assert [event.command for event in board.events.since(0)] == [True, False]


def test_invalid_data_is_counted_and_changes_nothing():
    board = Dashboard(CLASSES)
    for text in ("", "{", "[1]", '{"v":1}', "\x1b[2J", '{"type":"state","seq":1e99}', "9" * 4000, "[" * 4000):
        board.add_message(text, now_s=1.0, has_latency=True)
    board.add_probabilities(np.array([[np.nan, 1, 1], [np.inf, 0, 0]], np.float32), np.array([1.0, 2.0]), now_s=1.0)
    board.add_codes([7.0, float("nan"), -1.0], [1.0, 1.0, 1.0])
    board.add_marker(Cue(float("nan"), "tap/left"), now_s=1.0)
    board.add_marker(Cue(1e300, "tap/left"), now_s=1.0)
    figures = board.figures(now_s=1.0)
    assert figures.unreadable == 8 + 2 + 3 + 2
    assert (figures.state, board.decisions.n, board.events.n, figures.n_judged) == ("", 0, 0, 0)


def test_text_from_the_network_is_short_and_printable():
    board = Dashboard(CLASSES)
    board.add_marker(Cue(1.0, "\x1b[31m\u202e<b>" + "x" * 5000), now_s=1.0)
    facts = {"type": "state", "why": "\x00" * 9000, "bad": tuple(f"E{k}\n" for k in range(999))}
    board.add_message(message(**facts), now_s=1.0, has_latency=True)
    texts = [event.text for event in board.events.since(0)] + board.figures(now_s=1.0).bad
    assert all(text.isprintable() and len(text) <= 300 for text in texts)
    assert len(texts) == 2 + 64


def test_judged_markers_are_counted():
    board = Dashboard(CLASSES)
    for k, label in enumerate(("left", "right", "none")):
        board.add_codes([float(("none", *CLASSES).index(label))], [10.0 * k])
        board.add_marker(Cue(10.0 * k, "trial/0/end/left"), now_s=10.0 * k)
    board.judge_markers(now_s=30.0)
    figures = board.figures(now_s=30.0)
    assert (figures.n_judged, figures.n_right, figures.n_none) == (3, 1, 1)


def test_only_the_newest_events_are_kept():
    board = Dashboard(CLASSES)
    for k in range(5000):
        board.add_marker(Cue(float(k), f"tap/{CLASSES[k % 2]}"), now_s=0.0)
        board.judge_markers(now_s=10.0)
    assert board.events.n == 5000
    assert len(board.events.since(0)) == 600
    assert len(board.judged.since(0)) == 600
