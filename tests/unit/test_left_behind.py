"""What is done about what a library leaves behind: threads that spin, sockets that nobody closes; and a slow log."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from pretap_realtime.lsl import sockets
from pretap_realtime.send.log_sink import LogSink
from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Item

LONG_S = 60.0

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")

_SPIN = r"""
import ctypes, os, subprocess, sys, threading, time
from pathlib import Path
from pretap_realtime.send import runaway_threads as spinning
libc = ctypes.CDLL(None)
ids = lambda: {int(task.name) for task in Path("/proc/self/task").iterdir()}
def make(function):
    before, thread = ids(), ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, function, None) == 0
    (new,) = ids() - before
    return new
spin = %s
spinner = make(spin)
waiter = make(libc.pause)
cpu = {min(os.sched_getaffinity(0))}
hog_code = "import time\nend_s = time.time() + 120\nwhile time.time() < end_s: pass"
hog = subprocess.Popen([sys.executable, "-c", hog_code])
os.sched_setaffinity(hog.pid, cpu)
starved = make(spin)  # it never waits, and hardly runs
os.sched_setscheduler(starved, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(starved, cpu)
def busy():
    while True:
        pass
threading.Thread(target=busy, daemon=True).start()
print(spinning.calm(), os.sched_getscheduler(spinner) == os.SCHED_IDLE, os.sched_getscheduler(waiter) == os.SCHED_IDLE)
hog.kill()
print(sum(os.sched_getscheduler(each) == os.SCHED_IDLE for each in ids() - {starved}), flush=True)
os._exit(0)
"""


@linux
def test_only_a_foreign_thread_that_spins_is_calmed_not_one_that_a_full_machine_keeps_from_running(tmp_path):
    source = tmp_path / "spin.c"
    source.write_text('void *spin(void *nothing) { for (;;) __asm__ volatile(""); return nothing; }')
    library = tmp_path / "spin.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=6000)
    code = _SPIN % f"ctypes.CDLL({str(library)!r}).spin"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=6000)
    assert done.stdout == "1 True False\n1\n"


@linux
def test_sockets_that_are_cut_are_gone_for_their_peers_and_others_stay():
    before = sockets.of_this_process()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port = server.getsockname()[1]
        ours = sockets.of_this_process() - before
        with socket.create_connection(("127.0.0.1", port)) as peer, server.accept()[0]:
            peer.settimeout(60)
            assert sockets.cut(ours, ports=[(socket.SOCK_DGRAM, port)]) == 0  # another outlet's, of the same number
            assert sockets.cut(ours, ports=[(socket.SOCK_STREAM, port)]) == 2  # the listening one and the connection
            assert peer.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=60)
        with socket.create_connection(("127.0.0.1", other.getsockname()[1]), timeout=60):
            pass


def message(seq):
    return Message(type="state", seq=seq, state="RUNNING", t=1.0, sent=1.0), Item("state", "RUNNING", 1.0)


def n_unread(pipe):
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.skipif(os.name == "nt", reason="named pipes")
def test_a_log_whose_disk_hangs_is_kept_in_memory_and_misses_nothing(tmp_path):
    pipe = tmp_path / "log.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    said = []
    log = LogSink(pipe, say=said.append)
    n = 2000  # 64 kB fit into a pipe
    hangs = threading.Thread(target=log.send, args=([message(seq) for seq in range(n)],), daemon=True)
    hangs.start()
    deadline_s = time.monotonic() + LONG_S
    while n_unread(reader) < 60_000 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert hangs.is_alive()
    assert "hangs: its disk does not answer" in log.rescue()
    log.send([message(n)])
    read = b""
    deadline_s = time.monotonic() + LONG_S
    while read.count(b"\n") < n + 1 and time.monotonic() < deadline_s:
        with contextlib.suppress(BlockingIOError):
            read += os.read(reader, 1 << 20)
    log.close()
    hangs.join(LONG_S)
    assert not hangs.is_alive()
    assert sorted(json.loads(line)["seq"] for line in read.splitlines()) == list(range(n + 1))
    assert said == []


@linux
def test_a_full_disk_is_said_once_and_so_is_its_end(tmp_path):
    said = []
    log = LogSink(tmp_path / "log.jsonl", say=said.append)
    full = open("/dev/full", "ab", buffering=0)  # noqa: SIM115, PTH123
    log._file, file = full, log._file
    log.send([message(0), message(1)])
    log._file = file
    log.send([message(2)])
    full.close()
    assert [json.loads(line)["seq"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [2]
    assert said == [
        f"WARNING: the log {tmp_path}/log.jsonl cannot be written: No space left on device. The session goes on.",
        f"the log {tmp_path}/log.jsonl can be written again; 2 messages are missing in it",
    ]
