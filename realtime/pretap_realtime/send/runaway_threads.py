"""Threads of a library that spin for ever, and cannot be ended: they are made to run only where no other wants to."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import NoReturn

__all__ = ["are_there", "calm", "leave"]

_FOR_S = 0.2
_BUSY = 0.1  # of that time. A thread that a full machine keeps from running does not wait either, and does not compute
_TASKS = Path("/proc/self/task")
_CALMED: set[int] = set()


def calm() -> int:
    """Give each thread that is not Python's, and never stops to wait, the lowest priority; says how many there are.

    It takes 0.2 s. Where a system has no such priority, or does not tell what threads do, it does nothing.
    """
    if not hasattr(os, "SCHED_IDLE") or not _TASKS.is_dir():
        return 0
    before = _used()
    time.sleep(_FOR_S)
    ours = {thread.native_id for thread in threading.enumerate()}
    n = 0
    for task, (used_ns, n_waits) in _used().items():
        used_before_ns, n_waits_before = before.get(task, (used_ns, n_waits))
        if task not in ours and n_waits == n_waits_before and used_ns - used_before_ns > 1e9 * _BUSY * _FOR_S:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
                n += 1
                _CALMED.add(task)
    return n


def are_there() -> bool:
    """Whether threads spin that were calmed."""
    return bool(_CALMED)


def leave(code: int) -> NoReturn:
    """End the process at once, with exit code `code`; what is to be flushed must be flushed before.

    The threads get their priority back: a process has not ended before each of its threads has run once more.
    """
    for task in _CALMED:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
    os._exit(code)


def _used() -> dict[int, tuple[int, int]]:
    """Give how long each thread has computed so far, and how often it has stopped to wait."""
    used = {}
    for task in _TASKS.iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            computed_ns = int((task / "schedstat").read_text().split()[0])
            status = (task / "status").read_text()
            n_waits = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
            used[int(task.name)] = (computed_ns, n_waits)
    return used
