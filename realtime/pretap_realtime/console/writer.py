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
_MAX_LINES: Final = 10_000  # pending if the terminal stops reading: a few MB


class ConsoleWriter:
    """Writes lines in a thread of its own, so that a stopped, full or closed terminal costs lines but not the session.

    `say` and `show` neither block nor raise.
    """

    def __init__(self) -> None:
        self._lines: SimpleQueue[tuple[str, Literal["stdout", "stderr"]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="console", daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Write a line to stderr eventually."""
        if self._lines.qsize() < _MAX_LINES:
            self._lines.put((line, "stderr"))

    def show(self, text: str) -> None:
        """Write a result to stdout."""
        self._lines.put((text, "stdout"))

    def close(self) -> bool:
        """Wait until everything is written, and return whether it was: a terminal may have stopped reading."""
        self._lines.put(None)
        self._thread.join(_CLOSE_S)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            _write(*line)


def _write(text: str, name: Literal["stdout", "stderr"]) -> None:
    file = getattr(sys, name)
    if file is None:  # it was closed when the process started
        return
    encodable = text.encode(file.encoding, "backslashreplace").decode(file.encoding)  # for an ASCII terminal
    try:
        print(encodable, file=file, flush=True)
    except OSError:  # unwritten text would fail again at each flush, also when the interpreter exits
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
