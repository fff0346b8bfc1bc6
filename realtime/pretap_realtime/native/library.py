"""Loader of the library that is built from `receive.c`. Without it Python does the same, somewhat later."""

from __future__ import annotations

import ctypes
import functools
import zlib
from pathlib import Path
from typing import Final

from pretap.decoder.output import Native

LIBRARY: Final = Path(__file__).parent / "receive.so"  # the same name on every system: only ctypes loads it
_SOURCE: Final = Path(__file__).parent / "receive.c"
CLAIM: Final = 1 << 20  # as in receive.c
_int, _double, _pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class Receiver(ctypes.Structure):
    """The struct `receiver` of receive.c, which explains the fields. It keeps `decoder`, whose addresses it holds."""

    _fields_ = [
        *((name, _pointer) for name in ("pull", "available", "inlet", "x", "timestamps")),
        *((name, _int) for name in ("max_samples", "n_channels")),
        ("timeout_s", _double),
        *((name, _int) for name in ("n_plain", "n_overload", "is_exact")),
        *((name, _double) for name in ("t0_s", "s_ref", "rate_hz", "n_ref", "n_first", "limit", "n_floor", "floor_s")),
        *((name, _int) for name in ("n_to_flat_check", "n_accepted")),
        ("flat_uv", _double),
        *((name, _pointer) for name in ("process", "catch_up", "lanes")),
        *((name, _int) for name in ("n_decoded", "n_to_next", "n_classes")),
        *((name, _pointer) for name in ("ends", "probs", "send", "outlet", "clock")),
        *((name, _double) for name in ("quality", "clock_offset_s", "max_age_s", "pause_s")),
        ("watch", _pointer),
        *((name, _int) for name in ("claim", "n_calls")),
        *((name, _int) for name in ("n_new", "start", "n_taken", "n_found", "n_sent")),
        ("error", ctypes.c_int32),
    ]

    def __init__(self, *, decoder: Native, **fields: float) -> None:
        super().__init__(process=decoder.process, catch_up=decoder.catch_up, lanes=decoder.engine, **fields)
        self._decoder = decoder


@functools.cache
def library() -> ctypes.CDLL | None:
    """Load the library; None if it was not built, or built from another source."""
    try:
        loaded = ctypes.CDLL(str(LIBRARY))  # not PyDLL: its functions wait, and other threads must go on
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
    for function in (loaded.pretap_receive, loaded.pretap_take_more, loaded.pretap_cancel):
        function.restype, function.argtypes = _int, [ctypes.POINTER(Receiver)]
    return loaded
