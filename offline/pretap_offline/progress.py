"""Progress of long work: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["progress_of"]


@contextmanager
def progress_of(what: str, *, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal, a line per tenth elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda: progress.advance(task)
        return
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            click.echo(f"{what}: {done * 100 // total} %", err=True)

    yield advance
