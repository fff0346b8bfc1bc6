"""How much memory this process takes, and giving back what it needs no longer."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os

__all__ = ["give_back", "resident_bytes"]


def resident_bytes() -> int:
    """Give the memory that this process has in use; 0 where the system does not say (it does on Linux)."""
    try:
        statm = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return 0
    try:
        return int(os.read(statm, 128).split()[1]) * mmap.PAGESIZE
    finally:
        os.close(statm)


def give_back() -> None:
    """Return freed memory to the system, where the C library can: glibc keeps it for itself else."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library; Windows has no CDLL(None)
        ctypes.CDLL(None).malloc_trim(0)
