"""``pretap score``: runs the live pipeline over a file, as fast as possible; every run gives the same bits."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import click

from pretap.bundle.manifest import Manifest
from pretap.completion import complete_bundle
from pretap.config.reading import load_config
from pretap.config.recording import RecordingConfig, from_options, overridden
from pretap.config.serve import ServeConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.options import (
    FILE,
    adapt_option,
    engine_option,
    json_option,
    part_option,
    recording_options,
    set_option,
    xdf_stream_option,
)
from pretap.progress import progress_of
from pretap.recordings.events import matches
from pretap.recordings.live_clocks import LiveClocks, read_live_clocks
from pretap.recordings.recording import Recording
from pretap.terminal import plain
from pretap_realtime.decide.accuracy import LiveAccuracy
from pretap_realtime.decide.cues import TRIAL_ENDS, bundle_cues, truth
from pretap_realtime.decide.modes import FreeRunning, Mode, cue_locked, describe_hop, hop_samples
from pretap_realtime.decide.policy import NONE, Policy, Verdict
from pretap_realtime.score.decision_file import DecisionFile
from pretap_realtime.score.run import PATIENCE_S, RunCounts, run_over
from pretap_realtime.signal.chunk import Decision


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_bundle)
@click.argument("recording")
@click.option(
    "--config",
    type=FILE,
    help="Decide as `pretap serve --config FILE` does: at cues if it has a cue.query or cue.channel, otherwise at "
    "every hop.",
)
@set_option
@part_option
@xdf_stream_option
@recording_options
@click.option(
    "--cue",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Decide once per event that matches, such as 'tap/*'. Can be repeated.  [default: the bundle's events]",
)
@click.option("--offset-ms", type=float, help="End of the window relative to its cue.  [default: as in training]")
@click.option(
    "--log",
    type=FILE,
    help="Log of the live session: cues are placed by its clock offsets.  [default: decisions.jsonl beside RECORDING]",
)
@click.option("--hop-ms", type=float, help="Decide at every hop, even if there are cues.  [default without cues: 50]")
@click.option(
    "--chunk",
    "n_chunk",
    type=click.IntRange(min=1),
    default=1000,
    help="Number of samples per chunk. No decision depends on it.",
)
@engine_option
@adapt_option
@click.option(
    "--adapt-state",
    type=FILE,
    metavar="FILE",
    help="Start from the adaptation in this file: of a recorded session, adapt-state.json in its folder.",
)
@json_option("Write every decision and verdict to this file.")
def score(
    bundle: Path,
    recording: str,
    *,
    config: Path | None,
    overrides: tuple[str, ...],
    part: Literal["train", "test"],
    xdf_stream: str | None,
    reading: RecordingConfig,
    patterns: tuple[str, ...],
    offset_ms: float | None,
    log: Path | None,
    hop_ms: float | None,
    n_chunk: int,
    engine: str | None,
    adapt: str | None,
    adapt_state: Path | None,
    json_file: Path | None,
) -> None:
    """Run the live pipeline of `pretap serve` over RECORDING as fast as possible.

    BUNDLE is a file, or the name of a shipped bundle. Each trial is decided once, at its end. A continuous recording is
    decided at the events that BUNDLE was trained on, or at every hop if it has none of them.
    """
    from pretap.bundle.file import load
    from pretap.decoder.adapting import adapting
    from pretap.recordings.named import open_any
    from pretap.recordings.recording import describe_channels

    flags = {
        "cue.channel": reading.cue_channel or None,
        "cue.offset_ms": offset_ms,
        "decode.hop_ms": hop_ms,
        "decode.engine": engine,
        "adapt.method": adapt,
    }
    settings = load_config(ServeConfig, config, overrides, flags)
    decoder = adapting(load(bundle, engine=settings.decode.engine), settings.adapt, state=adapt_state)
    manifest = decoder.manifest
    opened = open_any(
        recording,
        part=part,
        trials_at_hz=manifest.sfreq_hz,
        channels=manifest.channels,
        stream=xdf_stream,
        config=overridden(_describe_recording(settings), reading),
        recipe=manifest.training.config.recording,
        clocks=_live_clocks(Path(recording), log),
    )
    for line in describe_channels(opened, wanted=manifest.channels):
        click.echo(plain(line), err=True)
    every_hop = not patterns and (hop_ms is not None or (config is not None and not settings.cue.is_on))
    mode = _make_mode(decoder, opened, settings, patterns=patterns, every_hop=every_hop)
    policy = Policy(settings.policy, manifest)
    tally = _Tally(manifest, opened if isinstance(mode, FreeRunning) else None)
    with ExitStack() as stack:
        file = None if json_file is None else stack.enter_context(DecisionFile(json_file, manifest.classes))

        def on_decisions(decisions: Sequence[Decision]) -> None:
            verdicts = [policy.judge(decision) for decision in decisions]
            tally.add(decisions, verdicts)
            if file is not None:
                file.write(decisions, verdicts)

        with progress_of("scoring", total=opened.n_samples, patience_s=PATIENCE_S) as advance:
            counts = run_over(
                opened, decoder, mode, n_chunk=n_chunk, on_decisions=on_decisions, advance=advance, settings=settings
            )
        if mode.cues is not None:
            for sentence in mode.cues.take_news():
                click.echo(sentence, err=True)
        n_unmatched = 0 if mode.cues is None else mode.cues.n_unmatched
        click.echo(f"{opened.source}\n{tally.report(counts, n_unmatched=n_unmatched)}")
        if file is not None:
            honest = counts.n_trained_on == 0
            figures = {"n_received": counts.n_received, "n_lost": counts.n_lost, "honest": honest}
            file.finish(figures | {"left_out": dict(opened.left_out), "notes": opened.notes})


def _describe_recording(settings: ServeConfig) -> RecordingConfig:
    """Return what the settings say of the stream, which the recording is one of."""
    stream = settings.stream
    return from_options(
        channels=stream.channels, unit=stream.unit, sfreq_hz=stream.sfreq_hz, cue_channel=settings.cue.channel
    )


def _live_clocks(recording: Path, log: Path | None) -> LiveClocks | None:
    """Read the clock offsets of the session that was recorded, if its log is there."""
    if recording.suffix.lower() != ".xdf":
        if log is not None:
            raise UsageError(f"--log {log}: expected the XDF recording of a session, got {recording}.")
        return None
    beside = recording.with_name("decisions.jsonl")
    if log is None and not beside.is_file():
        return None
    clocks = read_live_clocks(log or beside)
    if clocks is not None:
        click.echo(f"cues are placed by the clock offsets in {log or beside}", err=True)
    return clocks


def _make_mode(
    decoder: Decoder, recording: Recording, settings: ServeConfig, *, patterns: tuple[str, ...], every_hop: bool
) -> Mode:
    """Return the mode that decides at cues if the recording has any, or otherwise at every hop."""
    manifest, cue = decoder.manifest, settings.cue
    cued, offset_s = (TRIAL_ENDS, 0.0) if recording.trials is not None else bundle_cues(manifest)
    if patterns:
        cued, offset_s = patterns, manifest.window_end_ms / 1000
    elif cue.patterns:
        cued = cue.patterns
    if not every_hop and any(matches(event.text, cued) for event in recording.events):
        if settings.policy.has_memory:
            raise UsageError(
                "Each event is decided alone here, so only the threshold of [policy] applies. Leave out the others, or "
                "decide at every hop: --hop-ms 50."
            )
        return cue_locked(decoder, cue, patterns=cued, offset_s=offset_s)
    if patterns or (cue.is_on and not every_hop):
        raise DataError(
            f"{recording.source} has no event that matches {', '.join(cued)}. It has {_list_events(recording)}."
        )
    if not every_hop and manifest.training.config.events:
        click.echo(
            f"no event matches {', '.join(cued)}, so there is a decision every "
            f"{describe_hop(settings.decode.hop_ms, manifest.sfreq_hz)}; "
            f"the recording has {_list_events(recording)}",
            err=True,
        )
    return FreeRunning(decoder, hop=hop_samples(settings.decode.hop_ms, manifest.sfreq_hz))


def _list_events(recording: Recording) -> str:
    return ", ".join(sorted({repr(event.text) for event in recording.events})[:20]) or "no events at all"


class _Tally:
    """Counts decisions and verdicts, and reports them.

    Decisions at every hop are judged by the events of `recording`, as the monitor judges those of a live stream.
    """

    def __init__(self, manifest: Manifest, recording: Recording | None) -> None:
        self._manifest = manifest
        self._n = self._n_valid = self._n_none = self._n_commands = 0
        self._accuracy = LiveAccuracy(
            manifest.classes,
            manifest.training.config.events,
            offset_s=manifest.window_end_ms / 1000,
        )
        self._events = deque(
            () if recording is None else ((recording.event_s(event), event.text) for event in recording.events)
        )

    def add(self, decisions: Sequence[Decision], verdicts: Sequence[Verdict]) -> None:
        self._n += len(decisions)
        for decision, verdict in zip(decisions, verdicts, strict=True):
            is_valid = not decision.why and decision.probs is not None
            self._judge(decision, verdict.label, is_valid=is_valid)
            if not is_valid:
                continue
            self._n_valid += 1
            self._n_none += verdict.label == NONE
            self._n_commands += verdict.command

    def _judge(self, decision: Decision, label: str, *, is_valid: bool) -> None:
        k, now_s = truth(decision.cue, self._manifest), decision.t_s
        if k is not None and is_valid:
            self._accuracy.tally.add(label, self._manifest.classes[k])
        if decision.cue:
            return
        self._accuracy.add_verdict(now_s, label, is_valid=is_valid)
        while self._events and self._events[0][0] <= now_s:
            t_s, text = self._events.popleft()
            self._accuracy.add_marker(text, t_s, now_s=now_s)
        self._accuracy.update(now_s=now_s)

    def report(self, counts: RunCounts, *, n_unmatched: int) -> str:
        self._accuracy.update(now_s=math.inf)
        lines = [f"{self._n_valid} decisions; {self._n - self._n_valid} windows were invalid"]
        if n_unmatched:
            lines.append(f"markers that fit no cue pattern: {n_unmatched}")
        if self._n_none:
            lines.append(f"{self._n_commands} commands; {self._n_none} verdicts are none")
        if counts.n_trained_on:
            lines.append(f"NOT AN ESTIMATE: {counts.n_trained_on} of {self._n} trials were trained on")
        if counts.n_trained_on is None:
            lines.append(
                "PERHAPS NOT AN ESTIMATE: channels are missing, so trials of the training cannot be recognized"
            )
        judged = self._accuracy.tally
        if judged.n_judged:
            accuracy = judged.n_correct / judged.n_judged
            lines.append(f"accuracy {accuracy:.3f} ({judged.n_correct} of {judged.n_judged})")
        return "\n".join(lines)
