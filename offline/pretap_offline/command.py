"""The commands ``pretap train`` and ``pretap evaluate``. Started by `pretap.cli`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pretap.completion import complete_bundle, complete_recipe
from pretap.config.reading import find_config, load_config
from pretap.config.recording import RecordingConfig, overridden
from pretap.config.serve import AdaptConfig, AdaptMethod
from pretap.config.train import TrainConfig, TrialsConfig
from pretap.errors import UsageError
from pretap.files import check_writable, write_json
from pretap.options import (
    FILE,
    adapt_option,
    engine_option,
    json_option,
    part_option,
    recording_options,
    recordings_option,
    set_option,
    trials_option,
    xdf_stream_option,
)
from pretap.spelling import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pretap.decoder.decoder import Decoder
    from pretap.recordings.epochs import Epochs

_DATA = click.option(
    "--data",
    help="Directory or file of the competition's data, trials saved by MNE (-epo.fif), 'synthetic' or "
    "'synthetic:SEED'.  [default: PRETAP_DATA]",
)
_SAVE = click.option("--save-trials", type=FILE, metavar="FILE-epo.fif", help="Write the trials as MNE epochs.")


@click.command()
@click.argument("config", default="auto", shell_complete=complete_recipe)
@_DATA
@recordings_option
@click.option(
    "--with",
    "others",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Session of another day or person with the same electrodes and events, to help a few own trials: a recording, "
    "or trials saved by MNE. Can be repeated.",
)
@xdf_stream_option
@recording_options
@click.option("--out", type=FILE, help="Bundle to write.  [default: CONFIG.safetensors]")
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**31), default=0, help="Random seed for folds and initial weights."
)
@set_option
@trials_option
@click.option(
    "--search",
    type=click.Choice(["window"]),
    help="Choose the window as well, among those of [search] in CONFIG.",
)
@click.option("--why", is_flag=True, help="List all candidates with their scores.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Number of processes for the cross-validation.  [default: all processors to choose among candidates, or 1]",
)
@_SAVE
@json_option("Write the trial counts and the cross-validated scores to this file.")
def train(
    config: str,
    *,
    data: str | None,
    recordings: tuple[Path, ...],
    others: tuple[Path, ...],
    xdf_stream: str | None,
    reading: RecordingConfig,
    out: Path | None,
    seed: int,
    overrides: tuple[str, ...],
    trials: str | None,
    search: str | None,
    why: bool,
    workers: int | None,
    save_trials: Path | None,
    json_file: Path | None,
) -> None:
    """Cross-validate the recipe CONFIG, fit it on all trials and write a bundle.

    CONFIG is a TOML file, or the name of a shipped one. By default it is auto (any task), which fits several kinds of
    decoders and keeps the one, or the average of two, that decodes held-out trials best. Presets for a task do the same
    with its window and its rhythms: taps (self-paced, decoded before each tap), cued-taps (a tap after each cue) and
    imagery (imagined movement after each cue).

    Recipes of one kind: single-100hz (the best network for the competition's trials), ensemble-100hz (ten of them),
    single-1000hz (decimates), ensemble-1000hz (ten of these), default (single-1000hz in five folds), csp (band power),
    lstm (band power over time), lda (slow potential), eegnet (convolutions), tangent-space (covariance), closed-form
    (slow potential and covariance) and tutorial (the network of the tutorial).

    With --recording, trials are cut at the events listed under [events] in CONFIG, and figures of the trials and of
    the patterns of the decisions are written next to the bundle. Channels that are not EEG by their type, label or unit
    are left out and listed. If a file lacks labels, unit or rate, or is wrong, [recording] in CONFIG has channels,
    unit, sfreq_hz and eeg.

    With --with, 10 to 40 own trials are enough to start. Each of the other sessions is moved to the mean of the own
    trials first, without labels, and the own trials weigh as much as all others. An example is `pretap train
    imagery --recording mine.xdf --with anna.xdf --with ben.xdf`.
    """
    file = find_config(config)
    recipe = load_config(TrainConfig, file, overrides)
    out = out or Path(f"{file.stem}.safetensors")
    check_writable(out, save_trials)
    from joblib import cpu_count
    from msgspec.structs import replace

    from pretap.recordings.mne_epochs import is_epochs_file
    from pretap_offline.evaluate.advice import describe, describe_choice
    from pretap_offline.evaluate.candidates import with_search
    from pretap_offline.training import train as train_bundle
    from pretap_offline.trials.source import check_source, cropped, cut_recordings, read_others, read_trials

    check_source(data, recordings, stream=xdf_stream, reading=reading)
    recipe = replace(recipe, recording=overridden(recipe.recording, reading))
    recipe = with_search(recipe) if search else recipe
    report, note = None, ""
    if recordings:
        epochs, report = cut_recordings(recordings, recipe, stream=xdf_stream)
    else:
        epochs = cropped(read_trials(data, part="train"), recipe)
        recipe, note = _without_cutting(recipe, epochs)
    if trials is not None:
        epochs = epochs.select_range(trials)
    click.echo(f"{counted(len(epochs), 'trial')}: {epochs.source}{note}" if report is None else report.describe())
    pooled = read_others(others, recipe, own=epochs, stream=xdf_stream)
    for each in pooled:
        click.echo(f"with {counted(len(each), 'trial')}: {each.source}")
    _save(epochs, save_trials)
    if report is not None:
        from pretap_offline.trials.figure import draw_trials

        _draw(out.with_name(f"{out.stem}-trials.png"), partial(draw_trials, epochs))
    validated: list[tuple[Epochs, NDArray[np.float64]]] = []
    manifest = train_bundle(
        epochs,
        recipe,
        out,
        seed=seed,
        others=pooled,
        n_workers=workers or (cpu_count() if recipe.candidates else 1),
        on_validated=lambda *found: validated.append(found),
    )
    if report is not None or is_epochs_file(Path(data or "")):
        for decoded, probs in validated:
            _draw_patterns(decoded, probs, out.with_name(f"{out.stem}-patterns.png"))
    if manifest.training.candidates:
        click.echo(describe_choice(manifest.training, why=why))
    if manifest.metrics is not None:
        click.echo(describe(manifest.metrics, manifest.classes))
    if json_file is not None:
        write_json(
            json_file,
            {
                "bundle": str(out),
                "trials": report,
                "metrics": manifest.metrics,
                "candidates": manifest.training.candidates,
                "refused": manifest.training.refused,
            },
        )
    click.echo(f"wrote {out}")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_bundle)
@_DATA
@recordings_option
@xdf_stream_option
@recording_options
@part_option
@trials_option
@engine_option
@adapt_option
@click.option("--predictions", type=FILE, metavar="FILE.csv", help="Write the prediction for each trial as CSV.")
@_SAVE
@json_option("Write the scores to this file.")
def evaluate(
    bundle: Path,
    *,
    data: str | None,
    recordings: tuple[Path, ...],
    xdf_stream: str | None,
    reading: RecordingConfig,
    part: Literal["train", "test"],
    trials: str | None,
    engine: str | None,
    adapt: AdaptMethod | None,
    predictions: Path | None,
    save_trials: Path | None,
    json_file: Path | None,
) -> None:
    """Decode every trial with BUNDLE, and score the predictions if labels are known.

    BUNDLE is a file, or the name of a shipped bundle such as ensemble-1000hz.

    With --recording, trials are cut like those that BUNDLE was trained on, with the same events, window and limits.

    With --adapt, the trials are one session: each is decoded with the state that those before it left. Two more scores
    compare it with the bundle as it is, and with the mean of all trials.
    """
    from pretap.bundle.file import load
    from pretap.decoder.adapting import adapting
    from pretap_offline.evaluate.evaluation import evaluate_trials, write_predictions, write_scores
    from pretap_offline.trials.source import check_source, cut_recordings, read_trials

    check_source(data, recordings, stream=xdf_stream, reading=reading)
    check_writable(predictions, save_trials)
    decoder = adapting(load(bundle, engine=engine or "auto"), AdaptConfig(method=adapt or "off"))
    if recordings:
        epochs, cut = cut_recordings(recordings, _recipe_of(decoder, reading), stream=xdf_stream, decoder=decoder)
        click.echo(cut.describe())
    else:
        epochs, cut = read_trials(data, part=part), None
    if trials is not None:
        epochs = epochs.select_range(trials)
    _save(epochs, save_trials)
    evaluation = evaluate_trials(decoder, epochs)
    click.echo(evaluation.describe())
    if predictions is not None:
        write_predictions(evaluation, predictions)
        click.echo(f"wrote {predictions}")
    if json_file is not None:
        write_scores(evaluation, json_file, cut=cut)


def _recipe_of(decoder: Decoder, reading: RecordingConfig) -> TrainConfig:
    """Return the configuration that cut the bundle's trials, at the bundle's rate, with the options in `reading`."""
    from msgspec.structs import replace

    manifest = decoder.manifest
    recipe = manifest.training.config
    if tuple(recipe.events) != manifest.classes:
        raise UsageError(
            "This bundle was trained on trials, not on recordings: it does not know the markers of its classes "
            f"({', '.join(manifest.classes)}). Give --data, or use `pretap score --cue`."
        )
    signal = replace(recipe.signal, sfreq_hz=manifest.sfreq_hz)
    return replace(recipe, signal=signal, recording=overridden(recipe.recording, reading))


def _without_cutting(recipe: TrainConfig, epochs: Epochs) -> tuple[TrainConfig, str]:
    """Return the recipe without what applies to recordings only, and a line that says so if it has such settings."""
    from msgspec.structs import replace

    is_ignored = bool(set(recipe.events) - set(epochs.classes)) or recipe.recording != RecordingConfig()
    is_ignored |= replace(recipe.trials, window_ms=None) != TrialsConfig()
    if tuple(recipe.events) != epochs.classes:
        recipe = replace(recipe, events={})  # they describe recordings; these trials have their own classes
    note = "\nonly window_ms of [events], [recording] and [trials] applies to trials that are already cut"
    return replace(recipe, recording=RecordingConfig()), note if is_ignored else ""


def _draw_patterns(epochs: Epochs, probs: NDArray[np.float64], path: Path) -> None:
    from pretap_offline.evaluate.pattern_figure import draw_patterns, why_no_patterns

    if why := why_no_patterns(epochs):
        click.echo(why)
    else:
        _draw(path, partial(draw_patterns, epochs, probs))


def _draw(path: Path, draw: Callable[[Path], str | None]) -> None:
    """Draw a figure, and say so with the notes that `draw` returns."""
    from pretap_offline.figure_style import not_drawn

    try:
        notes = draw(path)
        click.echo(f"wrote {path}" + (f" ({notes})" if notes else ""))
    except Exception as error:  # noqa: BLE001 - MNE and Matplotlib raise anything, and no figure may end a training
        click.echo(not_drawn(f"The figure {path}", error), err=True)


def _save(epochs: Epochs, path: Path | None) -> None:
    if path is not None:
        from pretap.recordings.mne_epochs import write_mne_epochs

        write_mne_epochs(epochs, path)
        click.echo(f"wrote {path}")
