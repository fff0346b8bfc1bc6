"""``pretap tune``: chooses a policy on one part of a labelled recording, and reports its outcome on the rest."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Literal

import click
import msgspec

from pretap.bundle.manifest import Manifest
from pretap.child import run_child
from pretap.completion import complete_bundle
from pretap.config.recording import RecordingConfig
from pretap.config.serve import PolicyConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import CheckFailedError, DataError, UsageError
from pretap.files import check_writable, write_json, write_text
from pretap.options import (
    FILE,
    engine_option,
    json_option,
    part_option,
    recording_options,
    trials_option,
    xdf_stream_option,
)
from pretap.progress import progress_of
from pretap.recordings.events import matches
from pretap.recordings.recording import Recording
from pretap.terminal import plain
from pretap_realtime.decide.cues import TRIAL_ENDS, bundle_cues, truth
from pretap_realtime.decide.modes import CueLocked, FreeRunning, Mode, hop_samples
from pretap_realtime.score.run import PATIENCE_S, RunCounts, run_over
from pretap_realtime.score.tradeoff import (
    CommandScorer,
    Outcome,
    ScoredPolicy,
    Target,
    commands,
    filter_evidence,
    pareto_front,
    policy_grid,
    score_policies,
)
from pretap_realtime.signal.chunk import Decision

_TUNED_SHARE = 0.6  # of the time; the rest is for the report
_Limited = Literal["false_per_min", "wrong_per_min"]
_LATE_S = 0.5  # if a window ends after its event, a command counts for this long after the window's end


class LabelledDecisions(msgspec.Struct, frozen=True, eq=False):
    """Decisions in order, `hop_s` apart, and the targets that they should announce."""

    decisions: Sequence[Decision]
    targets: Sequence[Target]
    hop_s: float

    def split(self) -> tuple[LabelledDecisions, LabelledDecisions]:
        """Split in time: the first part chooses the policy, the second part is for the report."""
        first_s, last_s = self.decisions[0].t_s, self.decisions[-1].t_s
        cut_s = first_s + _TUNED_SHARE * (last_s - first_s)
        return self._part(lambda t_s: t_s <= cut_s), self._part(lambda t_s: t_s > cut_s)

    def _part(self, contains: Callable[[float], bool]) -> LabelledDecisions:
        decisions = [decision for decision in self.decisions if contains(decision.t_s)]
        return LabelledDecisions(decisions, [t for t in self.targets if contains(t.deadline_s)], self.hop_s)

    def scorer(self, n_classes: int) -> CommandScorer:
        """Return the scorer of commands on these decisions."""
        t_s = [d.t_s for d in self.decisions if d.probs is not None and not d.why]
        return CommandScorer(t_s, self.targets, hop_s=self.hop_s, n_classes=n_classes)


class TradeoffPoint(msgspec.Struct, frozen=True):
    """A policy, its outcome on the part that chose it (`tuned`), and on the rest (`report`)."""

    policy: PolicyConfig
    tuned: Outcome
    report: Outcome


class TuneResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `pretap tune`; `front` is the trade-off, the most careful policy first.

    `max_per_min` limits false activations in pauses, or wrong commands if there are no pauses; `limited` is which.
    `honest` is false if the bundle was trained on trials of this recording, or if that is unknown.
    """

    bundle_sha256: str
    recording: str
    limited: _Limited
    max_per_min: float
    hop_ms: float | None
    honest: bool
    date: str
    n_tried: int
    chosen: TradeoffPoint
    default: TradeoffPoint
    front: list[TradeoffPoint]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_bundle)
