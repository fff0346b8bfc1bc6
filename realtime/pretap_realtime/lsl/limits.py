"""Limits of memory: how much this process uses, and how many seconds of a stream fit into it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from pathlib import Path
from typing import Final

_VALUE_BYTES: Final = {"float32": 4, "float64": 8, "string": 32, "int32": 4, "int16": 2, "int8": 1, "int64": 8}
_MAX_BYTES: Final = 256 << 20  # of pending samples, here and in the sender
_MAX_HZ: Final = 1e6  # beyond, a rate is a mistake: liblsl allocates memory for seconds of it
_IRREGULAR_HZ: Final = 100.0  # liblsl's assumption for streams without a rate
MAX_CHANNELS: Final = 4096


def resident_bytes() -> int:
    """Return the memory that this process uses, or 0 if the system does not tell (Linux does)."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * mmap.PAGESIZE
    return 0


def release_memory() -> None:
    """Return freed memory to the system if the C library can: glibc keeps it otherwise."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library; Windows has no CDLL(None)
        ctypes.CDLL(None).malloc_trim(0)


def affordable_s(n_channels: int, sfreq_hz: float, format_: str) -> int:
    """Return how many whole seconds of a stream fit into 256 MB.

    Raises
    ------
    ValueError
        If the stream has too many channels, too high a rate, or sends too much in a second.
    """
    if n_channels > MAX_CHANNELS:
        raise ValueError(f"{n_channels} channels are too many: expected at most {MAX_CHANNELS}")
    if not 0 <= sfreq_hz <= _MAX_HZ:  # NaN too
        raise ValueError(
            f"a rate of {sfreq_hz:g} Hz cannot be: expected at most {_MAX_HZ / 1e6:g} MHz. Check its program"
        )
    bytes_per_s = (sfreq_hz or _IRREGULAR_HZ) * n_channels * _VALUE_BYTES[format_]
    if bytes_per_s > _MAX_BYTES:
        raise ValueError(f"{bytes_per_s / 1e6:.0f} MB a second are too much: at most {_MAX_BYTES / 1e6:.0f} MB")
    return int(_MAX_BYTES / bytes_per_s)
