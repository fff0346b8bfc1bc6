"""Ctrl-C as an argument: something to wait on that a signal handler may set."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from typing import Final, Protocol

__all__ = ["HANGUP", "Stop", "StopSignal", "ending_signals", "stop_at_eof", "stop_on_signals"]

HANGUP: Final = getattr(signal, "SIGHUP", None)  # the terminal closes; Windows has no such thing


class Stop(Protocol):
    """What tells a loop to end; `threading.Event` is one too, where no signal handler sets it."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds; says whether it is set."""
        ...


class StopSignal:
    """A `Stop` that a signal handler may set.

    Not a `threading.Event`: its `set` takes a lock that `wait` takes too, so a handler that interrupts the main thread
    in `wait` waits for itself, for ever (seen once in some thirty recordings, which wait 250 times a second).
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()  # sockets: Windows can wait for nothing else
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """Set it, for good; wakes all who wait."""
        if not self._is_set:
            self._is_set = True
            self._writer.send(b"\0")  # one byte, never read: it cannot block, and stays readable

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds; says whether it is set."""
        if not self._is_set:
            select.select([self._reader], [], [], timeout)
        return self._is_set


def ending_signals() -> list[int]:
    """Give the signals that end a program well: not SIGHUP where it was started to outlive its terminal (nohup)."""
    ignores = HANGUP is not None and signal.getsignal(HANGUP) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None or ignores else [HANGUP])]


def stop_on_signals() -> StopSignal:
    """Set the stop on the first SIGINT, SIGTERM or SIGHUP; a second one of the first two ends the process at once."""
    stop = StopSignal()

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        stop.set()

    for each in ending_signals():
        signal.signal(each, on_signal)
    return stop


def stop_at_eof(stop: StopSignal) -> None:
    """Set the stop when stdin closes: the parent process wants it so, or is gone."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would hang the interpreter's end
            pass
        stop.set()

    threading.Thread(target=wait, name="stdin", daemon=True).start()
