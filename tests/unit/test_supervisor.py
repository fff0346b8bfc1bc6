"""Supervisor and handover, with workers that are a line of Python."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from pretap_realtime.serve.command import serve
from pretap_realtime.serve.handover import Handover
from pretap_realtime.serve.states import HandedOverTally
from pretap_realtime.serve.supervisor import HangDetector, describe_exit, pause_s


def test_the_first_restart_is_at_once_and_the_pauses_grow_to_eight_seconds():
    assert [pause_s(n) for n in range(8)] == [0, 0, 0.5, 1, 2, 4, 8, 8]


@pytest.mark.parametrize(
    "code, said",
    [(1, "ended with exit code 1"), (10, "ended because outlets froze too often"), (-9, "was ended by SIGKILL")],
)
def test_the_exit_of_a_worker_is_described(code, said):
    assert describe_exit(code) == said


def test_the_sequence_numbers_of_a_killed_worker_reach_the_next_one(tmp_path):
    file = tmp_path / "handover"
    handover = Handover.create(file)
    assert (handover.n_restarts, handover.why) == (0, "")
    code = (
        "import os, pathlib, sys; from pretap_realtime.serve.handover import Handover\n"
        "handover = Handover(pathlib.Path(sys.argv[1]))\n"
        "numbers = [handover.sequence_numbers(k) for k in range(2)]\n"
        "assert [next(numbers[0]) for _ in range(12345)] == list(range(12345))\n"
        "assert next(numbers[1]) == 0; os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(file)], check=False, timeout=500).returncode == -9
    handover.add_restart("because of ünïcode")
    handover.add_restart("x" * 9999)
    after = Handover(file)
    assert [next(after.sequence_numbers(k)) for k in range(3)] == [12345, 1, 0]
    assert (after.n_restarts, after.why) == (2, "x" * 504)


def test_the_tally_of_a_worker_reaches_the_next_one(tmp_path):
    file = tmp_path / "handover"
    handover = Handover.create(file)
    first, other = HandedOverTally(handover.counts(0)), HandedOverTally(handover.counts(1))
    for label in ("left", "right", "none"):
        first.add(label, "left")
    other.add("right", "right")
    next(handover.sequence_numbers(0))
    after = Handover(file)
    tallies = [HandedOverTally(after.counts(k)) for k in range(3)]
    assert [asdict(each) for each in tallies] == [
        {"n_judged": 3, "n_correct": 1, "n_none": 1},
        {"n_judged": 1, "n_correct": 1, "n_none": 0},
        {"n_judged": 0, "n_correct": 0, "n_none": 0},
    ]
    tallies[0].add("left", "left")
    assert list(after.counts(0)) == [4, 2, 1]
    assert next(after.sequence_numbers(0)) == 1


def run_supervised(tmp_path, worker: str, *, check_s: float = 5.0):
    """Start a supervisor process whose worker runs the code `worker` with `n`, the number of restarts."""
    code = (
        "import pathlib, sys; from pretap_realtime.serve.supervisor import Supervisor\n"
        "worker = 'import os, pathlib, signal, sys, time; from pretap_realtime.serve.handover import Handover\\n'"
        "  'handover = Handover(pathlib.Path(sys.argv[1])); n = handover.n_restarts\\n' + sys.argv[1]\n"
        "command = lambda file: [sys.executable, '-c', worker, str(file)]\n"
        "say = lambda line: print(line, flush=True)\n"
        "sys.exit(Supervisor(command, say=say, check_s=float(sys.argv[2])).run())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, worker, str(check_s)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 6])
def test_an_intended_exit_is_not_restarted(tmp_path, code):
    process = run_supervised(tmp_path, f"sys.exit({code})")
    assert process.communicate(timeout=500)[0] == ""
    assert process.returncode == code


def test_a_crash_is_restarted_and_reported(tmp_path):
    process = run_supervised(tmp_path, "print(handover.why); sys.exit(0) if n else os.kill(os.getpid(), 9)")
    first, line, why = process.communicate(timeout=500)[0].splitlines()
    assert first == ""
    assert line.startswith("supervisor: the worker was ended by SIGKILL after ")
    assert line.endswith("; restart 1")
    assert why == "restarted: the previous worker was ended by SIGKILL"
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_the_second_signal_kills_a_worker_that_ignores_the_first(tmp_path):
    process = run_supervised(tmp_path, "print('up', flush=True); time.sleep(600)")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGKILL
    process.stdout.close()


def test_a_worker_hangs_if_three_checks_find_no_message_after_its_first_one():
    detector = HangDetector(b"0")
    assert not any(detector.update(b"0") for _ in range(9))  # it has sent nothing: loading may take long
    assert not any(detector.update(f"{n}".encode()) for n in range(1, 9))
    assert [detector.update(b"8") for _ in range(3)] == [False, False, True]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_that_hangs_is_killed_and_restarted(tmp_path):
    worker = "sys.exit(0) if n else next(handover.sequence_numbers(0)); time.sleep(600)"
    process = run_supervised(tmp_path, worker, check_s=0.2)
    said, _ = process.communicate(timeout=500)
    assert re.fullmatch(r"supervisor: the worker hung and was ended after \d+\.\d s; restart 1\n", said)
    assert process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="other systems do not replace the process")
def test_serve_starts_a_supervisor_with_its_own_arguments(monkeypatch):
    replaced_by = []
    monkeypatch.setattr("os.execv", lambda _, command: replaced_by.append(command) or sys.exit(0))
    arguments = ["--supervise", "ensemble-1000hz", "--log", "--supervise", "--hop-ms", "20"]
    result = CliRunner().invoke(serve, arguments)
    assert result.exit_code == 0, result.output
    assert replaced_by == [[sys.executable, "-m", "pretap_realtime.serve.supervisor", *arguments]]


def test_the_supervisor_imports_nothing_heavy():
    code = (
        "import sys, pretap_realtime.serve.supervisor\n"
        "print([name for name in ('numpy', 'pylsl', 'msgspec', 'safetensors') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=500)
    assert done.stdout == "[]\n"
