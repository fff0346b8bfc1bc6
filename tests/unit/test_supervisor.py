"""The supervisor and what a worker leaves to the next, with workers that are a line of Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pretap_realtime.serve.command import serve
from pretap_realtime.serve.handover import Handover
from pretap_realtime.serve.supervisor import Supervisor, pause_s, words


def test_the_first_restart_is_at_once_and_the_pauses_grow_to_eight_seconds():
    assert [pause_s(n) for n in range(8)] == [0, 0, 0.5, 1, 2, 4, 8, 8]


@pytest.mark.parametrize(
    "code, said",
    [(1, "ended with exit code 1"), (10, "ended since outlets froze too often"), (-9, "was ended by SIGKILL")],
)
def test_the_end_of_a_worker_in_words(code, said):
    assert words(code) == said


def test_what_a_worker_notes_is_there_for_the_next_one_even_when_it_was_killed(tmp_path):
    file = tmp_path / "handover"
    handover = Handover.create(file)
    assert (handover.n_restarts, handover.why, handover.seq(0), handover.seq(1)) == (0, "", 0, 0)
    code = (
        "import os, pathlib, sys; from pretap_realtime.serve.handover import Handover\n"
        "handover = Handover(pathlib.Path(sys.argv[1]))\n"
        "handover.keep_seq(0)(12345); handover.keep_seq(1)(2**40); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(file)], check=False, timeout=500).returncode == -9
    handover.restart("because of ünïcode")
    handover.restart("x" * 9999)
    after = Handover(file)
    assert (after.n_restarts, after.seq(0), after.seq(1)) == (2, 12345, 2**40)
    assert after.why == "x" * 504


def run_supervised(tmp_path, worker: str):
    """Run a supervisor, in a process of its own, whose worker runs `worker` with `n`, the number of its restarts."""
    code = (
        "import pathlib, sys; from pretap_realtime.serve.supervisor import Supervisor\n"
        "worker = 'import os, pathlib, signal, sys, time; from pretap_realtime.serve.handover import Handover\\n'"
        "  'handover = Handover(pathlib.Path(sys.argv[1])); n = handover.n_restarts\\n' + sys.argv[1]\n"
        "command = lambda file: [sys.executable, '-c', worker, str(file)]\n"
        "sys.exit(Supervisor(command, say=lambda line: print(line, flush=True)).run())"
    )
    return subprocess.Popen([sys.executable, "-c", code, worker], stdout=subprocess.PIPE, text=True, cwd=tmp_path)


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 6])
def test_an_end_that_is_meant_is_kept(tmp_path, code):
    process = run_supervised(tmp_path, f"sys.exit({code})")
    assert process.communicate(timeout=500)[0] == ""
    assert process.returncode == code


def test_a_crash_is_restarted_and_said(tmp_path):
    process = run_supervised(tmp_path, "print(handover.why); sys.exit(0) if n else os.kill(os.getpid(), 9)")
    first, line, why = process.communicate(timeout=500)[0].splitlines()
    assert first == ""
    assert line.startswith("supervisor: the worker was ended by SIGKILL after ")
    assert line.endswith("; restart 1")
    assert why == "restarted: the worker before was ended by SIGKILL"
    assert process.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_the_second_signal_ends_a_worker_that_does_not_listen(tmp_path):
    process = run_supervised(tmp_path, "print('up', flush=True); time.sleep(600)")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGKILL
    process.stdout.close()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_that_has_sent_messages_and_then_none_is_ended_as_hung(tmp_path):
    handover = Handover.create(tmp_path / "handover")
    supervisor = Supervisor(lambda file: [str(file)], say=print)
    supervisor._handover = handover
    supervisor._child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        supervisor._numbers = handover.numbers()
        for _ in range(9):
            supervisor._look(0, None)  # it has not begun: loading may take long
        assert supervisor._child.poll() is None
        for n in range(1, 9):
            handover.keep_seq(0)(n)
            supervisor._look(0, None)
        for _ in range(2):
            supervisor._look(0, None)
        assert supervisor._child.poll() is None
        supervisor._look(0, None)
        assert supervisor._child.wait(60) == -signal.SIGKILL
    finally:
        supervisor._child.kill()
        supervisor._child.wait()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the process is not replaced")
def test_serve_starts_a_supervisor_with_the_arguments_that_click_parsed(monkeypatch):
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
