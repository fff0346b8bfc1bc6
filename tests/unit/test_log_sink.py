"""The log: nothing that happens to its disk holds up the session, and the operator learns of it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from pretap_realtime.send.log_sink import LogSink
from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Outgoing

LONG_S = 60.0


def message(seq, **more):
    return Outgoing(Message(**{"type": "state", "seq": seq, "state": "RUNNING", "t": 1.0, "sent": 1.25} | more))


def seqs(text):
    return [json.loads(line)["seq"] for line in text.splitlines()]


def until(condition):
    deadline_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def test_every_message_but_heartbeats_is_a_line_and_a_decision_has_its_latency(tmp_path):
    path = tmp_path / "log.jsonl"
    log = LogSink(path, say=print)
    valid = message(1, type="verdict", p={"left": 0.75, "right": 0.25})
    withheld = message(2, type="verdict", valid=False, why="too old")
    valid.has_latency = withheld.has_latency = True
    withheld.withheld_p = [0.75, 0.25]
    log.send([message(0, type="heartbeat"), valid, withheld, message(3)])
    log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert [line.get("latency_ms") for line in lines] == [250.0, 250.0, None]
    assert [line.get("withheld_p") for line in lines] == [None, [0.75, 0.25], None]


def test_lines_are_written_without_waiting_for_more(tmp_path):
    path = tmp_path / "log.jsonl"
    log = LogSink(path, say=print)
    for seq in range(3):
        log.send([message(seq)])
        until(lambda: seqs(path.read_text()) == list(range(seq + 1)))  # noqa: B023 - it ends before the next seq
    log.close()


@pytest.mark.skipif(os.name == "nt", reason="named pipes")
def test_a_log_whose_disk_hangs_is_kept_in_memory_and_misses_nothing(tmp_path):
    pipe = tmp_path / "log.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    said = []
    log = LogSink(pipe, say=said.append)
    n = 2000  # 64 kB fit into a pipe
    log.send([message(seq) for seq in range(n)])

    def has_warned():
        nonlocal n
        log.send([message(n)])
        n += 1
        return said

    until(has_warned)
    assert said == [f"WARNING: the log {pipe} hangs: its disk does not answer. Lines are kept in memory until it does"]
    read = b""
    deadline_s = time.monotonic() + LONG_S
    while read.count(b"\n") < n and time.monotonic() < deadline_s:
        with contextlib.suppress(BlockingIOError):
            read += os.read(reader, 1 << 20)
    log.close()
    os.close(reader)
    assert seqs(read) == list(range(n))
    assert said[1:] == [f"the disk of the log {pipe} answers again"]


@pytest.mark.skipif(os.name == "nt", reason="named pipes")
def test_what_a_disk_that_hangs_to_the_end_misses_is_said(tmp_path):
    pipe = tmp_path / "log.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    said = []
    log = LogSink(pipe, say=said.append)
    log.send([message(seq) for seq in range(2000)])
    log.close(timeout_s=0.5)
    n_written = os.read(reader, 1 << 20).count(b"\n")
    (line,) = said
    n_missing = int(line.split()[1])
    assert line == f"WARNING: {n_missing} messages are missing in the log {pipe}: its disk does not answer"
    assert n_missing in (2000 - n_written, 2000 - n_written - 1)  # the write that hung may have gone on since
    os.close(reader)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_a_full_disk_is_said_once_and_so_is_its_end(tmp_path):
    link, said = tmp_path / "log.jsonl", []
    free = os.open(tmp_path / "free.jsonl", os.O_WRONLY | os.O_CREAT)
    link.symlink_to("/dev/full")
    log = LogSink(link, say=said.append)
    (fd,) = [int(each.name) for each in Path("/proc/self/fd").iterdir() if os.path.realpath(each) == "/dev/full"]
    log.send([message(0), message(1)])
    until(lambda: said)
    os.dup2(free, fd)  # the disk has space again
    log.send([message(2)])
    log.close()
    os.close(free)
    n_missing = 3 - len(written := seqs((tmp_path / "free.jsonl").read_text()))
    assert written in ([2], [1, 2])
    assert said == [
        f"WARNING: the log {link} cannot be written: No space left on device. The session goes on.",
        f"the log {link} can be written again; {n_missing} messages are missing in it",
    ]
