"""Threads that a library leaves spinning get the lowest priority, and no other thread does."""

from __future__ import annotations

import subprocess
import sys

import pytest

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")

_SPIN = r"""
import ctypes, os, subprocess, sys, threading, time
from pathlib import Path
from pretap_realtime.send import runaway_threads
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
for _ in range(100):  # on a full machine the spinner may hardly run in the time of one look
    runaway_threads.lower_priority()
    if os.sched_getscheduler(spinner) == os.SCHED_IDLE:
        break
print(*(os.sched_getscheduler(each) == os.SCHED_IDLE for each in (spinner, waiter)))
hog.kill()
print(sum(os.sched_getscheduler(each) == os.SCHED_IDLE for each in ids() - {starved}), flush=True)
os._exit(0)
"""


@linux
def test_a_foreign_thread_that_spins_gets_the_lowest_priority_and_one_that_a_full_machine_starves_does_not(
    tmp_path,
):
    source = tmp_path / "spin.c"
    source.write_text('void *spin(void *nothing) { for (;;) __asm__ volatile(""); return nothing; }')
    library = tmp_path / "spin.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=6000)
    code = _SPIN % f"ctypes.CDLL({str(library)!r}).spin"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=6000)
    assert done.stdout == "True False\n1\n"
