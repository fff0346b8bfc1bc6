"""The pure parts of the monitor: what it keeps, how it judges, whom it answers."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pretap_realtime.monitor as package
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.monitor.board import Board
from pretap_realtime.monitor.choice import choose
from pretap_realtime.monitor.follower import About, Update, positions
from pretap_realtime.monitor.guard import Guard, allowed_hosts
from pretap_realtime.monitor.traces import Traces
from pretap_realtime.monitor.truths import Truths, class_of
from pretap_realtime.send.messages import Message, encode
from pretap_realtime.signal.chunk import Cue

CLASSES = ("left", "right")


# -- traces ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 70), min_size=1, max_size=20))
def test_columns_hold_the_extremes_of_all_samples_whatever_the_chunks(sizes):
    n = sum(sizes)
    x = np.random.default_rng(n).normal(0, 20, (n, 3)).astype(np.float32)
    t_s = np.arange(n) / 1000
    traces = Traces(n_channels=3, sfreq_hz=1000.0)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        traces.push(x[start : start + size], t_s[start : start + size])
    stamps, columns = traces.since(0)
    whole = x[: n // 10 * 10].reshape(-1, 10, 3)[-1201:]
    np.testing.assert_array_equal(columns[:, 0], whole.min(axis=1))
    np.testing.assert_array_equal(columns[:, 1], whole.max(axis=1))
    np.testing.assert_array_equal(stamps, t_s[9::10][-1201:])


def test_a_spike_of_one_sample_and_a_nan_are_seen():
    x = np.zeros((30, 2), np.float32)
    x[4, 0], x[17, 1] = 900, np.nan
    traces = Traces(n_channels=2, sfreq_hz=1000.0)
    traces.push(x, np.arange(30) / 1000)
    _, columns = traces.since(0)
    assert columns[0, 1].tolist() == [900, 0]
    assert np.isnan(columns[1, :, 1]).all()
    assert not np.isnan(columns[[0, 2]]).any()


def test_a_slow_stream_has_a_column_for_each_sample():
    traces = Traces(n_channels=1, sfreq_hz=50.0)
    traces.push(np.array([[1], [2]], np.float32), np.array([0.0, 0.02]))
    assert traces.since(0)[1].tolist() == [[[1], [1]], [[2], [2]]]


def test_a_frame_carries_what_came_since_the_last_one():
    traces = Traces(n_channels=2, sfreq_hz=100.0)
    traces.push(np.array([[1, 2], [3, 4]], np.float32), np.array([7.0, 7.01]))
    frame = traces.frame(1)
    assert struct.unpack("<4I", frame[:16]) == (1, 2, 1, 0)
    assert struct.unpack("<d4f", frame[16:]) == (7.01, 3, 4, 3, 4)
    assert traces.frame(2) == b""


# -- truths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tap/left", "left"), ("trial/3/end/right", "right"), ("right", "right"), ("trial/3/start/left", None),
        ("trial/3/end", None), ("rest", None), ("leftover", None), ("tap/left/", None),
    ],
)  # fmt: skip
def test_which_markers_tell_the_class(text, expected):
    assert class_of(text, CLASSES) == expected


def test_the_verdict_before_the_marker_counts_not_the_one_after():
    truths = Truths()
    truths.add_verdict(9.99, "left")
    truths.add_marker(Cue(10.0, "trial/0/end/left"), CLASSES, now_s=10.0)
    assert truths.judge(now_s=10.0) == []  # the verdict at 10.0 may be under way
    truths.add_verdict(10.04, "right")
    (judged,) = truths.judge(now_s=10.05)
    assert (judged.truth, judged.label, judged.right, judged.lead) == ("left", "left", True, 0.0)


def test_a_tap_is_judged_by_what_was_said_130_ms_before():
    truths = Truths()
    truths.add_verdict(9.86, "left")
    truths.add_verdict(9.90, "right")
    truths.add_marker(Cue(10.0, "tap/left"), CLASSES, now_s=10.0)
    (judged,) = truths.judge(now_s=10.0)
    assert (judged.label, judged.right, judged.lead) == ("left", True, 0.13)


def test_an_old_verdict_is_none_and_none_is_not_right():
    truths = Truths()
    truths.add_verdict(9.0, "left")
    truths.add_marker(Cue(10.0, "trial/1/end/left"), CLASSES, now_s=10.0)
    assert truths.judge(now_s=10.5) == []
    (judged,) = truths.judge(now_s=11.1)  # patience is over
    assert (judged.label, judged.right) == ("none", False)
    assert (truths.n, truths.n_right, truths.n_none) == (1, 0, 1)


# -- board -------------------------------------------------------------------------------------------------------------


def message(**facts) -> str:
    return encode(Message(**({"type": "heartbeat", "seq": 0, "state": "RUNNING", "t": 5.0, "sent": 5.0} | facts)))


def test_states_latencies_losses_and_missed_messages_are_counted():
    board = Board()
    board.begin(CLASSES)
    board.add_message(message(type="state", why="fits"), now_s=5.0, latency_known=True)
    for k, latency_s in enumerate((0.001, 0.002, 0.004)):
        facts = {"type": "verdict", "seq": 2 + k, "label": "left", "p": {"left": 0.9, "right": 0.1}}
        facts |= {"t": 6.0 + k, "sent": 6.0 + k + latency_s}
        board.add_message(message(**facts), now_s=6.0, latency_known=True)
    board.add_message(message(seq=5, lost=7, bad=("C3",), why="C3: railed"), now_s=6.1, latency_known=True)
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


def test_an_invalid_verdict_pushes_nothing():
    board = Board()
    board.begin(CLASSES)
    text = message(type="verdict", valid=False, why="a gap", p={"left": 0.9, "right": 0.1}, label="left")
    board.add_message(text, now_s=5.0, latency_known=True)
    assert [row.p for row in board.decisions.since(0)] == [[0.0, 0.0]]
    assert [event.label for event in board.events.since(0)] == ["none"]
    assert board.figures(now_s=5.0).latency_ms is None


def test_a_command_is_seen_as_one():
    board = Board()
    board.begin(CLASSES)
    for seq, is_command in enumerate((True, False)):
        verdict = message(type="verdict", seq=seq, valid=True, label="left", command=is_command, p={"left": 1.0})
        board.add_message(verdict, now_s=5.0, latency_known=True)
    assert [event.command for event in board.events.since(0)] == [True, False]


def test_what_hostile_streams_send_is_counted_and_changes_nothing():
    board = Board()
    board.begin(CLASSES)
    for text in ("", "{", "[1]", '{"v":1}', "\x1b[2J", '{"type":"state","seq":1e99}', "9" * 4000, "[" * 4000):
        board.add_message(text, now_s=1.0, latency_known=True)
    board.add_rows(np.array([[np.nan, 1, 1], [np.inf, 0, 0]], np.float32), np.array([1.0, 2.0]), now_s=1.0)
    board.add_codes([7.0, float("nan"), -1.0], [1.0, 1.0, 1.0])
    board.add_marker(Cue(float("nan"), "tap/left"), now_s=1.0)
    board.add_marker(Cue(1e300, "tap/left"), now_s=1.0)
    figures = board.figures(now_s=1.0)
    assert figures.unreadable == 8 + 2 + 3 + 2
    assert (figures.state, board.decisions.n, board.events.n, figures.n_judged) == ("", 0, 0, 0)


def test_text_from_the_network_is_short_and_printable():
    board = Board()
    board.begin(CLASSES)
    board.add_marker(Cue(1.0, "\x1b[31m\u202e<b>" + "x" * 5000), now_s=1.0)
    facts = {"type": "state", "why": "\x00" * 9000, "bad": tuple(f"E{k}\n" for k in range(999))}
    board.add_message(message(**facts), now_s=1.0, latency_known=True)
    texts = [event.text for event in board.events.since(0)] + board.figures(now_s=1.0).bad
    assert all(text.isprintable() and len(text) <= 300 for text in texts)
    assert len(texts) == 2 + 64


def test_a_flood_of_events_takes_no_more_memory_than_a_few():
    board = Board()
    board.begin(CLASSES)
    for k in range(5000):
        board.add_marker(Cue(float(k), f"tap/{CLASSES[k % 2]}"), now_s=0.0)
        board.judge(now_s=10.0)
    assert board.events.n == 5000
    assert len(board.events.since(0)) == 600
    assert len(board.judged.since(0)) == 600


def test_electrodes_have_places_and_other_channels_have_none():
    left, middle, right, other = positions(["EEG C3-Ref", "cz", "C4", "COUNTER"])
    assert left[0] == pytest.approx(-right[0], abs=0.02)
    assert middle == pytest.approx((0, 0), abs=0.01)
    assert other is None
    assert positions(["Fpz"])[0][1] > 0.7  # the nose is up


# -- choice ------------------------------------------------------------------------------------------------------------


def found(name, kind="Markers", format="string", n=1, uid="", source_id=""):  # noqa: A002
    return StreamInfo(name, kind, source_id or name, "here", uid or name, format, n, 0.0, None)


def service(name):
    return [found(f"{name}-probabilities", "Probabilities", "float32", 3), found(f"{name}-codes", format="int32"),
            found(f"{name}-markers")]  # fmt: skip


AMP = found("Amp", "EEG", "float32", 28)
ANY = {"name": "", "stream": {"type": "EEG"}, "markers": None}


def test_the_only_service_the_only_eeg_and_the_task_are_followed():
    wanted, problems = choose([*service("pretap"), AMP, found("task"), found("wide", n=2)], **ANY)
    assert {role: each.name for role, each in wanted.items()} == {
        "probabilities": "pretap-probabilities", "codes": "pretap-codes", "messages": "pretap-markers", "eeg": "Amp",
        "marker task": "task",
    }  # fmt: skip
    assert problems == []


@pytest.mark.parametrize("step", [1, -1])
def test_markers_of_a_replay_that_has_the_name_of_the_service_are_not_its_messages(step):
    replay = found("pretap-markers", uid="replay", source_id="pretap-replay:pretap-markers")
    wanted, problems = choose([*service("pretap"), replay, AMP][::step], **ANY)
    assert (wanted["messages"].uid, wanted["marker replay"]) == ("pretap-markers", replay)
    assert not problems


def test_of_several_none_is_followed_until_one_is_named():
    streams = [*service("anna"), *service("ben"), AMP, found("Other", "EEG", "float32", 8)]
    wanted, problems = choose(streams, **ANY)
    assert wanted == {}
    assert "2 services are here: anna, ben" in problems[0]
    assert "2 EEG streams are here: Amp, Other" in problems[1]
    wanted, problems = choose(streams, **ANY | {"name": "ben", "stream": {"name": "Amp"}})
    assert wanted["messages"].name == "ben-markers"
    assert wanted["eeg"] is AMP
    assert problems == []


def test_what_is_followed_stays_when_another_comes():
    streams = [*service("anna"), *service("ben"), AMP, found("Other", "EEG", "float32", 8)]
    wanted, problems = choose(streams, followed="anna", has_eeg=True, **ANY)
    assert wanted["codes"].name == "anna-codes"
    assert problems == []


def test_what_is_missing_is_said():
    assert choose([], **ANY) == ({}, ["Waiting for a service. Is pretap serve running?", "Waiting for the EEG stream."])


# -- guard -------------------------------------------------------------------------------------------------------------


def ask(*, host="127.0.0.1:8010", origin=None, method="GET", kind="http"):
    """Send one request through a guard; gives the status or close code, and whether it reached the application."""
    sent, reached = [], []

    async def app(scope, receive, send):
        reached.append(scope)
        if kind == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        else:
            await send({"type": "websocket.accept"})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", each.encode()) for each in ([host] if isinstance(host, str) else host)]
    headers += [(b"origin", origin.encode())] if origin is not None else []
    scope = {"type": kind, "method": method, "headers": headers}
    asyncio.run(Guard(app, hosts=allowed_hosts(["lab-pc"], 8010))(scope, receive, send))
    return sent[0].get("status") or sent[0].get("code", 0), bool(reached), sent[0]


@pytest.mark.parametrize("host", ["127.0.0.1:8010", "localhost:8010", "[::1]:8010", "LAB-PC:8010"])
def test_our_own_names_are_answered(host):
    assert ask(host=host)[:2] == (200, True)


@pytest.mark.parametrize("host", ["evil.example:8010", "127.0.0.1", "127.0.0.1:80", "", [], ["localhost:8010"] * 2])
def test_another_host_is_not_answered(host):
    assert ask(host=host)[:2] == (421, False)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost:8010", "http://localhost:80"])
def test_another_origin_reads_nothing(origin):
    assert ask(origin=origin)[:2] == (403, False)
    assert ask(origin=origin, kind="websocket")[:2] == (1008, False)


def test_a_socket_without_an_origin_reads_nothing():
    assert ask(kind="websocket")[:2] == (1008, False)
    assert ask(kind="websocket", origin="http://localhost:8010")[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_asked_for_but_pages(method):
    assert ask(method=method)[:2] == (405, False)


def test_every_answer_forbids_inline_scripts_and_frames():
    for status in (ask(), ask(host="evil:1")):
        headers = {key.decode(): value.decode() for key, value in status[2]["headers"]}
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_inline_script_or_style_and_writes_no_markup():
    static = Path(package.__file__).with_name("static")
    html = (static / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|style=|javascript:|//[a-z]", html)
    code = "".join(file.read_text() for file in static.glob("*.js")).replace("http://www.w3.org/2000/svg", "")
    assert "textContent" in code
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|https?://", code)


def test_an_update_is_json_that_a_browser_reads():
    board = Board()
    board.begin(CLASSES)
    board.add_rows(np.array([[0.25, 0.75, 1.0]], np.float32), np.array([3.5]), now_s=3.5)
    update = Update(about=About(places=[None, (0.5, 0.5)]), decisions=board.decisions.since(0), now=4.0)
    read = json.loads(msgspec.json.encode(update))
    assert read["decisions"] == [[3.5, [0.25, 0.75]]]
    assert read["about"]["places"] == [None, [0.5, 0.5]]
