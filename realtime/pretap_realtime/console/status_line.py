"""Status line: the last line of a terminal, rewritten in place. Used by `ConsoleWriter`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pretap.terminal import n_columns

_GAP: Final = "  "
_MORE: Final = "..."
_BAR: Final = " | "
_MIN_CUT: Final = 12  # columns: a shorter beginning of a field is not worth showing
_MIN_SHARE: Final = 20  # columns of one status among several
_USUAL_COLUMNS: Final = 80


def clock_time(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds: 0:01:23."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def side_by_side(statuses: Mapping[str, Sequence[str]], width: int) -> str:
    """Share `width` columns equally among the statuses; those that have no space are counted."""
    n_shown = max(1, min(len(statuses), (width + len(_BAR)) // (_MIN_SHARE + len(_BAR))))
    n_hidden = len(statuses) - n_shown
    more = f"{_BAR}{n_hidden} more" if n_hidden else ""
    share = (width - len(more) - len(_BAR) * (n_shown - 1)) // n_shown
    shown = sorted(statuses.items())[:n_shown]
    return _BAR.join(fit([(name and f"{name}: ") + first, *rest], share) for name, (first, *rest) in shown) + more


def fit(fields: Sequence[str], width: int) -> str:
    """Join the first fields that fit into `width` columns, and the beginning of the next one if there is space."""
    line = ""
    for field in filter(None, fields):
        gap = _GAP if line else ""
        space = width - n_columns(line + gap)
        if n_columns(field) > space:
            return line + gap + _cut(field, space) if space >= _MIN_CUT or not line else line
        line += gap + field
    return line


def _cut(field: str, width: int) -> str:
    while field and n_columns(field + _MORE) > width:
        field = field[:-1]
    return (field + _MORE)[: max(0, width)]


class StatusLine:
    """The line that shows one status, or several side by side under their names.

    `draw` and `erase` return what to write to the terminal. The line is one column shorter than the terminal, so that
    the cursor stays on it.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._fields, self._n_drawn = file, dict[str, Sequence[str]](), 0
        # Windows needs a switch in its console before it obeys control sequences.
        is_terminal = file is not None and file.isatty() and sys.platform != "win32"
        self.is_live = is_terminal and os.environ.get("TERM") != "dumb"

    def update(self, name: str, fields: Sequence[str]) -> None:
        """Set the fields of a status, the most important one first; without fields it is removed."""
        if fields:
            self._fields = self._fields | {name: fields}  # not in place: another thread draws
        else:
            self._fields = {key: value for key, value in self._fields.items() if key != name}

    def erase(self) -> str:
        """Return what removes the line, or that of a process before this one; nothing in the background."""
        if not (self.is_live and _is_in_foreground(self._file.fileno())):
            self._n_drawn = 0
            return ""
        n_more_rows = math.ceil(self._n_drawn / self._width()) - 1  # a terminal that became narrower wraps the line
        self._n_drawn = 0
        return "\r" + "\x1b[A" * n_more_rows + "\x1b[J"

    def draw(self) -> str:
        """Return what replaces the line; nothing in the background."""
        erase = self.erase()
        if not (erase and self._fields):
            return erase
        line = side_by_side(self._fields, self._width() - 1)
        self._n_drawn = n_columns(line)
        return erase + line

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._file.fileno()).columns or _USUAL_COLUMNS
        except OSError:
            return _USUAL_COLUMNS


def _is_in_foreground(terminal: int) -> bool:
    """Whether this process may draw: after Ctrl-Z or in the background, the terminal belongs to the shell."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # a supervised worker has a session of its own, without a terminal: its supervisor decides
        return _is_foreground_process(os.getppid())


def _is_foreground_process(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, ValueError):  # not Linux
        return True
    state, _, group, _, _, foreground_group = fields[:6]
    return state != "T" and group == foreground_group