@click.argument("recording")
@click.option(
    "--max-false-per-min",
    type=click.FloatRange(min=0, max=1e4),
    required=True,
    help="Maximum number of false activations per minute of pause; for trials, which have no pauses, of wrong "
    "commands per minute.",
)
@click.option("--out", type=FILE, help="Write the chosen settings to this file, for `pretap serve --config`.")
@json_option("Write the trade-off to this file.")
@click.option("--figure", type=FILE, help="Draw the trade-off into this file (.svg, .png or .pdf).")
@click.option("--hop-ms", type=click.FloatRange(1, 1000), default=50.0, help="Time between two decisions.")
@part_option
@trials_option
@xdf_stream_option
@recording_options
@engine_option
def tune(
    bundle: Path,
    recording: str,
    *,
    max_false_per_min: float,
    out: Path | None,
    json_file: Path | None,
    figure: Path | None,
    hop_ms: float,
    part: Literal["train", "test"],
    trials: str | None,
    xdf_stream: str | None,
    reading: RecordingConfig,
    engine: str | None,
) -> None:
    """Find the policy with the most hits minus wrong commands on RECORDING, within a limit of false activations.

    RECORDING is either continuous, with pauses and with the events that BUNDLE was trained on, or consists of labelled
    trials. Trials have no pauses, so only the threshold is set. The policy is chosen on the first 60 % of the time and
    reported on the rest.
    """
    from pretap.bundle.file import load
    from pretap.recordings.named import open_any
    from pretap.recordings.recording import describe_channels

    _check_files(out, figure)
    decoder = load(bundle, engine=engine or "auto")
    manifest = decoder.manifest
    opened = open_any(
        recording,
        part=part,
        trials_at_hz=manifest.sfreq_hz,
        trials=trials,
        channels=manifest.channels,
        stream=xdf_stream,
        config=reading,
        recipe=manifest.training.config.recording,
    )
    for line in describe_channels(opened, wanted=manifest.channels):
        click.echo(plain(line), err=True)
    if trials is not None and opened.trials is None:
        raise UsageError(f"--trials {trials}: {recording} holds no trials, it is a continuous recording.")
    result = _tune(decoder, opened, hop_ms=hop_ms, max_per_min=max_false_per_min)
    click.echo(_report(result))
    _write(result, out=out, json_file=json_file, figure=figure)


def _check_files(out: Path | None, figure: Path | None) -> None:
    """Refuse files that cannot be written, before the long run."""
    if out is not None and out.exists():
        raise UsageError(f"{out} already exists: expected the name of a new file. Move it, or choose another name.")
    check_writable(out, figure)


def _tune(decoder: Decoder, recording: Recording, *, hop_ms: float, max_per_min: float) -> TuneResult:
    """Choose the policy on the first part of a recording, and score it on the rest."""
    manifest = decoder.manifest
    n_classes, at_cues = len(manifest.classes), recording.trials is not None
    labelled, counts = _decide(decoder, recording, hop_ms=hop_ms)
    tuned, rest = labelled.split()
    _refuse_too_little(tuned, rest, recording)
    scorer, scorer_of_rest = tuned.scorer(n_classes), rest.scorer(n_classes)
    policies = policy_grid(n_classes=n_classes, at_cues=at_cues)
    with progress_of("tuning", total=len(policies), patience_s=PATIENCE_S) as advance:
        scored = score_policies(policies, tuned.decisions, scorer, manifest=manifest, advance=advance)
    limited: _Limited = "wrong_per_min" if at_cues else "false_per_min"
    cost = attrgetter(limited)
    front = pareto_front(scored, cost=cost)
    within_limit = [each for each in front if cost(each.outcome) <= max_per_min]
    if not within_limit:
        raise CheckFailedError(_describe_failure(front, max_per_min, limited=limited))

    def point(policy: PolicyConfig, outcome: Outcome) -> TradeoffPoint:
        return TradeoffPoint(policy, outcome, scorer_of_rest.score(_commands(policy, rest, manifest)))

    default, chosen = PolicyConfig(), within_limit[-1]
    return TuneResult(
        bundle_sha256=decoder.sha256,
        recording=recording.source,
        limited=limited,
        max_per_min=max_per_min,
        hop_ms=None if at_cues else hop_ms,
        honest=counts.n_trained_on == 0,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        n_tried=len(policies),
        chosen=point(chosen.policy, chosen.outcome),
        default=point(default, scorer.score(_commands(default, tuned, manifest))),
        front=[point(each.policy, each.outcome) for each in front],
    )


def _decide(decoder: Decoder, recording: Recording, *, hop_ms: float) -> tuple[LabelledDecisions, RunCounts]:
    """Run the recording through the pipeline once, deciding at every hop, or at the end of each trial."""
    manifest = decoder.manifest
    end_s = manifest.window_end_ms / 1000
    decisions: list[Decision] = []
    hop = hop_samples(hop_ms, manifest.sfreq_hz)
    is_trials = recording.trials is not None
    mode: Mode = CueLocked(decoder, offset_s=0.0, patterns=TRIAL_ENDS) if is_trials else FreeRunning(decoder, hop=hop)
    with progress_of("scoring", total=recording.n_samples, patience_s=PATIENCE_S) as advance:
        counts = run_over(recording, decoder, mode, n_chunk=1000, on_decisions=decisions.extend, advance=advance)
    if is_trials:
        known = [(d.t_s, truth(d.cue, manifest)) for d in decisions]
        targets = [Target(t_s, t_s - end_s, k) for t_s, k in known if k is not None]
        return LabelledDecisions(decisions, targets, manifest.n_window / manifest.sfreq_hz), counts
    targets = _targets(recording, manifest, end_s=end_s)
    return LabelledDecisions(decisions, targets, hop / manifest.sfreq_hz), counts


