"""``pretap train`` and ``pretap evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pretap.config import find_config, load_config
from pretap.errors import UsageError
from pretap.progress import progress_of
from pretap.serve_config import ENGINE_NAMES
from pretap.train_config import TrainConfig, TrialsConfig
from pretap_offline.outputs import check_writable

if TYPE_CHECKING:
    from pretap.decoder import Decoder
    from pretap.recordings.epochs import Epochs
    from pretap_offline.trial_report import TrialReport

__all__ = ["evaluate", "train"]

_DATA_HELP = (
    "Directory or file of the competition's data, trials that MNE saved (-epo.fif), 'synthetic' or 'synthetic:SEED'; "
    "default: PRETAP_DATA."
)
_FILE = click.Path(path_type=Path, dir_okay=False)
_RECORDING = click.option(
    "--recording",
    "recordings",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Cut trials from this recording (FIF, EDF, BDF, BrainVision, XDF, ...) instead; repeatable, in order.",
)
_STREAM = click.option(
    "--stream", metavar="NAME_OR_ID", help="The EEG stream of XDF files that have several; needs --recording."
)
_SAVE = click.option("--save-trials", type=_FILE, metavar="FILE-epo.fif", help="Write the trials as MNE epochs.")


@click.command(short_help="Train, cross-validate and write a bundle.")
@click.argument("config")
@click.option("--data", help=_DATA_HELP)
@_RECORDING
@_STREAM
@click.option("--out", type=_FILE, help="The bundle; default: CONFIG.safetensors.")
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**31), default=0, show_default=True, help="Of folds and weights."
)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override one key of CONFIG; repeatable.")
@click.option("--trials", metavar="START:STOP", help="Train on these trials only, as Python counts.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes for the folds.")
@_SAVE
@click.option("--json", "json_file", type=_FILE, help="Write what became of the events, and the figures, here.")
def train(
    config: str,
    *,
    data: str | None,
    recordings: tuple[Path, ...],
    stream: str | None,
    out: Path | None,
    seed: int,
    overrides: tuple[str, ...],
    trials: str | None,
    workers: int,
    save_trials: Path | None,
    json_file: Path | None,
) -> None:
    """Cross-validate the recipe CONFIG, fit it on all trials, write a bundle.

    CONFIG is a TOML file, or the name of a shipped one: default (trials, as the competition's), own-cap (your own
    recordings), tutorial (the network of the tutorial); of the shipped bundles: single-100hz (the best network),
    ensemble-100hz (ten of it), single-1000hz (decimates), ensemble-1000hz (ten of it); to compare with: csp (band
    power), lda (slow potential), eegnet (convolutions), tangent-space (covariance), closed-form (slow potential and
    covariance).

    With --recording, trials are cut at the events that [events] in CONFIG names; a picture of them is written beside
    the bundle.
    """
    file = find_config(config)
    recipe = load_config(TrainConfig, file, overrides)
    _check_source(data, recordings, stream)
    out = out or Path(f"{file.stem}.safetensors")
    check_writable(out)
    from msgspec.structs import replace

    from pretap_offline.data import read_trials
    from pretap_offline.fitting import n_advances
    from pretap_offline.training import train as train_bundle
    from pretap_offline.validation import n_fits
    from pretap_offline.verdict import words, write_report

    note = ""
    if recordings:
        epochs, report = _cut(recordings, recipe, stream=stream)
    else:
        epochs, report = read_trials(data, part="train"), None
        if recipe.events or recipe.trials != TrialsConfig():
            note = "[events] and [trials] are for recordings; these trials come cut"
        if tuple(recipe.events) != epochs.classes:
            recipe = replace(recipe, events={})  # of recordings; these trials have classes of their own
    if trials is not None:
        epochs = epochs.select_range(trials)
    click.echo(f"{len(epochs)} trials: {epochs.source}" if report is None else report.words())
    if note:
        click.echo(note)
    _save(epochs, save_trials)
    if report is not None:
        _draw(epochs, out)
    with progress_of("training", total=n_fits(recipe) + n_advances(recipe)) as advance:
        manifest = train_bundle(epochs, recipe, out, seed=seed, n_workers=workers, advance=advance)
    if manifest.metrics is not None:
        click.echo(words(manifest.metrics))
    if json_file is not None:
        write_report(json_file, bundle=out, trials=report, metrics=manifest.metrics)
        click.echo(f"wrote {json_file}")
    click.echo(f"wrote {out}")


@click.command(short_help="Score a bundle on trials, or predict unlabelled ones.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", help=_DATA_HELP)
@_RECORDING
@_STREAM
@click.option("--part", type=click.Choice(["train", "test"]), default="test", show_default=True)
@click.option("--trials", metavar="START:STOP", help="Only these trials, as Python counts.")
@click.option("--engine", type=click.Choice(ENGINE_NAMES), default="auto", show_default=True, help="What computes.")
@click.option("--predictions", type=_FILE, help="Write trial,predicted,p_... here.")
@_SAVE
@click.option("--json", "json_file", type=_FILE, help="Write the figures here.")
def evaluate(
    bundle: Path,
    *,
    data: str | None,
    recordings: tuple[Path, ...],
    stream: str | None,
    part: Literal["train", "test"],
    trials: str | None,
    engine: str,
    predictions: Path | None,
    save_trials: Path | None,
    json_file: Path | None,
) -> None:
    """Decode every trial of one part of the data with BUNDLE; score it where labels are known.

    BUNDLE is a file, or the name of a shipped one, such as ensemble-1000hz.

    With --recording, trials are cut as those that BUNDLE was trained on: same events, window and limits.
    """
    from pretap.bundle import load
    from pretap_offline.data import read_trials
    from pretap_offline.evaluation import evaluate_trials, report, write_figures, write_predictions

    _check_source(data, recordings, stream)
    decoder = load(bundle, engine=engine)
    if recordings:
        epochs, cut = _cut(recordings, _recipe_of(decoder), stream=stream, decoder=decoder)
        click.echo(cut.words())
    else:
        epochs = read_trials(data, part=part)
    if trials is not None:
        epochs = epochs.select_range(trials)
    _save(epochs, save_trials)
    evaluation = evaluate_trials(decoder, epochs)
    click.echo(report(evaluation))
    if predictions is not None:
        write_predictions(evaluation, predictions)
        click.echo(f"wrote {predictions}")
    if json_file is not None:
        write_figures(evaluation, json_file)
        click.echo(f"wrote {json_file}")


def _check_source(data: str | None, recordings: tuple[Path, ...], stream: str | None) -> None:
    if data is not None and recordings:
        raise UsageError("--data and --recording are two ways to say what the trials are: give one of them.")
    if stream is not None and not recordings:
        raise UsageError("--stream chooses a stream of the files that --recording names: give both.")


def _cut(
    recordings: tuple[Path, ...], recipe: TrainConfig, *, stream: str | None, decoder: Decoder | None = None
) -> tuple[Epochs, TrialReport]:
    from pretap.recordings.continuous import open_recording
    from pretap_offline.trials import cut_trials

    opened = [open_recording(path, stream=stream) for path in recordings]
    if decoder is None:
        return cut_trials(opened, recipe)
    return cut_trials(opened, recipe, channels=decoder.manifest.channels, interpolation=decoder.interpolation)


def _recipe_of(decoder: Decoder) -> TrainConfig:
    """Give the configuration that a bundle's trials were cut with, at the bundle's rate."""
    from msgspec.structs import replace

    manifest = decoder.manifest
    recipe = manifest.training.config
    if tuple(recipe.events) != manifest.classes:
        raise UsageError(
            "This bundle was trained on trials, not on recordings: it does not say which markers are its classes "
            f"({', '.join(manifest.classes)}). Give --data, or `pretap score --cue`."
        )
    return replace(recipe, signal=replace(recipe.signal, sfreq_hz=manifest.sfreq_hz))


def _save(epochs: Epochs, path: Path | None) -> None:
    if path is not None:
        from pretap.recordings.mne_epochs import write_mne_epochs

        write_mne_epochs(epochs, path)
        click.echo(f"wrote {path}")


def _draw(epochs: Epochs, out: Path) -> None:
    from pretap_offline.trial_figure import draw_trials

    path = out.with_name(f"{out.stem}-trials.png")
    notes = draw_trials(epochs, path)
    click.echo(f"wrote {path}" + (f" ({notes})" if notes else ""))
