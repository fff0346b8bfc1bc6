"""``pretap score``: the live pipeline over a file, as fast as it goes; the same bits every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.config.reading import load_config
from pretap.config.serve import ServeConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, StreamRefusedError, UsageError
from pretap.options import FILE, engine_option, json_option, part_option, set_option, xdf_stream_option
from pretap.progress import progress_of
from pretap.recordings.epochs import trial_sha256
from pretap.recordings.events import matches
from pretap.recordings.recording import Recording, sample_at
from pretap.recordings.resample import resample_recording
from pretap.signal.channels import MISSING, match_channels
from pretap_realtime.decide.cues import TRIAL_ENDS, bundle_cues, truth
from pretap_realtime.decide.modes import CueLocked, FreeRunning, Mode, cue_locked, hop_samples
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import NONE, Policy, Verdict
from pretap_realtime.score.decision_file import DecisionFile
from pretap_realtime.signal.chunk import Chunk, Cue, Decision
from pretap_realtime.signal.compatibility import Description, check_stream

__all__ = ["Score", "run_over", "score"]


_PATIENCE_S = 3.0  # without a terminal: what takes no longer needs no progress


@dataclass(frozen=True)
class Score:
    """What became of the samples of a recording, and how many of its trials the bundle was trained on."""

    n_received: int
    n_lost: int
    n_trained_on: int | None


def run_over(
    recording: Recording,
    decoder: Decoder,
    mode: Mode,
    *,
    n_chunk: int,
    take: Callable[[Sequence[Decision]], None],
    advance: Callable[[int], None] = lambda _: None,
    settings: ServeConfig = ServeConfig(),  # noqa: B008 - frozen
) -> Score:
    """Feed a recording, with its events as cues, through the live pipeline; stamps are on the recording's clock.

    It is taken as `pretap serve` takes a stream: other rates are resampled, a few missing channels interpolated.

    Parameters
    ----------
    take
        Gets the decisions as they come; an hour of them at every sample would fill a gigabyte.
    advance
        Is told how many samples are done, chunk by chunk.
    settings
        Of which `stream` and `quality` are taken.
    """
    manifest = decoder.manifest
    looks_like = Description(
        name=recording.source,
        hostname="",
        format="float32",
        n_channels=len(recording.channels),
        sfreq_hz=recording.sfreq_hz,
        labels=recording.channels,
        units=("uV",) * len(recording.channels),
    )
    try:
        mapping = check_stream(looks_like, manifest, settings.stream, interpolation=decoder.interpolation)
    except StreamRefusedError as error:
        raise DataError(str(error)) from None
    order = np.array(mapping.order)
    present = order != MISSING
    pipeline = Pipeline(decoder, mode, max_interpolated=settings.stream.max_interpolated, quality=settings.quality)
    pipeline.reset(sfreq_hz=mapping.sfreq_hz, missing=mapping.missing, order=mapping.order)

    def stamps(start: int, stop: int) -> NDArray[np.float64]:
        return np.arange(start, stop) / recording.sfreq_hz if recording.t_s is None else recording.t_s[start:stop]

    is_cued = isinstance(mode, CueLocked)
    events = recording.events if is_cued else ()
    cues = iter([Cue(float(stamps(e.sample, e.sample + 1)[0]) + e.late_s, e.text) for e in events])
    cue = next(cues, None)
    for start in range(0, recording.n_samples, n_chunk):
        stop = min(start + n_chunk, recording.n_samples)
        t_s = stamps(start, stop)
        while cue is not None and cue.t_s <= t_s[-1]:
            take(pipeline.ask(cue, arrived_s=cue.t_s))
            cue = next(cues, None)
        x_uv = np.where(present, recording.read(start, stop)[:, order], np.float32(0))  # (n_new, n_channels)
        take(pipeline.process(Chunk(x_uv, t_s)))
        advance(stop - start)
    take(pipeline.close())
    while cue is not None:  # after the last sample
        take(pipeline.ask(cue, arrived_s=cue.t_s))
        cue = next(cues, None)
    if is_cued:
        take(pipeline.expire(np.inf))
    n_trained_on = _n_trained_on(recording, manifest)
    counts = pipeline.front_end.losses.counts
    return Score(counts.n_received, counts.n_lost, n_trained_on)


def _n_trained_on(recording: Recording, manifest: Manifest) -> int | None:
    """Count the trials of a recording that the bundle was trained on: cut as `pretap train` cuts them, and hashed.

    None where a channel is missing: then nobody can tell.
    """
    if recording.trials is not None:
        return manifest.training.count_known(recording.trials.trial_ids)
    patterns, _ = bundle_cues(manifest)
    try:
        order = match_channels(manifest.channels, recording.channels, stream=recording.source)
    except StreamRefusedError:  # a channel is missing and interpolated
        return None
    if not any(matches(event.text, patterns) for event in recording.events):
        return 0
    at_rate = resample_recording(recording, sfreq_hz=manifest.sfreq_hz)
    ends = {
        sample_at(at_rate, event, offset_s=manifest.window_end_ms / 1000) + 1
        for event in at_rate.events
        if matches(event.text, patterns)
    }
    whole = (end for end in ends if manifest.n_window <= end <= at_rate.n_samples)
    return manifest.training.count_known(
        trial_sha256(at_rate.read(end - manifest.n_window, end)[:, order]) for end in whole
    )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recording")
@click.option(
    "--config",
    type=FILE,
    help="Decide as `pretap serve --config FILE` does: at cues if it has a cue.query, otherwise at every hop.",
)
@set_option
@part_option
@xdf_stream_option
@click.option(
    "--cue",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Decide once per event that matches, such as 'tap/*'. Can be repeated.  [default: the bundle's events]",
)
@click.option("--offset-ms", type=float, help="End of the window relative to its cue.  [default: as in training]")
@click.option("--hop-ms", type=float, help="Decide at every hop, even if there are cues.  [default without cues: 50]")
@click.option(
    "--chunk",
    "n_chunk",
    type=click.IntRange(min=1),
    default=1000,
    help="Number of samples per chunk. No decision depends on it.",
)
@engine_option
@json_option("Write every decision and verdict to this file.")
def score(
    bundle: Path,
    recording: str,
    *,
    config: Path | None,
    overrides: tuple[str, ...],
    part: Literal["train", "test"],
    xdf_stream: str | None,
    patterns: tuple[str, ...],
    offset_ms: float | None,
    hop_ms: float | None,
    n_chunk: int,
    engine: str | None,
    json_file: Path | None,
) -> None:
    """Run the live pipeline of `pretap serve` over RECORDING as fast as possible.

    BUNDLE is a file, or the name of a shipped bundle. Each trial is decided once, at its end. A continuous recording is
    decided at the events that BUNDLE was trained on, or at every hop if it has none of them.
    """
    from pretap.bundle.file import load
    from pretap.recordings.named import open_any

    flags = {"cue.offset_ms": offset_ms, "decode.hop_ms": hop_ms, "decode.engine": engine}
    settings = load_config(ServeConfig, config, overrides, flags)
    decoder = load(bundle, engine=settings.decode.engine)
    manifest = decoder.manifest
    played = open_any(
        recording, part=part, trials_at_hz=manifest.sfreq_hz, channels=manifest.channels, stream=xdf_stream
    )
    is_hopping = not patterns and (hop_ms is not None or (config is not None and not settings.cue.query))
    mode = _mode(decoder, played, settings, patterns=patterns, is_hopping=is_hopping)
    policy = Policy(settings.policy, manifest)
    tally = _Tally(manifest)
    with ExitStack() as stack:
        written = None if json_file is None else stack.enter_context(DecisionFile(json_file, manifest.classes))

        def take(decisions: Sequence[Decision]) -> None:
            verdicts = [policy.judge(decision) for decision in decisions]
            tally.add(decisions, verdicts)
            if written is not None:
                written.add(decisions, verdicts)

        with progress_of("scoring", total=played.n_samples, patience_s=_PATIENCE_S) as advance:
            result = run_over(played, decoder, mode, n_chunk=n_chunk, take=take, advance=advance, settings=settings)
        click.echo(f"{played.source}\n{tally.report(result)}")
        if written is not None:
            honest = result.n_trained_on == 0
            written.end({"n_received": result.n_received, "n_lost": result.n_lost, "honest": honest})


def _mode(
    decoder: Decoder, played: Recording, settings: ServeConfig, *, patterns: tuple[str, ...], is_hopping: bool
) -> Mode:
    """Decide at the events that are cues, where there are some, or at every hop."""
    manifest, cue = decoder.manifest, settings.cue
    cued, offset_s = (TRIAL_ENDS, 0.0) if played.trials is not None else bundle_cues(manifest)
    if patterns:
        cued, offset_s = patterns, manifest.window_end_ms / 1000
    elif cue.patterns:
        cued = cue.patterns
    if not is_hopping and any(matches(event.text, cued) for event in played.events):
        if settings.policy.has_memory:
            raise UsageError(
                "Each event is decided for itself here, so of [policy] only threshold applies. Leave out the rest, or "
                "decide at every hop: --hop-ms 50."
            )
        return cue_locked(decoder, cue, patterns=cued, offset_s=offset_s)
    if patterns or (cue.query and not is_hopping):
        raise DataError(f"{played.source} has no event like {', '.join(cued)}. It has {_listed(played)}.")
    if not is_hopping and manifest.training.config.events:
        hop = f"{settings.decode.hop_ms:g} ms"
        click.echo(f"no event like {', '.join(cued)}, so a decision each {hop}; it has {_listed(played)}", err=True)
    return FreeRunning(decoder, hop=hop_samples(settings.decode.hop_ms, manifest.sfreq_hz))


def _listed(recording: Recording) -> str:
    return ", ".join(sorted({repr(event.text) for event in recording.events})[:20]) or "no events at all"


class _Tally:
    """Counts decisions."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.n = self.n_valid = self.n_none = self.n_commands = 0
        self.n_known = self.n_right = 0  # with a cue that tells the truth

    def add(self, decisions: Sequence[Decision], verdicts: Sequence[Verdict]) -> None:
        self.n += len(decisions)
        for decision, verdict in zip(decisions, verdicts, strict=True):
            if decision.why or decision.probs is None:
                continue
            self.n_valid += 1
            self.n_none += verdict.label == NONE
            self.n_commands += verdict.command
            true = truth(decision.cue, self._manifest) if decision.cue else None
            if true is not None:
                self.n_known += 1
                self.n_right += verdict.code == true + 1

    def report(self, result: Score) -> str:
        lines = [f"{self.n_valid} decisions, {self.n - self.n_valid} times no valid window"]
        if self.n_none:
            lines.append(f"{self.n_commands} commands; {self.n_none} verdicts are none")
        if result.n_trained_on:
            lines.append(f"NOT AN ESTIMATE: {result.n_trained_on} of {self.n} trials were trained on")
        if result.n_trained_on is None:
            lines.append(
                "NOT AN ESTIMATE, perhaps: with channels missing nobody can tell whether trials were trained on"
            )
        if self.n_known:
            share = self.n_right / self.n_known
            lines.append(f"accuracy {share:.3f} ({self.n_right} of {self.n_known})")
        return "\n".join(lines)
