"""Supervision: a worker that crashes, a supervisor that dies, and the session that must survive."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from pretap_realtime.lsl.library import local_clock
from real_lsl import python_path, streams_named, until


def children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(each) for each in path.read_text().split()]
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise
    return found


def worker(service, *, other_than: int = 0) -> int:
    """Wait for the process id of the worker."""

    def look():
        assert service.process.poll() is None, service.said
        return next((pid for pid in children(service.process.pid) if pid != other_than), 0)

    return until(look, lambda: f"a worker:\n{service.said}")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_crashed_worker_is_restarted_and_its_sequence_numbers_continue(serve, feeder, measured, number):
    service = serve(feeder(), "--supervise")
    service.wait_for_verdict()
    old_ids = {f.name: f.source_id for f in streams_named(service.name)}
    pid = worker(service)
    killed_s = local_clock()
    os.kill(pid, number)
    until(lambda: is_gone(pid), "the end of the worker")
    n_before = len(service.rows)
    last = service.rows[-1]
    back = until(
        lambda: next((row for row in service.rows[n_before:] if row["state"] == "RUNNING"), None),
        lambda: f"RUNNING in:\n{service.rows[n_before:]}\n{service.said}",
    )
    first = service.rows[n_before]
    assert (first["type"], first["state"]) == ("state", "WAITING")
    assert first["why"] == f"restarted: the previous worker was ended by {number.name}"
    back_s, new = back["sent"] - killed_s, worker(service, other_than=pid)
    service.wait_for_verdict(lambda row: row["valid"] and row["seq"] > back["seq"])
    rows = service.rows
    assert all(before["seq"] < after["seq"] for before, after in pairwise(rows))
    n_missing = first["seq"] - last["seq"] - 1  # heartbeats are not in the log
    assert n_missing <= 2
    ids = until(lambda: {f.name: f.source_id for f in streams_named(service.name)}, "the outlets")
    assert ids == old_ids
    assert len(ids) == 3
    assert service.interrupt() == 0
    assert is_gone(new)
    measured(
        f"the worker ends by {number.name}",
        "restarted within 2 s; sequence numbers and the log go on; the same source_ids",
        f"RUNNING again after {back_s:.2f} s, {n_missing} of its numbers not in the log",
        in_time=back_s < 2,
    )


def test_the_log_and_the_recording_survive_the_death_of_the_worker(serve, feeder, tmp_path, measured):
    import pyxdf

    folder = tmp_path / "session"
    amp = feeder()
    service = serve(amp, "--supervise", "--record", str(folder))
    service.wait_for_verdict()
    pid = worker(service)
    began_s = service.verdicts()[-1]["t"]
    until(lambda: service.verdicts()[-1]["t"] > began_s + 2, "two seconds")
    os.kill(pid, signal.SIGKILL)
    killed_s = local_clock()
    service.wait_for(r"the recording continues in .*part-2")
    until((folder / "part-2" / "session.xdf").exists, "the second part")
    service.wait_for_verdict(lambda row: row["valid"] and row["t"] > killed_s + 1)
    assert service.interrupt() == 0
    lost_s = []
    for part in (folder, folder / "part-2"):
        lines = [json.loads(line) for line in (part / "decisions.jsonl").read_text().splitlines()]
        streams, _ = pyxdf.load_xdf(part / "session.xdf", dejitter_timestamps=False)
        (eeg,) = [stream for stream in streams if stream["info"]["name"] == [amp.name]]
        lost_s.append((lines[-1]["t"], eeg["time_stamps"][-1]))
    log_s, xdf_s = (killed_s - each for each in lost_s[0])
    measured(
        "kill -9 of a worker that records",
        "log and recording hold all up to the last second; the recording goes on in a new part",
        f"log ends {1000 * log_s:.0f} ms, recording {1000 * xdf_s:.0f} ms before the kill",
        in_time=log_s < 1 and xdf_s < 1,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_supervisor_shuts_the_worker_down(serve, feeder, number):
    service = serve(feeder(), "--supervise")
    service.wait_for_verdict()
    pid = worker(service)
    assert service.interrupt(number) == 0
    assert is_gone(pid)
    assert "decisions," in service.said  # the summary


def _parse(line):
    """Return the content of a line of a log, or None if the line is incomplete."""
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(line)
    return None


def test_no_worker_survives_its_supervisor(serve, feeder, measured):
    service = serve(feeder(), "--supervise")
    service.wait_for_verdict()
    pid = worker(service)
    killed_s = local_clock()
    service.kill()
    until(lambda: is_gone(pid), "the end of the worker")
    took_s = local_clock() - killed_s
    until(lambda: "decisions," in service.said, lambda: f"a summary:\n{service.said}")
    measured("kill -9 of the supervisor", "its worker ends well, no orphan", f"gone after {took_s:.2f} s")


def test_intended_exits_are_not_restarted(serve):
    service = serve("name=nobody", "--supervise", "--wait-s", "0.5")
    assert service.wait() == 3
    assert "restart" not in service.said


def test_a_worker_that_cannot_start_is_given_up_after_five_restarts(serve, feeder, tmp_path, measured):
    (tmp_path / "sitecustomize.py").write_text("import os, sys\nif '--supervised' in sys.orig_argv: os._exit(1)\n")
    service = serve("name=nobody", "--supervise", env=python_path(tmp_path))
    assert service.wait() == 1
    assert service.said.count("; restart ") == 5
    assert "there is no restart" in service.said
    measured("a worker that crashes at each start", "given up, in words", "after 5 restarts, with pauses of up to 4 s")


def test_a_full_disk_costs_the_log_and_not_the_session(serve, feeder, tmp_path, measured):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    log, ballast = disk / "full.jsonl", disk / "ballast"
    try:
        ballast.write_bytes(bytes(8192))
        service = serve(feeder(), "--log", str(log), "--hop-ms", "10")
        service.wait_for(r"WARNING: the log .* cannot be written: No space left on device. The session goes on.")
        last = service.listener.messages[-1:] or [service.listener.wait_for(lambda m: True, "a message")]
        service.listener.wait_for(lambda m: m.type == "verdict" and m.valid and m.seq > last[0].seq + 100, "verdicts")
        ballast.unlink()
        said = service.wait_for(r"can be written again; (\d+) messages are missing in it")
        until(lambda: log.stat().st_size > 0, "a log")
        assert service.interrupt() == 0
        rows = [_parse(line) for line in log.read_text().splitlines()]
        assert rows.count(None) <= 1  # the line in which the disk became full
        n_missing = int(said.split("; ")[1].split()[0])
        n_verdicts = [row["seq"] for row in rows if row]
        assert n_verdicts == sorted(n_verdicts)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    measured("the disk is full", "said, the session goes on", f"{n_missing} messages missing in the log, and said so")
