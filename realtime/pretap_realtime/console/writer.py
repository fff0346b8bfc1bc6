"""Console writer: prints lines for the operator on behalf of threads that must not wait for a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from queue import SimpleQueue
from typing import Final, Literal

__all__ = ["ConsoleWriter"]

_CLOSE_S: Final = 1.0
_MOST_LINES: Final = 10_000  # of a terminal that reads no more: some MB


class ConsoleWriter:
    """Writes lines in a thread of its own: a terminal that is stopped, full or gone costs lines, not the session.

    `say` and `show` neither wait nor raise, so that callers need no guard.
    """

    def __init__(self) -> None:
        self._lines: SimpleQueue[tuple[str, Literal["stdout", "stderr"]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="console", daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Write a line to stderr, some time."""
        if self._lines.qsize() < _MOST_LINES:
            self._lines.put((line, "stderr"))

    def show(self, text: str) -> None:
        """Write a result to stdout."""
        self._lines.put((text, "stdout"))

    def close(self) -> bool:
        """Wait until all is written; False where the terminal does not take it."""
        self._lines.put(None)
        self._thread.join(_CLOSE_S)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            _write(*line)


def _write(text: str, name: Literal["stdout", "stderr"]) -> None:
    file = getattr(sys, name)
    if file is None:  # it was closed when the process began
        return
    harmless = text.encode(file.encoding, "backslashreplace").decode(file.encoding)  # an ASCII terminal is no error
    try:
        print(harmless, file=file, flush=True)
    except OSError:  # what could not be written would fail again at each flush, at the interpreter's end too
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
