"""Runs ``pretap compare --heads``: reads, fits, prints and writes. Used by the command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from pretap.config.train import TrainConfig
from pretap.progress import progress_of
from pretap.spelling import counted
from pretap_offline.lab.heads.config import read_heads
from pretap_offline.lab.heads.protocols import Protocol
from pretap_offline.lab.heads.reading import HeadReader
from pretap_offline.lab.heads.results import write_heads
from pretap_offline.lab.heads.study import compare_heads, plan_heads
from pretap_offline.lab.heads.tables import print_heads, write_heads_page
from pretap_offline.lab.running import open_laboratory
from pretap_offline.lab.store import Store


def run_heads(
    recipes: Mapping[str, TrainConfig],
    heads_file: Path,
    *,
    protocols: Sequence[Protocol],
    folds: int,
    repeats: int,
    seed: int,
    n_workers: int,
    cluster: str | None,
    store: Store,
    resumable: Callable[[Callable[[], str]], AbstractContextManager[None]],
    json_file: Path | None,
    report: Path | None,
    command: str,
) -> None:
    """Compare recipes over all heads of a file, print the tables, and write them where asked."""
    reader = HeadReader(read_heads(heads_file), heads_file)
    planned = plan_heads(reader, recipes, protocols, folds=folds, repeats=repeats, seed=seed)
    keys = {fit.key for fit in planned.fits()}
    click.echo(f"{counted(len(keys), 'fit')}, {store.count(keys)} of them in {store.folder}", err=True)
    with (
        resumable(lambda: f"{store.count(keys)} of {len(keys)} fits are kept in {store.folder}"),
        progress_of("comparing", total=len(keys)) as advance,
        open_laboratory(store, planned.data(), n_workers=n_workers, cluster=cluster, advance=advance) as run,
    ):
        found = compare_heads(planned, run)
    print_heads(found)
    if json_file is not None:
        write_heads(found, json_file)
    if report is not None:
        write_heads_page(found, report, command=command)
        click.echo(f"wrote {report}")
