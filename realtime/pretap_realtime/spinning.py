"""Threads of a library that spin for ever, and cannot be ended: they are made to run only where no other wants to."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

__all__ = ["calm"]

_FOR_S = 0.2
_TASKS = Path("/proc/self/task")


def calm() -> int:
    """Give each thread that is not Python's and computes all the time the lowest priority; says how many did.

    It takes 0.2 s. Where a system has no such priority, or does not tell what threads do, it does nothing.
    """
    if not hasattr(os, "SCHED_IDLE") or not _TASKS.is_dir():
        return 0
    began_s, before_s = time.monotonic(), _seconds()
    time.sleep(_FOR_S)
    most_s = time.monotonic() - began_s
    ours = {thread.native_id for thread in threading.enumerate()}
    n = 0
    for task, used_s in _seconds().items():
        if task not in ours and used_s - before_s.get(task, used_s) > most_s / 4:  # it may have to share its core
            with contextlib.suppress(OSError):
                os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
                n += 1
    return n


def _seconds() -> dict[int, float]:
    """Give how long each thread has computed so far."""
    seconds = {}
    for task in _TASKS.iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            seconds[int(task.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds
