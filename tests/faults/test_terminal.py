"""The operator's terminal is gone, stopped, full or closed: that costs its lines, not the session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from pretap_realtime.lsl.library import local_clock
from real_lsl import WITHIN_S, until


@pytest.fixture
def run(bundle, feeder, tmp_path):
    """Start a service with these files as stdout and stderr; gives process, amplifier, and a look at its log."""
    started = []
    log = tmp_path / "decisions.jsonl"

    def rows():
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def run(out, *arguments, shell=""):
        amp = feeder()
        command = [sys.executable, "-m", "pretap", "serve", str(bundle), "--query", f"name={amp.name}"]
        command += ["--log", str(log), *arguments]
        if shell:
            command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        until(lambda: any(row["type"] == "verdict" and row["valid"] for row in rows()), lambda: f"a verdict: {rows()}")
        return started[-1], amp, rows

    yield run
    for process in started:
        process.kill()
        process.wait()


def gone(reader, writer):
    os.close(reader)
    os.close(writer)


def stopped(_reader, writer):
    os.set_blocking(writer, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(writer, b"x" * size)
        except BlockingIOError:
            continue
    os.set_blocking(writer, True)


@pytest.mark.parametrize("arguments", [(), ("--supervise",)], ids=["alone", "supervised"])
@pytest.mark.parametrize("breaks", [gone, stopped])
def test_a_terminal_that_goes_or_stops_costs_its_lines_not_the_session(run, breaks, arguments, measured):
    pipe = os.pipe()
    process, amp, rows = run(pipe[1], *arguments)
    breaks(*pipe)
    amp.freeze()
    until(lambda: any(row["state"] == "STALE" for row in rows()), "a state that has to be said")
    amp.thaw()
    thawed_s = local_clock()
    until(lambda: any(row["type"] == "verdict" and row["valid"] and row["t"] > thawed_s for row in rows()), "a verdict")
    took_s = local_clock() - thawed_s
    process.send_signal(signal.SIGINT)
    assert process.wait(WITHIN_S) == 0
    measured(
        f"the pipe behind stdout and stderr is {breaks.__name__}{', --supervise' if arguments else ''}",
        "states and verdicts go on, Ctrl-C ends it with exit code 0",
        f"the first verdict {took_s:.2f} s after a pause of the amplifier; exit 0",
    )


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"])
def test_without_a_terminal_it_serves_and_ends_well(run, shell):
    process, _, rows = run(subprocess.DEVNULL, shell=shell)
    process.send_signal(signal.SIGTERM)
    assert process.wait(WITHIN_S) == 0
    assert [row["state"] for row in rows() if row["type"] == "state"][-1] == "RUNNING"
