"""The commands ``pretap compare`` and ``pretap sweep``. Started by `pretap.cli`."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from pretap.completion import complete_recipe
from pretap.config.reading import load_config
from pretap.config.recording import RecordingConfig, overridden
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap.files import check_writable
from pretap.options import FILE, FOLDER, json_option, recording_options, recordings_option, xdf_stream_option
from pretap.progress import progress_of
from pretap.spelling import counted
from pretap_offline.lab.recipes import check_differ, named_recipes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pretap.recordings.epochs import Epochs
    from pretap_offline.lab.heads.protocols import Protocol

_DATA = click.option("--data", help="Trials as for `pretap train`.  [default: PRETAP_DATA]")
_SEED = click.option(
    "--seed", type=click.IntRange(min=0, max=2**31), default=0, help="Random seed for all folds and fits."
)
_WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), help="Number of processes on this machine.  [default: 1]"
)
_CLUSTER = click.option(
    "--cluster", metavar="ADDRESS", help="Run on the dask cluster with this scheduler, such as tcp://HOST:8786."
)
_STORE = click.option(
    "--store", "store_dir", type=FOLDER, help="Directory for finished fits.  [default: in the user's cache]"
)
_JSON = json_option("Write all results, including out-of-fold probabilities, to this file.")


@click.command()
@click.argument("configs", nargs=-1, metavar="CONFIG...", shell_complete=complete_recipe)
@_DATA
@recordings_option
@xdf_stream_option
@recording_options
@click.option(
    "--heads",
    "heads_file",
    type=FILE,
    metavar="HEADS.toml",
    help="Compare over the recordings of several people, which this file lists, instead of --data or --recording.",
)
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(["blocks", "sessions", "heads", "few-20", "few-40", "few-80"]),
    multiple=True,
    help="What to fit and score with --heads. Can be repeated.  [default: all]",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2, max=1000),
    help="Number of cross-validation folds.  [default: 10; with --heads 5]",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1, max=1000),
    help="Number of times to repeat the cross-validation with other folds.  [default: 5; with --heads 1]",
)
@_SEED
@click.option(
    "--permutations",
    type=click.IntRange(min=0),
    default=0,
    help="Number of label permutations to fit on, for a permutation test.",
)
@click.option("--learning-curve", is_flag=True, help="Also fit on 25, 50 and 75 % of each fold's trials.")
@_WORKERS
@_CLUSTER
@_STORE
@_JSON
@click.option("--report", type=FILE, metavar="FILE.html", help="Write a page with figures and scalp maps.")
@click.option(
    "--from",
    "from_file",
    type=FILE,
    metavar="RESULTS.json",
    help="Write the report from the results of an earlier --json, without computing anything.",
)
@click.pass_context
def compare(
    context: click.Context,
    configs: tuple[str, ...],
    *,
    data: str | None,
    recordings: tuple[Path, ...],
    xdf_stream: str | None,
    reading: RecordingConfig,
    heads_file: Path | None,
    protocols: tuple[Protocol, ...],
    folds: int | None,
    repeats: int | None,
    seed: int,
    permutations: int,
    learning_curve: bool,
    workers: int | None,
    cluster: str | None,
    store_dir: Path | None,
    json_file: Path | None,
    report: Path | None,
    from_file: Path | None,
) -> None:
    """Cross-validate every CONFIG on the same folds and print the scores with their uncertainty.

    With --recording, trials are cut as in `pretap train`, by the [events] and [trials] of the recipes that have
    [events]. For example: pretap compare taps csp lda --recording monday.xdf

    With --heads, recipes are compared over several people: within sessions, from session to session, from head to head
    and with few trials. For example: pretap compare csp tangent-space --heads heads.toml --report heads.html

    With --heads, recipes are compared over several people: within sessions, from session to session, from head to head
    and with few trials. For example: pretap compare csp tangent-space --heads heads.toml --report heads.html

    Finished fits are kept. If the command was interrupted, run it again to continue. Adding a CONFIG costs only its own
    fits.
    """
    if from_file is not None:
        _report_from(context, from_file)
        return
    _check_heads(context)
    if not configs:
        raise click.UsageError("Missing argument 'CONFIG...': the recipes to compare, or --from RESULTS.json.")
    files = named_recipes(configs)
    recipes = {name: load_config(TrainConfig, file) for name, file in files.items()}
    check_differ(recipes)
    _check_options(workers=workers, cluster=cluster, files=(json_file, report))
    from pretap_offline.lab.bench import set_up
    from pretap_offline.lab.compare import compare as compare_planned
    from pretap_offline.lab.compare import plan
    from pretap_offline.lab.report.write import check_report, write_report
    from pretap_offline.lab.results import write_results
    from pretap_offline.lab.running import open_laboratory
    from pretap_offline.lab.store import Store
    from pretap_offline.lab.table import print_comparison

    if heads_file is not None:
        from pretap_offline.lab.heads.protocols import PROTOCOLS
        from pretap_offline.lab.heads.run import run_heads

        run_heads(
            recipes,
            heads_file,
            protocols=protocols or tuple(PROTOCOLS),
            folds=folds or 5,
            repeats=repeats or 1,
            seed=seed,
            n_workers=workers or 1,
            cluster=cluster,
            store=Store(store_dir),
            resumable=_resumable,
            json_file=json_file,
            report=report,
            command=_command(),
        )
        return
    if report is not None:
        check_report()
    candidates = list(recipes.values())
    trials = _read(candidates, data, recordings, stream=xdf_stream, reading=reading)
    bench = set_up(trials, candidates, folds=folds or 10, repeats=repeats or 5, seed=seed)
    planned = plan(bench, recipes, permutations=permutations, learning_curve=learning_curve)
    keys = {fit.key for fit in planned.fits()}
    store = Store(store_dir)
    click.echo(f"{counted(len(keys), 'fit')}, {store.count(keys)} of them in {store.folder}", err=True)
    with (
        _resumable(lambda: f"{store.count(keys)} of {len(keys)} fits are kept in {store.folder}"),
        progress_of("comparing", total=len(keys)) as advance,
        open_laboratory(store, bench.data, n_workers=workers or 1, cluster=cluster, advance=advance) as run,
    ):
        found = compare_planned(planned, run, files={name: str(file) for name, file in files.items()})
    print_comparison(found)
    if json_file is not None:
        write_results(found, json_file)
    if report is not None:
        click.echo("fitting each recipe on all trials, for its scalp maps", err=True)
        write_report(found, report, trials=bench.trials, command=_command())
        click.echo(f"wrote {report}")


@click.command()
@click.argument("space", type=FILE, metavar="SPACE.toml")
@_DATA
@recordings_option
@xdf_stream_option
@recording_options
@click.option(
    "--n-candidates", type=click.IntRange(min=1), default=50, help="Number of candidates that each search tries."
)
@click.option(
    "--outer-folds",
    type=click.IntRange(min=0, max=1000),
    default=0,
    help="Number of outer folds of the nested cross-validation; 0 searches without an estimate.",
)
@click.option(
    "--inner-folds",
    type=click.IntRange(min=2, max=1000),
    default=5,
    help="Number of folds on which each candidate is scored.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1, max=1000),
    default=1,
    help="Number of times to repeat the outer cross-validation.",
)
@_SEED
@click.option(
    "--storage", type=FILE, help="SQLite file for the progress of the searches.  [default: in the user's cache]"
)
@_WORKERS
@_CLUSTER
@_STORE
@click.option("--out", type=FILE, metavar="BEST.toml", help="Write the chosen recipe to this file.")
@_JSON
def sweep(
    space: Path,
    *,
    data: str | None,
    recordings: tuple[Path, ...],
    xdf_stream: str | None,
    reading: RecordingConfig,
    n_candidates: int,
    outer_folds: int,
    inner_folds: int,
    repeats: int,
    seed: int,
    storage: Path | None,
    workers: int | None,
    cluster: str | None,
    store_dir: Path | None,
    out: Path | None,
    json_file: Path | None,
) -> None:
    """Search for the best values of the keys in SPACE.toml by their calibrated NLL on inner folds.

    With --outer-folds K, a search is run on the training part of each of K outer folds, and its choice is scored on the
    held-out part. This estimates what search and fit achieve together, while the NLL of the chosen values is
    optimistic.

    Candidates and fits are kept. If the command was interrupted, run it again to continue.
    """
    from pretap_offline.lab.space import read_space

    searched = read_space(space)
    _check_options(workers=workers, cluster=cluster, files=(json_file, out, storage))
    from pretap_offline.lab.bench import set_up
    from pretap_offline.lab.results import write_chosen, write_results
    from pretap_offline.lab.running import open_laboratory
    from pretap_offline.lab.store import Store
    from pretap_offline.lab.study import open_storage
    from pretap_offline.lab.sweep import configs_of, n_steps
    from pretap_offline.lab.sweep import sweep as sweep_space
    from pretap_offline.lab.table import print_sweep

    configs = configs_of(searched)
    trials = _read(configs, data, recordings, stream=xdf_stream, reading=reading)
    bench = set_up(trials, configs, folds=outer_folds, repeats=repeats, seed=seed)
    store = Store(store_dir)
    with (
        _resumable(lambda: f"Finished fits are kept in {store.folder}"),
        progress_of("searching", total=n_steps(bench, n_trials=n_candidates)) as advance,
        open_laboratory(store, bench.data, n_workers=workers or 1, cluster=cluster) as run,
        open_storage(storage or store.folder / "sweeps.sqlite") as opened,
    ):
        found = sweep_space(
            bench,
            searched,
            run,
            opened,
            n_trials=n_candidates,
            n_inner=inner_folds,
            advance=advance,
        )
    print_sweep(found)
    if out is not None:
        write_chosen(found, out)
        click.echo(f"wrote {out}")
    if json_file is not None:
        write_results(found, json_file)


def _read(
    configs: Sequence[TrainConfig],
    data: str | None,
    recordings: tuple[Path, ...],
    *,
    stream: str | None,
    reading: RecordingConfig,
) -> Epochs:
    """Read the trials of ``--data``, or cut those of ``--recording`` as all recipes do."""
    from msgspec.structs import replace

    from pretap_offline.trials.source import check_source, cut_recordings, read_trials, shared_cut

    check_source(data, recordings, stream=stream, reading=reading)
    if not recordings:
        return read_trials(data, part="train")
    cut = shared_cut(configs)
    trials, report = cut_recordings(
        recordings, replace(cut, recording=overridden(cut.recording, reading)), stream=stream
    )
    click.echo(report.describe(), err=True)
    return trials


def _report_from(context: click.Context, file: Path) -> None:
    """Write the report of existing results; refuse every option that would compute results."""
    computing = [each for each in _given(context) if each.name not in {"from_file", "report", "data"}]
    if computing:
        raise UsageError(f"{_spelled(computing)}: cannot be combined with --from, which computes nothing.")
    report: Path | None = context.params["report"]
    if report is None:
        raise UsageError("--from RESULTS.json needs --report FILE.html, the page to write.")
    check_writable(report)
    _check_apart(file, report)
    from pretap_offline.lab.report.write import check_report, write_report
    from pretap_offline.lab.results import Comparison, read_results
    from pretap_offline.trials.source import read_trials

    found = read_results(file)
    if not isinstance(found, Comparison):
        raise UsageError(f"{file} is a result of `pretap sweep`: expected one of `pretap compare`.")
    data: str | None = context.params["data"]
    trials = None if data is None else read_trials(data, part="train")
    check_report(found, trials)
    write_report(found, report, trials=trials, command=_command())
    click.echo(f"wrote {report}")


def _check_heads(context: click.Context) -> None:
    """Refuse options that have no effect with ``--heads``, or without it."""
    given = {each.name: each for each in _given(context)}
    if "heads_file" not in given:
        if "protocols" in given:
            raise UsageError("--protocol chooses what to fit and score over several heads: give --heads too.")
        return
    describing = ("data", "recordings", "xdf_stream", "markers", "cue_channel", "unit", "eeg")
    refused = [given[name] for name in (*describing, "permutations", "learning_curve") if name in given]
    if refused:
        raise UsageError(f"{_spelled(refused)}: cannot be combined with --heads, whose file says what to read and how.")


def _given(context: click.Context) -> list[click.Parameter]:
    """Return the parameters that the user gave on the command line."""
    source = context.get_parameter_source
    return [each for each in context.command.params if each.name and source(each.name) is ParameterSource.COMMANDLINE]


def _spelled(parameters: Sequence[click.Parameter]) -> str:
    return ", ".join("CONFIG" if isinstance(each, click.Argument) else each.opts[0] for each in parameters)


def _command() -> str:
    """Return the command as the user typed it."""
    return shlex.join(["pretap", *sys.argv[1:]])


@contextmanager
def _resumable(kept: Callable[[], str]) -> Iterator[None]:
    """Print after Ctrl-C what is kept, and that the command can be run again."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"{kept()}; run the same command again to continue.", err=True)
        raise


def _check_options(*, workers: int | None, cluster: str | None, files: tuple[Path | None, ...]) -> None:
    """Check options and output files before the work starts."""
    if workers is not None and cluster is not None:
        raise UsageError("--workers starts processes here, and --cluster has its own workers: give one of them.")
    check_writable(*files)
    _check_apart(*files)


def _check_apart(*files: Path | None) -> None:
    given = [file.resolve() for file in files if file is not None]
    for file in given:
        if given.count(file) > 1:
            raise UsageError(f"{file} is given twice, so one output would overwrite the other. Give each its own file.")