def _targets(recording: Recording, manifest: Manifest, *, end_s: float) -> list[Target]:
    patterns = bundle_cues(manifest)[0] if manifest.training.config.events else ("*",)
    targets = []
    for event in recording.events:
        k = truth(event.text, manifest) if matches(event.text, patterns) else None
        if k is not None:
            t_s = recording.event_s(event)
            targets.append(Target(t_s if end_s <= 0 else t_s + end_s + _LATE_S, t_s, k))
    return sorted(targets)


def _refuse_too_little(tuned: LabelledDecisions, rest: LabelledDecisions, recording: Recording) -> None:
    if not tuned.targets or not rest.targets:
        raise DataError(
            f"{recording.source} has {len(tuned.targets)} known events in its first {_TUNED_SHARE:.0%} and "
            f"{len(rest.targets)} in the rest: expected some in each, with the names used in the bundle's training. "
            "Trials need labels."
        )
    pauses = [part.scorer(2).score([]).pause_minutes for part in (tuned, rest)]
    if recording.trials is None and not all(pauses):
        raise DataError(
            f"{recording.source} has {pauses[0]:.1f} minutes of pauses in its first {_TUNED_SHARE:.0%} and "
            f"{pauses[1]:.1f} in the rest: false activations cannot be measured. Record pauses of a few seconds too."
        )


def _commands(policy: PolicyConfig, labelled: LabelledDecisions, manifest: Manifest) -> list[tuple[float, int]]:
    return commands(policy, filter_evidence(policy, labelled.decisions, manifest))


def _describe_failure(front: Sequence[ScoredPolicy], limit: float, *, limited: _Limited) -> str:
    if not front:
        return (
            "No policy has more hits than wrong commands. Was the bundle trained on this subject? Check it with "
            "`pretap score`."
        )
    lowest = getattr(front[0].outcome, limited)
    return (
        f"No policy stays within {limit:g} a minute; the most careful one has {lowest:.3g}. Raise --max-false-per-min, "
        "or train on more data."
    )


def _report(result: TuneResult) -> str:
    errors = "false activations" if result.limited == "false_per_min" else "wrong commands"
    lines = [
        result.recording,
        f"{result.n_tried} policies tried; at most {result.max_per_min:g} {errors} a minute",
        *_toml(result),
        f"first {_TUNED_SHARE:.0%}     {result.chosen.tuned}",
        f"the rest      {result.chosen.report}",
        f"no policy     {result.default.report}",
    ]
    if result.limited == "wrong_per_min":
        lines.insert(2, "trials have no pauses, so false activations are unknown and only the threshold was tuned")
    if result.chosen.report.n_net <= 0:
        lines.append("CHANCE: the rest has as many wrong commands as hits, so the policy fits noise")
    if not result.honest:
        lines.append("NOT AN ESTIMATE: the bundle was, or may have been, trained on trials of this recording")
    return "\n".join(lines)


def _toml(result: TuneResult) -> list[str]:
    policy = result.chosen.policy
    lines = [] if result.hop_ms is None else ["[decode]", f"hop_ms = {result.hop_ms:g}"]
    lines += ["[policy]", f'evidence = "{policy.evidence}"', f"memory_ms = {policy.memory_ms:g}"]
    lines += [f"threshold = {policy.threshold:g}"]
    lines += [] if policy.release is None else [f"release = {policy.release:g}"]
    return [*lines, f"dwell_ms = {policy.dwell_ms:g}", f"refractory_ms = {policy.refractory_ms:g}"]


def _write(result: TuneResult, *, out: Path | None, json_file: Path | None, figure: Path | None) -> None:
    if out is not None:
        source = " ".join(result.recording.split())
        heading = [
            f"# `pretap tune`, {result.date}, on {source}; bundle {result.bundle_sha256[:12]}.",
            f"# On the part that did not choose the policy: {result.chosen.report}.",
        ]
        write_text(out, "\n".join([*heading, *_toml(result), ""]))
    if json_file is not None:
        write_json(json_file, result)
    if out is not None:
        click.echo(f"wrote {out}")
    if figure is not None:
        _draw(result, figure)
        click.echo(f"wrote {figure}")


def _draw(result: TuneResult, figure: Path) -> None:
    """Draw the trade-off in a child process of the offline side, which the live side does not import."""
    with tempfile.TemporaryDirectory(prefix="pretap-") as folder:
        file = Path(folder) / "tradeoff.json"
        write_json(file, result)
        run_child([sys.executable, "-m", "pretap_offline.evaluate.tradeoff_figure", str(file), str(figure)])
