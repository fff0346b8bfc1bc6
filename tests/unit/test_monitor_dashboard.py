"""The dashboard of the monitor: states, latencies, losses, and text from hostile streams."""

from __future__ import annotations

import numpy as np
import pytest

from pretap_realtime.monitor.dashboard import Dashboard
from pretap_realtime.send.messages import Message, ServiceDescription, encode
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


def tally(board):
    figures = board.figures(now_s=50.0)
    return figures.n_judged, figures.n_correct, figures.n_none


def add_verdicts(board, *, before_s):
    for k, label in enumerate(("left", "right", "none", "left")):
        verdict = message(type="verdict", seq=k, label=label, valid=k < 3, t=10.0 * k - before_s)
        board.add_message(verdict, now_s=10.0 * k, has_latency=True)
        board.add_marker(Cue(10.0 * k, "S  1"), now_s=10.0 * k)
    board.judge_markers(now_s=50.0)


def test_decisions_at_every_hop_are_judged_by_the_events_and_the_offset_of_the_bundle():
    board = Dashboard(CLASSES, ServiceDescription(events={"left": ("S  1",)}, offset_ms=-700.0))
    add_verdicts(board, before_s=0.7)
    assert tally(board) == (3, 1, 1)
    assert [(each.label, each.correct) for each in board.judged.since(0)] == [
        ("left", True), ("right", False), ("none", False), ("", False),
    ]  # fmt: skip


def test_markers_that_may_be_another_players_are_not_judged_and_what_was_counted_is_forgotten():
    board = Dashboard(CLASSES, ServiceDescription(events={"left": ("S  1",)}))
    add_verdicts(board, before_s=0.0)
    board.set_why_not_judged("Not judged: two players.")
    board.add_marker(Cue(100.0, "S  1"), now_s=100.0)
    board.judge_markers(now_s=200.0)
    assert tally(board) == (0, 0, 0)
    assert board.figures(now_s=200.0).why_not_judged == "Not judged: two players."
    assert [event.label for event in board.events.since(0)][-1] == ""
    board.set_why_not_judged("")
    assert board.figures(now_s=200.0).why_not_judged == ""


def test_at_cues_the_tally_is_that_of_the_service_also_for_a_page_that_comes_late():
    board = Dashboard(CLASSES, ServiceDescription(offset_ms=500.0, is_cued=True, cue_query="task"))
    board.add_marker(Cue(10.0, "go/left"), now_s=10.0)
    board.add_message(message(n_judged=7, n_correct=5, n_none=1), now_s=10.1, has_latency=True)
    board.judge_markers(now_s=50.0)
    assert tally(board) == (7, 5, 1)
    facts = {"type": "verdict", "seq": 1, "cue": "go/left", "truth": "left", "label": "right", "t": 10.5}
    board.add_message(message(**facts, n_judged=8, n_correct=5, n_none=1), now_s=10.6, has_latency=True)
    board.judge_markers(now_s=50.0)
    assert tally(board) == (8, 5, 1)
    assert [(each.t, each.truth, each.label) for each in board.judged.since(0)] == [(10.0, "left", "right")]


def test_at_cues_the_service_tells_of_its_cues_and_streams_announce_them():
    board = Dashboard(CLASSES, ServiceDescription(is_cued=True, cue_query="type=Markers"))
    for text in ("trial/0/start/left", "trial/0/end/left", "trial/0/end/right", "a break"):  # of two streams
        board.add_marker(Cue(10.0, text), now_s=10.0)
    facts = {"type": "verdict", "cue": "trial/0/end/left", "truth": "left", "label": "left", "t": 10.0}
    board.add_message(message(**facts, n_judged=1, n_correct=1), now_s=10.0, has_latency=True)
    board.judge_markers(now_s=50.0)
    markers = [(each.text, each.label, each.start) for each in board.events.since(0) if each.kind == "marker"]
    assert markers == [
        ("trial/0/start/left", "left", True), ("a break", "", False), ("trial/0/end/left", "left", False),
    ]  # fmt: skip
    assert [(each.truth, each.label) for each in board.judged.since(0)] == [("left", "left")]


def test_a_cue_of_a_trigger_channel_is_shown_as_a_marker():
    board = Dashboard(CLASSES, ServiceDescription(offset_ms=-200.0, is_cued=True))
    verdict = message(type="verdict", cue="769", truth="left", label="left", t=9.8, n_judged=1, n_correct=1)
    board.add_message(verdict, now_s=10.0, has_latency=True)
    (marker,) = [event for event in board.events.since(0) if event.kind == "marker"]
    assert (marker.t, marker.text, marker.label, marker.start) == (10.0, "769", "left", False)


@pytest.mark.parametrize("counts", [(-1, 0, 0), (3, 4, 0), (3, 2, 2), (3, -1, 0)])
def test_impossible_counts_are_unreadable(counts):
    board = Dashboard(CLASSES, ServiceDescription(is_cued=True))
    facts = dict(zip(("n_judged", "n_correct", "n_none"), counts, strict=True))
    board.add_message(message(**facts), now_s=1.0, has_latency=True)
    assert tally(board) == (0, 0, 0)
    assert board.figures(now_s=1.0).unreadable == 1


def test_the_quality_is_what_the_newest_message_says():
    board = Dashboard(CLASSES)
    found = []
    for seq, quality in enumerate((1.0, 0.0, None, 0.75, 7.0)):
        board.add_message(message(seq=seq, quality=quality), now_s=1.0, has_latency=True)
        found.append(board.figures(now_s=1.0).quality)
    assert found == [1.0, 0.0, None, 0.75, 0.75]
    assert board.figures(now_s=1.0).unreadable == 1


def test_plain_labels_are_not_judged_and_the_page_says_why():
    board = Dashboard(CLASSES)
    board.add_message("left", now_s=1.0, has_latency=True)
    board.add_marker(Cue(1.0, "tap/left"), now_s=1.0)
    board.judge_markers(now_s=50.0)
    assert tally(board) == (0, 0, 0)
    assert "plain labels" in board.figures(now_s=50.0).why_not_judged


def test_the_reason_of_an_invalid_decision_is_shown_until_the_next_valid_one():
    board = Dashboard(CLASSES)
    found = []
    for k, why in enumerate(("", "a gap", "C3 is flat", "")):
        board.add_message(message(type="verdict", seq=k, valid=not why, why=why), now_s=1.0, has_latency=True)
        found.append(board.figures(now_s=100.0).invalid)
    assert found == ["", "a gap", "C3 is flat", ""]


def test_only_the_newest_events_are_kept():
    board = Dashboard(CLASSES)
    for k in range(5000):
        board.add_marker(Cue(float(k), f"tap/{CLASSES[k % 2]}"), now_s=0.0)
        board.judge_markers(now_s=10.0)
    assert board.events.n == 5000
    assert len(board.events.since(0)) == 600
    assert len(board.judged.since(0)) == 600
