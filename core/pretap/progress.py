"""Progress of long tasks: a bar on a terminal, lines otherwise. Used by the commands that train, tune and score."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import click


class Advance(Protocol):
    """Callback that reports `n` further steps as done."""

    def __call__(self, n: int = 1, /) -> None: ...


class Pace:
    """The mean rate of steps since the first one; the time before it, such as that of imports, does not count."""

    def __init__(self, *, total: int) -> None:
        self._total = total
        self._first: tuple[float, int] | None = None  # time and steps done
        self._last = (0.0, 0)

    def update(self, now_s: float, n_done: int) -> None:
        """Note how many steps are done at a time."""
        if self._first is None and n_done:
            self._first = (now_s, n_done)
        if n_done > self._last[1]:
            self._last = (now_s, n_done)

    def left_s(self, now_s: float) -> float | None:
        """Return the time left, or None if it is not known yet."""
        if self._first is None or self._last[1] == self._first[1]:
            return None
        (first_s, n_first), (last_s, n_last) = self._first, self._last
        return max(0.0, (self._total - n_last) * (last_s - first_s) / (n_last - n_first) - (now_s - last_s))


@contextmanager
def progress_of(what: str, *, total: int, patience_s: float = 0.0) -> Iterator[Advance]:
    """Show a progress bar on a terminal, otherwise a line per tenth, the first after `patience_s` at the earliest.

    The time left is right if all steps take the same time.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
        from rich.text import Text

        class TimeLeft(ProgressColumn):  # here, because rich takes 50 ms to import
            def render(self, task: Task) -> Text:  # noqa: ARG002
                left_s = pace.left_s(time.monotonic())
                return Text("" if left_s is None else f"{timedelta(seconds=math.ceil(left_s))} left")

        pace = Pace(total=total)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeLeft())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=total)

            def count(n: int = 1, /) -> None:
                progress.advance(task, n)
                pace.update(time.monotonic(), int(progress.tasks[0].completed))

            yield count
        return
    done, started_s = 0, time.monotonic()

    def advance(n: int = 1, /) -> None:
        nonlocal done
        tenths_before = done * 10 // total
        done += n
        if done * 10 // total > tenths_before and time.monotonic() - started_s >= patience_s:
            click.echo(f"{what}: {done * 100 // total} %", err=True)

    yield advance
