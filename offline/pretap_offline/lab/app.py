"""``pretap compare``."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pretap.config import TrainConfig, find_config, load_config
from pretap.errors import UsageError
from pretap_offline.progress import progress_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pretap_offline.lab.fits import Fit, Fitted
    from pretap_offline.lab.plan import Bench

__all__ = ["compare"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(short_help="Compare recipes on the same folds, with their uncertainty.")
@click.argument("configs", nargs=-1, required=True, metavar="CONFIG...")
@click.option("--data", help="As for `pretap train`; default: PRETAP_DATA.")
@click.option("--folds", type=click.IntRange(min=2, max=1000), default=10, show_default=True)
@click.option("--repeats", type=click.IntRange(min=1, max=1000), default=5, show_default=True)
@click.option("--seed", type=click.IntRange(min=0, max=2**31), default=0, show_default=True)
@click.option(
    "--permutations", type=click.IntRange(min=0), default=0, help="Fit on so many permutations of the labels."
)
@click.option("--learning-curve", is_flag=True, help="Also fit on 25, 50 and 75 % of each fold's trials.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes of this machine; default: 1.")
@click.option("--cluster", metavar="ADDRESS", help="Run on the dask cluster whose scheduler is tcp://HOST:8786.")
@click.option("--store", "store_dir", type=_FOLDER, help="Where finished fits are kept; default: the user's cache.")
@click.option("--json", "json_file", type=_FILE, help="Write everything here, out-of-fold probabilities included.")
def compare(
    configs: tuple[str, ...],
    *,
    data: str | None,
    folds: int,
    repeats: int,
    seed: int,
    permutations: int,
    learning_curve: bool,
    workers: int | None,
    cluster: str | None,
    store_dir: Path | None,
    json_file: Path | None,
) -> None:
    """Fit every CONFIG on the same folds of the same trials and print how good they are, and how surely.

    Finished fits are kept: the same command goes on where it was stopped, and a new CONFIG costs only its own fits.
    """
    files = _named(configs)
    recipes = {name: load_config(TrainConfig, file) for name, file in files.items()}
    _check_differ(recipes)
    check_options(workers=workers, cluster=cluster, json_file=json_file)
    from pretap_offline.data import read_trials
    from pretap_offline.lab.compare import compare as compare_planned
    from pretap_offline.lab.compare import plan
    from pretap_offline.lab.plan import set_up
    from pretap_offline.lab.results import write_results
    from pretap_offline.lab.table import print_comparison

    bench = set_up(read_trials(data, part="train"), list(recipes.values()), folds=folds, repeats=repeats, seed=seed)
    planned = plan(bench, recipes, permutations=permutations, learning_curve=learning_curve)
    with runner("comparing", bench, planned.fits(), store_dir, workers=workers, cluster=cluster) as run:
        found = compare_planned(planned, run, files={name: str(file) for name, file in files.items()})
    print_comparison(found)
    if json_file is not None:
        write_results(found, json_file)
        click.echo(f"wrote {json_file}")


@contextmanager
def runner(
    what: str, bench: Bench, fits: list[Fit], store_dir: Path | None, *, workers: int | None, cluster: str | None
) -> Iterator[Callable[[list[Fit]], list[Fitted]]]:
    """Open store, workers and progress; when interrupted, say what is kept."""
    from pretap_offline.lab.running import open_laboratory
    from pretap_offline.lab.store import Store, default_store

    store = Store(store_dir or default_store())
    keys = {fit.key for fit in fits}
    n_kept = sum(store.get(key) is not None for key in keys)
    click.echo(f"{len(keys)} fits, {n_kept} of them in {store.folder}", err=True)
    try:
        with (
            progress_of(what, total=len(keys)) as advance,
            open_laboratory(store, n_workers=workers or 1, cluster=cluster, advance=advance) as laboratory,
        ):
            yield lambda wanted: laboratory.run(wanted, bench.epochs)
    except KeyboardInterrupt:
        n_kept = sum(store.get(key) is not None for key in keys)
        click.echo(
            f"{n_kept} of {len(keys)} fits are kept in {store.folder}; the same command goes on from there.", err=True
        )
        raise


def check_options(*, workers: int | None, cluster: str | None, json_file: Path | None) -> None:
    """Refuse before the work, not after it."""
    if workers is not None and cluster is not None:
        raise UsageError("--workers are processes of this machine, --cluster brings its own workers: give one of them.")
    if json_file is not None:
        check_writable(json_file)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written at the end."""
    import os

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"Cannot write {path}: expected the name of a file in a folder that can be written to.")


def _named(configs: tuple[str, ...]) -> dict[str, Path]:
    """Name each configuration by its file's stem, with as many folders before it as tell them apart."""
    files = [find_config(config).resolve() for config in configs]
    for file in files:
        if files.count(file) > 1:
            raise UsageError(f"{file} is given twice: a recipe differs from itself by nothing.")
    paths = [file.with_suffix("") for file in files]
    names = {}
    for path, file in zip(paths, files, strict=True):
        parts = next(
            path.parts[-n:]
            for n in range(1, len(path.parts) + 1)
            if sum(other.parts[-n:] == path.parts[-n:] for other in paths) == 1
        )
        names["/".join(parts)] = file
    return names


def _check_differ(recipes: dict[str, TrainConfig]) -> None:
    from pretap_offline.lab.fits import recipe

    seen: dict[bytes, str] = {}
    for name, config in recipes.items():
        content = msgspec.json.encode(recipe(config), order="deterministic")
        if content in seen:
            raise UsageError(f"{seen[content]} and {name} are the same recipe: leave one of them out.")
        seen[content] = name
