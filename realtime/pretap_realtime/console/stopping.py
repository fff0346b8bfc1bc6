"""Stop events: Ctrl-C as an argument that a loop can wait on and a signal handler can set. Used by all commands."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from typing import Final, Protocol

HANGUP: Final = getattr(signal, "SIGHUP", None)  # the terminal was closed; does not exist on Windows


class Stop(Protocol):
    """Tells a loop to end. A `threading.Event` also qualifies, unless a signal handler sets it."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds, and return whether it is set."""
        ...


class StopSignal:
    """A `Stop` that a signal handler can set.

    This is not a `threading.Event`, because its `set` and `wait` need the same lock. A handler that interrupts the main
    thread inside `wait` would wait for itself forever. That happened once in about thirty recordings, which wait 250
    times a second.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()  # sockets, because Windows can select nothing else
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """Set it permanently, and wake all waiting threads."""
        if not self._is_set:
            self._is_set = True
            self._writer.send(b"\0")  # one byte that is never read: it cannot block, and the socket stays readable

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds, and return whether it is set."""
        if not self._is_set:
            select.select([self._reader], [], [], timeout)
        return self._is_set


def ending_signals() -> list[int]:
    """Return the signals that end a program properly: without SIGHUP if it is ignored, as after ``nohup``."""
    ignores = HANGUP is not None and signal.getsignal(HANGUP) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None or ignores else [HANGUP])]


def stop_on_signals() -> StopSignal:
    """Return a stop that SIGINT, SIGTERM or SIGHUP sets; a further SIGINT or SIGTERM ends the process at once."""
    stop = StopSignal()

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        stop.set()

    for each in ending_signals():
        signal.signal(each, on_signal)
    return stop


def stop_at_eof(stop: StopSignal) -> None:
    """Set the stop when stdin closes, because the parent process closed it or has ended."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock would block the exit of the interpreter
            pass
        stop.set()

    threading.Thread(target=wait, name="stdin", daemon=True).start()
