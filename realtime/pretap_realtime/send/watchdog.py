"""Watch: since when the publisher sends, and the wait of its watchdog thread until that takes too long."""

from __future__ import annotations

import ctypes
import math
import threading
import time
from typing import Final, Protocol

from pretap_realtime.native.library import library

__all__ = ["Watch", "new_watch"]

_LOOK_S: Final = 0.04  # as LOOK_NS of receive.c


class _WatchStruct(ctypes.Structure):
    _fields_ = [("since_s", ctypes.c_double), ("ended", ctypes.c_int32), ("timer", ctypes.c_int32)]


class Watch(Protocol):
    """Since when somebody sends, for who watches that it does not take too long.

    Attributes
    ----------
    since_s
        On the clock of `time.monotonic`; infinity where nobody sends.
    """

    since_s: float

    def wait_until_slow(self, slow_s: float) -> bool:
        """Wait until sending takes longer than `slow_s`; False where all has ended."""
        ...

    def end(self) -> None:
        """Let nobody wait any longer."""
        ...

    @property
    def address(self) -> int:
        """For C code: the struct `watch` of receive.c; 0 where there is none."""
        ...


def new_watch() -> Watch:
    """Make a watch; one in C where there is the library: there it sleeps until there is something to see (Linux)."""
    loaded = library()
    return _PlainWatch() if loaded is None else _NativeWatch(loaded)


class _NativeWatch:
    def __init__(self, loaded: ctypes.CDLL) -> None:
        self.address: int = loaded.pretap_watch()
        self._struct = _WatchStruct.from_address(self.address)
        self._wait, self._set, self._end = (
            loaded.pretap_wait_until_slow,
            loaded.pretap_watch_since,
            loaded.pretap_watch_end,
        )

    @property
    def since_s(self) -> float:
        return float(self._struct.since_s)

    @since_s.setter
    def since_s(self, value: float) -> None:
        self._set(self.address, value)

    def wait_until_slow(self, slow_s: float) -> bool:
        self._wait(self.address, slow_s)
        return not self._struct.ended

    def end(self) -> None:
        self._end(self.address)


class _PlainWatch:
    address = 0

    def __init__(self) -> None:
        self.since_s = math.inf
        self._running = threading.Lock()  # held until all has ended; a plain lock: an Event costs ten times as much
        self._running.acquire()

    def wait_until_slow(self, slow_s: float) -> bool:
        while time.monotonic() - self.since_s <= slow_s:
            if self._running.acquire(timeout=_LOOK_S):
                self._running.release()
                return False
        return True

    def end(self) -> None:
        if self._running.locked():
            self._running.release()
