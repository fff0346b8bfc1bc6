"""Publishing: readers that freeze an outlet, stand still, or come late."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path

import pylsl
import pytest

from pretap_realtime.lsl.library import local_clock
from real_lsl import Child, Listener, resolve, streams_named, until

_MANY_AT_ONCE = ("--hop-ms", "10")  # with 25 samples at a time: 25 decisions are ready together, and pushed in a row


@pytest.fixture
def hostile(tmp_path, ending):
    """Start a reader that asks for a buffer of one sample until the outlet freezes; see reader.py."""

    def hostile(name: str, *, n_times: int = 1) -> Child:
        script = Path(__file__).with_name("reader.py")
        ending.append(Child(tmp_path, [sys.executable, str(script), name, str(n_times)]))
        return ending[-1]

    return hostile


def announcements(service):
    """Give the log's messages that tell of a frozen outlet."""
    return [row for row in service.rows if "was frozen by one of its readers" in row["why"]]


def announced(service, n=1):
    """Wait for the n-th of them."""
    rows = until(lambda: announcements(service)[n - 1 :], lambda: f"frozen outlet {n} in:\n{service.said}")
    return rows[0]


def figure(pattern, text):
    return float(re.search(pattern, text).group(1))


@pytest.mark.parametrize("kind", ["markers", "codes", "probabilities"])
def test_a_reader_with_a_buffer_of_one_sample_freezes_nothing_for_long(
    serve, feeder, hostile, measured, kind
):  # fmt: skip
    service = serve(feeder(chunk=25), *_MANY_AT_ONCE)
    service.wait_for_verdict()
    hostile(f"{service.name}-{kind}")
    row = announced(service)
    assert f"{service.name}-{kind}" in row["why"]
    until(lambda: row["why"] in service.said, "the same line on the terminal")
    held_up_ms = figure(r"held up for (\d+) ms", row["why"])
    hung_ms = figure(r"hung for (\d+) ms", row["why"])
    found = streams_named(f"{service.name}-{kind}")
    assert [f.source_id for f in found] == [f"{service.name}-{kind}"]  # and the frozen one is not there any more
    service.wait_for_verdict(lambda later: later["seq"] > row["seq"] + 50)
    rows = service.rows
    assert all(before["seq"] < after["seq"] for before, after in pairwise(rows))
    stamps_s = [verdict["t"] for verdict in service.verdicts() if verdict["valid"]]
    assert max(after - before for before, after in pairwise(stamps_s)) < 0.015  # one each 10 ms: none was left out
    interrupted_s = local_clock()
    assert service.interrupt() == 0
    took_s = local_clock() - interrupted_s
    measured(
        f"a reader of {kind} asks for a buffer of 1 sample (liblsl #156)",
        "loop stalled < 50 ms; found within 1 s; same source_id; sequence goes on, no verdict left out; exit in time",
        f"stalled {held_up_ms:.0f} ms, replaced after {hung_ms:.0f} ms, exit in {took_s:.1f} s",
        in_time=held_up_ms < 50 and hung_ms < 1000 and took_s < 2,
    )


def test_the_readers_of_the_other_outlets_notice_nothing_and_those_of_the_frozen_one_go_on(
    serve, feeder, hostile, measured
):
    service = serve(feeder(chunk=25), *_MANY_AT_ONCE)
    listener = service.listener
    listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a verdict")
    numbers = pylsl.StreamInlet(resolve(f"{service.name}-codes").info)  # recovers, as by default
    numbers.open_stream(timeout=60)
    hostile(f"{service.name}-codes")
    row = announced(service)
    listener.wait_for(lambda m: m.seq > row["seq"] + 200, "messages")
    seqs = [message.seq for message in listener.messages]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    told = next(message for message in listener.messages if message.why == row["why"])
    assert told.type == "state"
    hung_s = figure(r"hung for (\d+) ms", row["why"]) / 1000
    until(lambda: max(numbers.pull_chunk(timeout=0.1)[1], default=0) > row["t"], "codes")
    back_s = local_clock() - (told.sent - hung_s)
    measured(
        "the outlet of the codes freezes while others read the markers",
        "readers of the others lose nothing; readers of the frozen one are back by themselves",
        f"markers: 0 of {len(seqs)} lost, {hung_s:.2f} s late; codes flow again {back_s:.1f} s after the freeze",
        in_time=hung_s < 1,
    )


