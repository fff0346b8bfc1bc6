"""Console writer: prints lines for the operator on behalf of threads that must not wait for a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final, Literal

from pretap_realtime.console.background_writer import BackgroundWriter

_CLOSE_S: Final = 1.0
_MAX_LINES: Final = 10_000  # pending if the terminal stops reading: a few MB


class ConsoleWriter:
    """Writes lines in a thread of its own, so that a stopped, full or closed terminal costs lines but not the session.

    `say` and `show` neither block nor raise.
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
        """Wait until everything is written, and return whether it was: a terminal may have stopped reading."""
        return self._writer.close(_CLOSE_S) == 0


def _write(line: tuple[str, Literal["stdout", "stderr"]]) -> None:
    text, name = line
    file = getattr(sys, name)
    if file is None:  # it was closed when the process started
        return
    encodable = text.encode(file.encoding, "backslashreplace").decode(file.encoding)  # for an ASCII terminal
    try:
        print(encodable, file=file, flush=True)
    except OSError:  # unwritten text would fail again at each flush, also when the interpreter exits
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
