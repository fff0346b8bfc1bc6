"""Threads of a library that spin forever and cannot be ended: they get the lowest priority. Used by `leader`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

_MEASURE_S = 0.2
# The share of that time a spinning thread runs at least. One that a full machine keeps from running does not wait
# either, but does not run.
_MIN_SHARE = 0.1
_TASKS = Path("/proc/self/task")
_FOUND: set[int] = set()


def lower_priority() -> None:
    """Lower the priority of each thread that is not Python's and never waits.

    It takes 0.2 s. If a system has no such priority, or does not tell what threads do, it does nothing.
    """
    if not hasattr(os, "SCHED_IDLE") or not _TASKS.is_dir():
        return
    before = _usage()
    time.sleep(_MEASURE_S)
    ours = {thread.native_id for thread in threading.enumerate()}
    for task, (used_ns, n_waits) in _usage().items():
        used_before_ns, n_waits_before = before.get(task, (used_ns, n_waits))
        is_busy = used_ns - used_before_ns > 1e9 * _MIN_SHARE * _MEASURE_S
        if task not in ours and n_waits == n_waits_before and is_busy:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
                _FOUND.add(task)


def exit_process_if_any(code: int) -> None:
    """End the process at once if threads were found that spin, because a normal exit would take seconds then.

    The threads get their priority back, because a process does not end before each of its threads has run once more.
    """
    if not _FOUND:
        return
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    for task in _FOUND:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
    os._exit(code)


def _usage() -> dict[int, tuple[int, int]]:
    """Return for each thread how long it has run, in ns, and how often it has waited."""
    usage = {}
    for task in _TASKS.iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            run_ns = int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
            n_waits = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
            usage[int(task.name)] = (run_ns, n_waits)
    return usage
