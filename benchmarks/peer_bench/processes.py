"""Child processes that always end, and their cost. Linux only, because it reads /proc."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Child", "child", "cpu_s", "rss_mb"]

Child = subprocess.Popen[str]
_GRACE_S = 5.0  # from the signal to the end
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None)


@contextmanager
def child(
    command: list[str], *, cwd: Path, environment: dict[str, str], log: Path, ends_on: int, limit_s: int, talks: bool
) -> Iterator[Child]:
    """Run a process in a process group of its own during the ``with`` block; its output goes to `log`.

    If it `talks`, its standard output is a pipe that the caller reads. At the end it gets the signal `ends_on`, then
    SIGKILL. An alarm, which survives exec, ends it after `limit_s` even if this process is killed.
    """
    with log.open("w", encoding="utf-8") as words:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else words,
            stderr=words,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.alarm(limit_s),  # noqa: PLW1509 - no threads here
        )
    try:
        yield process
    finally:
        _end(process, ends_on)


def _end(process: Child, ends_on: int) -> None:
    try:
        if process.poll() is None:
            process.send_signal(ends_on)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # including children that it left behind
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; the second one, the name, may contain spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has just ended
                parents[int(folder.name)] = int(_stat(int(folder.name))[1])
    family = [pid]
    for member in family:  # grows
        family += [each for each, parent in parents.items() if parent == member]
    return family


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, its threads and all its children so far."""
    seconds = 0.0
    for member in _family(pid):
        with suppress(OSError):
            of_ended_children = sum(map(int, _stat(member)[13:15])) / _TICKS_PER_S
            seconds += time.clock_gettime(_cpu_clock(member)) + of_ended_children
    return seconds


def _cpu_clock(pid: int) -> int:
    """Return the CPU clock of a process in nanoseconds; /proc rounds it to 10 ms, a sixth of the time of an echo."""
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return clock.value


def rss_mb(pid: int) -> float:
    """Return the memory of a process and its children in 1e6 bytes."""
    kib = 0
    for member in _family(pid):
        with suppress(OSError):
            status = Path(f"/proc/{member}/status").read_text(encoding="utf-8")
            kib += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return kib * 1024 / 1e6
