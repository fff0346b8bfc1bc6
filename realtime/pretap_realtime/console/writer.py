"""Console writer: prints lines for the operator on behalf of threads that must not wait for a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final, Literal

from pretap_realtime.console.background_writer import BackgroundWriter

__all__ = ["ConsoleWriter"]

_CLOSE_S: Final = 1.0
_MAX_LINES: Final = 10_000  # some MB, if the terminal has stopped reading


class ConsoleWriter:
    """Writes lines in a thread of its own: a terminal that is stopped, full or gone costs lines, not the session.

    `say` and `show` neither wait nor raise, so that callers need no guard.
    """

    def __init__(self) -> None:
        self._writer = BackgroundWriter(_write, name="console", max_pending=_MAX_LINES)

    def say(self, line: str) -> None:
        """Write a line to stderr."""
        self._writer.put((line, "stderr"))

    def show(self, text: str) -> None:
        """Write a result to stdout."""
        self._writer.put((text, "stdout"))

    def close(self) -> bool:
        """Wait until all is written; return False if the terminal does not take it."""
        return self._writer.close(_CLOSE_S) == 0


def _write(line: tuple[str, Literal["stdout", "stderr"]]) -> None:
    text, name = line
    file = getattr(sys, name)
    if file is None:  # it was closed when the process began
        return
    harmless = text.encode(file.encoding, "backslashreplace").decode(file.encoding)  # for a terminal that is ASCII
    try:
        print(harmless, file=file, flush=True)
    except OSError:  # what could not be written would fail again at each flush, and at the interpreter's end
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
