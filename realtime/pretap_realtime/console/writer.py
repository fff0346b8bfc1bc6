"""Console writer: prints lines for the operator on behalf of threads that must not wait for a terminal."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

from pretap.terminal import coloured, plain
from pretap_realtime.console.background_writer import BackgroundWriter
from pretap_realtime.console.status_line import StatusLine

_CLOSE_S: Final = 1.0
_MAX_LINES: Final = 10_000  # pending if the terminal stops reading: a few MB
_REDRAW_S: Final = 0.25  # on a terminal, at least between two status lines
_LINE_EVERY_S: Final = 10.0  # elsewhere


class ConsoleWriter:
    """Writes lines in a thread of its own, so that a stopped, full or closed terminal costs lines but not the session.

    On a terminal, the last line shows the status, and all others are printed above it. Elsewhere the status is a line
    every ten seconds. `say`, `show` and `status` neither block nor raise, and what a terminal would obey is replaced.

    Parameters
    ----------
    is_quiet
        Whether no status is shown.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._status_line = StatusLine(sys.stderr)
        self._drawn_s = -math.inf
        self._is_status_pending = False
        self._due_s: dict[str, float] = {}  # of the next line about the status, by name
        self._writer = BackgroundWriter(self._write, name="console", max_pending=_MAX_LINES)

    def say(self, line: str) -> None:
        """Write a line to stderr."""
        self._writer.put((plain(line), "stderr"))

    def show(self, text: str) -> None:
        """Write a result to stdout."""
        self._writer.put((plain(text), "stdout"))

    def status(self, name: str, fields: Sequence[str]) -> None:
        """Show a status, the most important field first; without fields it disappears.

        `name` distinguishes it from others; it is empty if there are none.
        """
        if self._is_quiet:
            return
        fields = [plain(field) for field in fields]
        if self._status_line.is_live:
            self._status_line.update(plain(name), fields)
            if not self._is_status_pending:  # a terminal that stopped gets the newest one when it goes on
                self._is_status_pending = True  # before it is put, because the thread may take it at once
                if not self._writer.put(("", "status")):
                    self._is_status_pending = False
        elif fields and time.monotonic() >= self._due_s.setdefault(name, time.monotonic() + _LINE_EVERY_S):
            self._due_s[name] = time.monotonic() + _LINE_EVERY_S
            self.say((name and f"{name}: ") + "  ".join(filter(None, fields)))

    def close(self) -> bool:
        """Wait until everything is written, and return whether it was: a terminal may have stopped reading."""
        if self._status_line.is_live:
            self._writer.put(("", "end"))
        return self._writer.close(_CLOSE_S) == 0

    def _write(self, item: tuple[str, Literal["stdout", "stderr", "status", "end"]]) -> None:
        text, kind = item
        now_s = time.monotonic()
        can_draw = self._status_line.is_live and kind != "end" and now_s >= self._drawn_s + _REDRAW_S
        if kind == "status":
            self._is_status_pending = False  # before the drawing: what comes meanwhile is drawn next time
            if not can_draw:
                return
        elif kind == "stdout":
            if self._status_line.is_live:
                _print(self._status_line.erase(), sys.stderr)
            _print(coloured(text, sys.stdout) + "\n", sys.stdout)
        else:
            text = "" if kind == "end" else coloured(text, sys.stderr) + "\n"
            _print(self._status_line.erase() + text, sys.stderr)
        if can_draw:
            self._drawn_s = now_s
            _print(self._status_line.draw(), sys.stderr)


def _print(text: str, file: Any) -> None:
    if file is None:  # it was closed when the process started
        return
    encodable = text.encode(file.encoding, "backslashreplace").decode(file.encoding)  # for an ASCII terminal
    try:
        print(encodable, end="", file=file, flush=True)
    except OSError:  # unwritten text would fail again at each flush, also when the interpreter exits
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
