"""``pretap score``: the live pipeline over a file, as fast as it goes; the same bits every time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
import numpy as np

from pretap.channels import match_channels
from pretap.decoder import Decoder
from pretap.errors import DataError, StreamRefusedError, UsageError
from pretap.recordings.recording import Recording
from pretap_realtime.chunk import Chunk, Cue, Decision
from pretap_realtime.pipeline import CueLocked, FreeRunning, Mode, Pipeline

__all__ = ["Score", "run_over", "score"]


@dataclass(frozen=True, eq=False)
class Score:
    """The decisions over a recording, and what became of the samples."""

    decisions: list[Decision]
    n_received: int
    n_lost: int
    n_trained_on: int


def run_over(recording: Recording, decoder: Decoder, mode: Mode, *, n_chunk: int) -> Score:
    """Feed a recording, with its events as cues, through the live pipeline; stamps are seconds from its start."""
    manifest = decoder.manifest
    try:
        order = match_channels(manifest.channels, recording.channels, stream=recording.source)
    except StreamRefusedError as error:
        raise DataError(str(error)) from None
    if abs(recording.sfreq_hz - manifest.sfreq_hz) > 0.01 * manifest.sfreq_hz:
        raise DataError(
            f"{recording.source} has {recording.sfreq_hz:g} Hz, the bundle takes {manifest.sfreq_hz:g}. Resample it, "
            "or train for its rate."
        )
    pipeline = Pipeline(decoder, mode)
    cues = iter([Cue(event.sample / recording.sfreq_hz, event.text) for event in recording.events])
    cue = next(cues, None)
    decisions: list[Decision] = []
    for start in range(0, recording.n_samples, n_chunk):
        stop = min(start + n_chunk, recording.n_samples)
        t_s = np.arange(start, stop) / recording.sfreq_hz
        while cue is not None and cue.t_s <= t_s[-1]:
            decisions += pipeline.ask(cue, arrived_s=cue.t_s)
            cue = next(cues, None)
        decisions += pipeline.push(Chunk(recording.read(start, stop)[:, order], t_s))
    decisions += pipeline.expire(np.inf)
    trained_on = set(manifest.training.trial_sha256)
    ids = recording.trials.trial_ids if recording.trials is not None else ()
    n_trained_on = sum(trial in trained_on for trial in ids)
    return Score(decisions, pipeline.health.n_received, pipeline.health.n_lost, n_trained_on)


@click.command(short_help="Run the live pipeline over a file.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recording")
@click.option("--part", type=click.Choice(["train", "test"]), default="test", show_default=True, help="Of trial files.")
@click.option("--cue", "patterns", multiple=True, help="Decide once per event such as 'tap/*'; default: trial ends.")
@click.option("--offset-ms", type=float, help="Where a cue's window ends; default 0, -130 with --cue.")
@click.option("--hop-ms", type=float, default=50.0, show_default=True, help="Where nothing is cued.")
@click.option("--chunk", "n_chunk", type=click.IntRange(min=1), default=100, show_default=True, help="Changes nothing.")
@click.option(
    "--engine", type=click.Choice(["numpy", "torch"]), default="numpy", show_default=True, help="What computes."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write every decision here.")
def score(
    bundle: Path,
    recording: str,
    *,
    part: Literal["train", "test"],
    patterns: tuple[str, ...],
    offset_ms: float | None,
    hop_ms: float,
    n_chunk: int,
    engine: str,
    json_file: Path | None,
) -> None:
    """Run the live pipeline of `pretap serve` over RECORDING, as fast as it goes.

    Trials are decided once each, at their end; a continuous recording at every hop, or at its events with --cue.
    """
    from pretap.bundle import load
    from pretap_realtime.app import hop_samples
    from pretap_realtime.sources import open_any

    decoder = load(bundle, engine=engine)
    manifest = decoder.manifest
    played = open_any(recording, part=part, sfreq_hz=manifest.sfreq_hz, channels=manifest.channels)
    mode: Mode
    if patterns:
        offset_s = (manifest.window_end_ms if offset_ms is None else offset_ms) / 1000
        mode = CueLocked(decoder, offset_s=offset_s, patterns=patterns)
    elif played.trials is not None:
        mode = CueLocked(decoder, offset_s=(offset_ms or 0.0) / 1000, patterns=("trial/*/end", "trial/*/end/*"))
    else:
        mode = FreeRunning(decoder, hop=hop_samples(hop_ms, manifest.sfreq_hz))
    result = run_over(played, decoder, mode, n_chunk=n_chunk)
    click.echo(f"{played.source}\n{_report(result, manifest.classes)}")
    if json_file is not None:
        _write_json(result, manifest.classes, json_file)
        click.echo(f"wrote {json_file}")


def truth(cue: str, classes: tuple[str, ...]) -> int | None:
    """Give the class that a cue's text ends with (``trial/3/end/left``, ``tap/left``), if any."""
    last = cue.rpartition("/")[2]
    return classes.index(last) if last in classes else None


def _report(result: Score, classes: tuple[str, ...]) -> str:
    valid = [d for d in result.decisions if d.probs is not None]
    lines = [f"{len(valid)} decisions, {len(result.decisions) - len(valid)} times no valid window"]
    if result.n_trained_on:
        assert result.decisions
        lines.append(f"NOT AN ESTIMATE: {result.n_trained_on} of {len(result.decisions)} trials were trained on")
    known = [(truth(d.cue, classes), int(d.probs.argmax())) for d in valid if d.probs is not None]
    known = [(true, said) for true, said in known if true is not None]
    if known:
        n_right = sum(true == said for true, said in known)
        lines.append(f"accuracy {n_right / len(known):.3f} ({n_right} of {len(known)})")
    return "\n".join(lines)


def _write_json(result: Score, classes: tuple[str, ...], path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "t": d.t_s,
            "p": None if d.probs is None else dict(zip(classes, d.probs.tolist(), strict=True)),
            "why": d.why,
            "cue": d.cue,
        }
        for d in result.decisions
    ]
    figures = {
        "n_received": result.n_received,
        "n_lost": result.n_lost,
        "honest": result.n_trained_on == 0,
        "decisions": rows,
    }
    try:
        path.write_bytes(msgspec.json.encode(figures) + b"\n")
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from None