def test_an_outlet_that_freezes_again_and_again_restarts_the_worker(serve, feeder, hostile, measured):
    service = serve(feeder(chunk=25), *_MANY_AT_ONCE, "--supervise")
    service.wait_for_verdict()
    reader = hostile(f"{service.name}-markers", n_times=4)
    announced(service, 3)
    until(
        lambda: "supervisor: the worker ended because outlets froze too often" in service.said,
        lambda: f"a fourth freeze:\n{service.said}\n{reader.said[-2000:]}",
    )
    restarted = until(
        lambda: next((row for row in service.rows if row["why"].startswith("restarted")), None), "a restart"
    )
    service.wait_for_verdict(lambda row: row["valid"] and row["seq"] > restarted["seq"])
    rows = service.rows
    assert all(before["seq"] < after["seq"] for before, after in pairwise(rows))
    gave_up = next(row for row in rows if row["why"].startswith("Outlets froze 4 times"))
    away_s = restarted["sent"] - gave_up["sent"]
    assert service.interrupt() == 0
    measured(
        "the markers freeze four times",
        "three threads are left behind, then a new process; restarted within 2 s; sequence numbers go on",
        f"back {away_s:.2f} s after it gave up",
        in_time=away_s < 2,
    )


def test_a_reader_that_stands_still_costs_the_others_nothing(serve, feeder, tmp_path, ending, measured):
    service = serve(feeder(chunk=25), *_MANY_AT_ONCE)
    service.wait_for_verdict()
    script = (
        "import sys, pylsl\n"
        "inlet = pylsl.StreamInlet(pylsl.resolve_bypred(f\"name='{sys.argv[1]}'\", 1, 5)[0], recover=False)\n"
        "print('reads', inlet.pull_sample(5), flush=True)\n"
        "while True: inlet.pull_sample(1)\n"
    )
    for kind in ("markers", "codes", "probabilities"):
        ending.append(Child(tmp_path, [sys.executable, "-c", script, f"{service.name}-{kind}"]))
        ending[-1].wait_for("reads")
        ending[-1].freeze()
    listener = service.listener
    listener.wait_for(lambda m: m.type == "verdict", "a verdict")
    first = listener.messages[0].seq
    listener.wait_for(lambda m: m.seq > first + 1000, "a thousand messages")
    seqs = [message.seq for message in listener.messages]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert not announcements(service)
    pause_s = max(after - before for before, after in pairwise(listener.arrived))
    interrupted_s = local_clock()
    assert service.interrupt() == 0
    took_s = local_clock() - interrupted_s
    measured(
        "a reader of each outlet stands still (SIGSTOP)",
        "the others lose nothing, the exit is not blocked",
        f"0 of {len(seqs)} lost, longest pause {1000 * pause_s:.0f} ms (samples come each 250), exit in {took_s:.1f} s",
        in_time=took_s < 2,
    )


@pytest.mark.parametrize("state", ["WAITING", "RUNNING", "STALE"])
def test_a_late_reader_knows_the_state(serve, feeder, measured, state):
    amp = feeder()
    service = serve("name=nobody" if state == "WAITING" else amp, "--set", "markers.format=json")
    service.wait_for_states("WAITING" if state == "WAITING" else "RUNNING")
    if state == "STALE":
        amp.freeze()
        service.wait_for_states("STALE")
    resolve(f"{service.name}-markers")
    took_s = []
    for _ in range(5):
        listener = Listener(f"{service.name}-markers")
        attached_s = local_clock()
        message = listener.wait_for(lambda m: m.type in ("state", "heartbeat"), "the state")
        assert message.state == state
        took_s.append(listener.arrived[listener.messages.index(message)] - attached_s)
    if state == "STALE":
        amp.thaw()
    measured(
        f"a reader comes late, in state {state}",
        "knows the state within 1 s",
        f"at most {max(took_s):.2f} s of 5 readers",
        in_time=max(took_s) < 1,
    )
