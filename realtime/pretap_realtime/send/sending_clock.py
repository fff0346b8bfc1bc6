"""SendingClock: notes since when the leader has been sending, and wakes the watchdog thread if that takes too long.

Used by `leader`, and by the C code in receive.c, which sends as well.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from typing import Final

from pretap_realtime.native.library import library

_POLL_S: Final = 0.04  # as in receive.c


class _WatchStruct(ctypes.Structure):
    _fields_ = [("since_s", ctypes.c_double), ("ended", ctypes.c_int32), ("timer", ctypes.c_int32)]


class NativeSendingClock:
    """A `PollingSendingClock` in C, with a timer that is armed while the leader sends; `address` is its struct."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self.address: int = loaded.pretap_watch()
        self._struct = _WatchStruct.from_address(self.address)
        self._library = loaded

    @property
    def since_s(self) -> float:
        return float(self._struct.since_s)

    @since_s.setter
    def since_s(self, value: float) -> None:
        self._library.pretap_watch_since(self.address, value)

    def wait_until_slow(self, slow_s: float) -> bool:
        self._library.pretap_wait_until_slow(self.address, slow_s)
        return not self._struct.ended

    def stop(self) -> None:
        self._library.pretap_watch_end(self.address)


class PollingSendingClock:
    """Shared by the leader and the watchdog thread, which polls it.

    Attributes
    ----------
    since_s
        When the leader began to send, on the clock of `time.monotonic`; infinity if it does not.
    address
        The struct `watch` of receive.c, for C code; 0 if there is none.
    """

    address = 0

    def __init__(self) -> None:
        self.since_s = math.inf
        self._has_ended = threading.Lock()  # held until then. A plain lock, since an Event costs ten times as much
        self._has_ended.acquire()

    def wait_until_slow(self, slow_s: float) -> bool:
        """Wait until sending takes longer than `slow_s`; return False if the loop has ended."""
        while time.monotonic() - self.since_s <= slow_s:
            if self._has_ended.acquire(timeout=_POLL_S):
                self._has_ended.release()
                return False
        return True

    def stop(self) -> None:
        """End all waiting."""
        if self._has_ended.locked():
            self._has_ended.release()


SendingClock = NativeSendingClock | PollingSendingClock


def new_sending_clock() -> SendingClock:
    """Make a sending clock: in C if the library is there, because on Linux that one sleeps until it has to wake."""
    loaded = library()
    return PollingSendingClock() if loaded is None else NativeSendingClock(loaded)
