"""``pretap train`` and ``pretap evaluate``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from pretap.config import TrainConfig, find_config, load_config
from pretap.errors import UsageError

__all__ = ["evaluate", "train"]

_DATA_HELP = "Directory or file of the competition's data, 'synthetic' or 'synthetic:SEED'; default: PRETAP_DATA."


@click.command(short_help="Train, cross-validate and write a bundle.")
@click.argument("config")
@click.option("--data", help=_DATA_HELP)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The bundle; default: CONFIG.safetensors.")
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**31), default=0, show_default=True, help="Of folds and weights."
)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override one key of CONFIG; repeatable.")
@click.option("--trials", metavar="START:STOP", help="Train on these trials only, as Python counts.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes for the folds.")
def train(
    config: str,
    *,
    data: str | None,
    out: Path | None,
    seed: int,
    overrides: tuple[str, ...],
    trials: str | None,
    workers: int,
) -> None:
    """Cross-validate the recipe CONFIG (a file, or the name of a shipped one), fit it on all trials, write a bundle."""
    file = find_config(config)
    recipe = load_config(TrainConfig, file, overrides)
    from pretap_offline.data import read_trials
    from pretap_offline.training import train as train_bundle

    out = out or Path(f"{file.stem}.safetensors")
    _check_writable(out)
    epochs = read_trials(data, part="train")
    if trials is not None:
        epochs = epochs.select_range(trials)
    click.echo(f"{len(epochs)} trials: {epochs.source}")
    n_steps = recipe.evaluation.folds * recipe.evaluation.repeats + recipe.fit.max_epochs
    with _progress("training", total=n_steps) as advance:
        manifest = train_bundle(epochs, recipe, out, seed=seed, n_workers=workers, advance=advance)
    if manifest.metrics is not None:
        m = manifest.metrics
        click.echo(
            f"accuracy {m.accuracy:.3f} (95 % interval {m.accuracy_ci95[0]:.3f} to {m.accuracy_ci95[1]:.3f}), "
            f"kappa {m.kappa:.2f}, NLL {m.nll:.3f}: {m.protocol}"
        )
    click.echo(f"wrote {out}")


@click.command(short_help="Score a bundle on trials, or predict unlabelled ones.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", help=_DATA_HELP)
@click.option("--part", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option("--trials", metavar="START:STOP", help="Only these trials, as Python counts.")
@click.option(
    "--engine", type=click.Choice(["numpy", "torch"]), default="numpy", show_default=True, help="What computes."
)
@click.option(
    "--predictions", type=click.Path(path_type=Path, dir_okay=False), help="Write trial,predicted,p_... here."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def evaluate(
    bundle: Path,
    *,
    data: str | None,
    part: Literal["train", "test"],
    trials: str | None,
    engine: str,
    predictions: Path | None,
    json_file: Path | None,
) -> None:
    """Decode every trial of one part of the data with BUNDLE; score it where labels are known."""
    from pretap.bundle import load
    from pretap_offline.data import read_trials
    from pretap_offline.evaluation import evaluate_trials, report, write_json, write_predictions

    decoder = load(bundle, engine=engine)
    epochs = read_trials(data, part=part)
    evaluation = evaluate_trials(decoder, epochs if trials is None else epochs.select_range(trials))
    click.echo(report(evaluation))
    if predictions is not None:
        write_predictions(evaluation, predictions)
        click.echo(f"wrote {predictions}")
    if json_file is not None:
        write_json(evaluation, json_file)
        click.echo(f"wrote {json_file}")


def _check_writable(out: Path) -> None:
    """Refuse before the training, not after it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot write {out}: {error.strerror}.") from None
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"Cannot write {out}: expected the name of a file in a folder that can be written to.")


@contextmanager
def _progress(what: str, *, total: int) -> Iterator[Callable[[], None]]:
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
