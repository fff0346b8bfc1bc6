"""Progress of long work: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click

__all__ = ["Advance", "progress_of"]


class Advance(Protocol):
    """Says that so many more of the steps are done."""

    def __call__(self, n: int = 1, /) -> None: ...


@contextmanager
def progress_of(what: str, *, total: int, patience_s: float = 0.0) -> Iterator[Advance]:
    """Show a progress bar on a terminal, a line per tenth elsewhere, but none before `patience_s` have passed."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda n=1: progress.advance(task, n)
        return
    done, began_s = 0, time.monotonic()

    def advance(n: int = 1, /) -> None:
        nonlocal done
        tenths_before = done * 10 // total
        done += n
        if done * 10 // total > tenths_before and time.monotonic() - began_s >= patience_s:
            click.echo(f"{what}: {done * 100 // total} %", err=True)

    yield advance
