"""Progress of long tasks: a bar on a terminal, lines otherwise. Used by the commands that train, tune and score."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Advance(Protocol):
    """Callback that reports `n` further steps as done."""

    def __call__(self, n: int = 1, /) -> None: ...


@contextmanager
def progress_of(what: str, *, total: int, patience_s: float = 0.0) -> Iterator[Advance]:
    """Show a progress bar on a terminal, otherwise a line per tenth, the first after `patience_s` at the earliest."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda n=1: progress.advance(task, n)
        return
    done, started_s = 0, time.monotonic()

    def advance(n: int = 1, /) -> None:
        nonlocal done
        tenths_before = done * 10 // total
        done += n
        if done * 10 // total > tenths_before and time.monotonic() - started_s >= patience_s:
            click.echo(f"{what}: {done * 100 // total} %", err=True)

    yield advance
