"""The library built from `receive.c`, through ctypes; without it Python does the same, somewhat later."""

from __future__ import annotations

import ctypes
import functools
import zlib
from pathlib import Path
from typing import Final

__all__ = ["LIBRARY", "TURN", "Receiver", "library"]

LIBRARY: Final = Path(__file__).parent / "receive.so"  # the same name on every system: only ctypes loads it
_SOURCE: Final = Path(__file__).parent / "receive.c"
TURN: Final = 1 << 20  # of receive.c
_int, _double, _pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class Receiver(ctypes.Structure):
    """The struct `receiver` of receive.c."""

    _fields_ = [
        *((name, _pointer) for name in ("pull", "available", "inlet", "x", "stamps")),
        *((name, _int) for name in ("n_room", "n_channels")),
        ("timeout_s", _double),
        *((name, _int) for name in ("n_quick", "n_most")),
        *((name, _double) for name in ("t0_s", "s_ref", "rate_hz", "n_ref", "n_seen", "limit")),
        *((name, _int) for name in ("n_block", "n_before")),
        ("flat_uv", _double),
        *((name, _pointer) for name in ("push", "settle", "lanes")),
        *((name, _int) for name in ("n_decoded", "n_to_next", "n_classes")),
        *((name, _pointer) for name in ("ends", "probs", "send", "outlet", "clock")),
        *((name, _double) for name in ("quality", "stamp_to_clock_s", "too_old_s", "pause_s")),
        ("watch", _pointer),
        *((name, _int) for name in ("turn", "n_calls")),
        *((name, _int) for name in ("n_new", "at", "n_taken", "n_found", "n_sent")),
        ("error", ctypes.c_int32),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """Load the library; None where it was not built, or from another source."""
    try:
        loaded = ctypes.CDLL(str(LIBRARY))  # its functions wait: other threads go on
        built_from = ctypes.c_uint32.in_dll(loaded, "pretap_receive_crc").value
        n_bytes = ctypes.c_int64.in_dll(loaded, "pretap_receiver_bytes").value
    except (OSError, ValueError):
        return None
    if (_SOURCE.exists() and zlib.crc32(_SOURCE.read_bytes()) != built_from) or n_bytes != ctypes.sizeof(Receiver):
        return None
    loaded.pretap_watch.restype = _pointer
    loaded.pretap_wait_until_slow.argtypes = [_pointer, _double]
    loaded.pretap_watch_since.argtypes = [_pointer, _double]
    loaded.pretap_watch_end.argtypes = [_pointer]
    for function in (loaded.pretap_wait_until_slow, loaded.pretap_watch_since, loaded.pretap_watch_end):
        function.restype = None
    for function in (loaded.pretap_receive, loaded.pretap_go_on, loaded.pretap_stop):
        function.restype, function.argtypes = _int, [ctypes.POINTER(Receiver)]
    return loaded
