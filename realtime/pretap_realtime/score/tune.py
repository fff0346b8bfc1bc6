"""``pretap tune``: set the policy on a labelled recording, and say what it is worth on the rest of it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import click
import msgspec

from pretap.bundle.manifest import Manifest
from pretap.child import run_child
from pretap.config.serve import PolicyConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import CheckFailedError, DataError, UsageError
from pretap.files import write_json, writing
from pretap.options import FILE, engine_option, json_option, part_option, trials_option, xdf_stream_option
from pretap.progress import progress_of
from pretap.recordings.events import matches
from pretap.recordings.recording import Recording
from pretap_realtime.decide.cues import TRIAL_ENDS, bundle_cues, truth
from pretap_realtime.decide.modes import CueLocked, FreeRunning, Mode, hop_samples
from pretap_realtime.score.command import Score, run_over
from pretap_realtime.score.tradeoff import Due, Outcome, Tried, Worth, commands, grid, pareto, sweep, weigh
from pretap_realtime.signal.chunk import Decision

__all__ = ["Point", "Result", "Stretch", "tune"]

_TUNED_SHARE = 0.6  # of the time; the rest is for the report
_LATE_S = 0.5  # where a window ends after its event, a command counts for so long after the window's end
_PATIENCE_S = 3.0


class Stretch(msgspec.Struct, frozen=True, eq=False):
    """Decisions in order, `hop_s` apart, and what they should have announced."""

    decisions: Sequence[Decision]
    due: Sequence[Due]
    hop_s: float

    def cut(self) -> tuple[Stretch, Stretch]:
        """Cut it in two at one point in time."""
        first_s, last_s = self.decisions[0].t_s, self.decisions[-1].t_s
        at_s = first_s + _TUNED_SHARE * (last_s - first_s)
        return (
            Stretch([d for d in self.decisions if d.t_s <= at_s], [e for e in self.due if e.by_s <= at_s], self.hop_s),
            Stretch([d for d in self.decisions if d.t_s > at_s], [e for e in self.due if e.by_s > at_s], self.hop_s),
        )

    def worth(self, n_classes: int) -> Worth:
        """Prepare the comparison with commands."""
        t_s = [d.t_s for d in self.decisions if d.probs is not None and not d.why]
        return Worth(t_s, self.due, hop_s=self.hop_s, n_classes=n_classes)


class Point(msgspec.Struct, frozen=True):
    """A policy, its outcome on the part that it was chosen on, and on the rest."""

    policy: PolicyConfig
    tuned: Outcome
    report: Outcome


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What `pretap tune` found; `front` is the trade-off, the most careful setting first.

    `limited` says what `max_per_min` limits: false activations in pauses, or wrong commands where there are none.
    `honest` is false where the bundle was trained on trials of this recording, or nobody can tell.
    """

    bundle_sha256: str
    recording: str
    limited: Literal["false_per_min", "wrong_per_min"]
    max_per_min: float
    hop_ms: float | None
    honest: bool
    date: str
    n_tried: int
    chosen: Point
    default: Point
    front: list[Point]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
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
    engine: str | None,
) -> None:
    """Find the policy with the most hits minus wrong commands on RECORDING, within a limit of false activations.

    RECORDING is either continuous, with pauses and with the events that BUNDLE was trained on, or consists of labelled
    trials. Trials have no pauses, so only the threshold is set. The policy is chosen on the first 60 % of the time and
    reported on the rest.
    """
    from pretap.bundle.file import load
    from pretap.recordings.named import open_any

    if out is not None and out.exists():
        raise UsageError(f"{out} is there already: expected the name of a new file. Move it away, or name another.")
    for path in (out, json_file, figure):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"Cannot write {path}: there is no folder {path.absolute().parent}.")
    decoder = load(bundle, engine=engine or "auto")
    manifest = decoder.manifest
    played = open_any(
        recording,
        part=part,
        trials_at_hz=manifest.sfreq_hz,
        trials=trials,
        channels=manifest.channels,
        stream=xdf_stream,
    )
    if trials is not None and played.trials is None:
        raise UsageError(f"--trials {trials}: {recording} holds no trials, it is a continuous recording.")
    at_cues = played.trials is not None
    stretch, scored = _decide(decoder, played, hop_ms=hop_ms)
    tuned, rest = stretch.cut()
    _refuse_too_little(tuned, rest, played)
    worth, worth_of_rest = tuned.worth(len(manifest.classes)), rest.worth(len(manifest.classes))
    settings = grid(n_classes=len(manifest.classes), at_cues=at_cues)
    limited: Literal["false_per_min", "wrong_per_min"] = "wrong_per_min" if at_cues else "false_per_min"
    n = sum(len(alike) for alike in settings.values())
    with progress_of("tuning", total=n, patience_s=_PATIENCE_S) as advance:
        tried = sweep(tuned.decisions, worth, manifest, settings=settings, advance=advance)
    cost = partial(_cost, limited=limited)
    front = pareto(tried, cost=cost)
    within = [each for each in front if cost(each.outcome) <= max_false_per_min]

    def point(each: Tried) -> Point:
        return Point(each.policy, each.outcome, worth_of_rest.of(_run(each.policy, rest, manifest)))

    if not within:
        raise CheckFailedError(_none_within(front, max_false_per_min, limited=limited))
    default = PolicyConfig()
    result = Result(
        bundle_sha256=decoder.sha256,
        recording=played.source,
        limited=limited,
        max_per_min=max_false_per_min,
        hop_ms=None if at_cues else hop_ms,
        honest=scored.n_trained_on == 0,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        n_tried=n,
        chosen=point(within[-1]),
        default=point(Tried(default, worth.of(_run(default, tuned, manifest)))),
        front=[point(each) for each in front],
    )
    click.echo(_report(result))
    _write(result, out=out, json_file=json_file, figure=figure)


def _decide(decoder: Decoder, played: Recording, *, hop_ms: float) -> tuple[Stretch, Score]:
    """Score the recording once: at every hop, or at the end of each trial."""
    manifest = decoder.manifest
    end_s = manifest.window_end_ms / 1000
    decisions: list[Decision] = []
    hop = hop_samples(hop_ms, manifest.sfreq_hz)
    is_trials = played.trials is not None
    mode: Mode = CueLocked(decoder, offset_s=0.0, patterns=TRIAL_ENDS) if is_trials else FreeRunning(decoder, hop=hop)
    with progress_of("scoring", total=played.n_samples, patience_s=_PATIENCE_S) as advance:
        scored = run_over(played, decoder, mode, n_chunk=1000, take=decisions.extend, advance=advance)
    if is_trials:
        known = [(d.t_s, truth(d.cue, manifest)) for d in decisions]
        due = [Due(t_s, t_s - end_s, k) for t_s, k in known if k is not None]
        return Stretch(decisions, due, manifest.n_window / manifest.sfreq_hz), scored
    return Stretch(decisions, _due(played, manifest, end_s=end_s), hop / manifest.sfreq_hz), scored


def _due(played: Recording, manifest: Manifest, *, end_s: float) -> list[Due]:
    patterns = bundle_cues(manifest)[0] if manifest.training.config.events else ("*",)
    due = []
    for event in played.events:
        k = truth(event.text, manifest) if matches(event.text, patterns) else None
        if k is not None:
            own_s = event.sample / played.sfreq_hz if played.t_s is None else float(played.t_s[event.sample])
            t_s = own_s + event.late_s
            due.append(Due(t_s if end_s <= 0 else t_s + end_s + _LATE_S, t_s, k))
    return sorted(due)


def _refuse_too_little(tuned: Stretch, rest: Stretch, played: Recording) -> None:
    if not tuned.due or not rest.due:
        raise DataError(
            f"{played.source} has {len(tuned.due)} known events in its first {_TUNED_SHARE:.0%} and {len(rest.due)} in "
            "the rest: expected some in each, named as those of the bundle's training. Trials need labels."
        )
    pauses = [each.worth(2).of([]).pause_minutes for each in (tuned, rest)]
    if played.trials is None and not all(pauses):
        raise DataError(
            f"{played.source} has {pauses[0]:.1f} minutes of pauses in its first {_TUNED_SHARE:.0%} and "
            f"{pauses[1]:.1f} in the rest: false activations cannot be measured. Record pauses of some seconds too."
        )


def _cost(outcome: Outcome, *, limited: Literal["false_per_min", "wrong_per_min"]) -> float:
    per_min = outcome.false_per_min if limited == "false_per_min" else outcome.wrong_per_min
    assert per_min is not None
    return per_min


def _run(config: PolicyConfig, stretch: Stretch, manifest: Manifest) -> list[tuple[float, int]]:
    return commands(config, weigh(config, stretch.decisions, manifest))


def _none_within(front: Sequence[Tried], limit: float, *, limited: str) -> str:
    if not front:
        return "No setting has more hits than wrong commands. Is the bundle one of this head? See `pretap score`."
    least = getattr(front[0].outcome, limited)
    return (
        f"No setting keeps to {limit:g} a minute; the most careful one has {least:.3g}. Allow more, or train on more."
    )


def _report(result: Result) -> str:
    what = "false activations" if result.limited == "false_per_min" else "wrong commands"
    lines = [
        result.recording,
        f"{result.n_tried} settings; at most {result.max_per_min:g} {what} a minute",
        *_toml(result),
        f"first 60 %   {result.chosen.tuned}",
        f"the rest     {result.chosen.report}",
        f"without      {result.default.report}",
    ]
    if result.limited == "wrong_per_min":
        lines.insert(2, "trials have no pauses: false activations cannot be measured, and only the threshold was set")
    if result.chosen.report.n_net <= 0:
        lines.append("CHANCE: on the rest there are as many wrong commands as hits, so the settings fit noise")
    if not result.honest:
        lines.append("NOT AN ESTIMATE: the bundle was trained on trials of this recording, or nobody can tell")
    return "\n".join(lines)


def _toml(result: Result) -> list[str]:
    policy = result.chosen.policy
    lines = [] if result.hop_ms is None else ["[decode]", f"hop_ms = {result.hop_ms:g}"]
    lines += ["[policy]", f'evidence = "{policy.evidence}"', f"memory_ms = {policy.memory_ms:g}"]
    lines += [f"threshold = {policy.threshold:g}"]
    lines += [] if policy.release is None else [f"release = {policy.release:g}"]
    return [*lines, f"dwell_ms = {policy.dwell_ms:g}", f"refractory_ms = {policy.refractory_ms:g}"]


def _write(result: Result, *, out: Path | None, json_file: Path | None, figure: Path | None) -> None:
    if out is not None:
        source = " ".join(result.recording.split())
        heading = [
            f"# `pretap tune`, {result.date}, on {source}; bundle {result.bundle_sha256[:12]}.",
            f"# On the part that was not used to choose: {result.chosen.report}.",
        ]
        with writing(out):
            out.write_text("\n".join([*heading, *_toml(result), ""]), encoding="utf-8")
    if json_file is not None:
        write_json(json_file, result)
    if out is not None:
        click.echo(f"wrote {out}")
    if figure is not None:
        _draw(result, figure)
        click.echo(f"wrote {figure}")


def _draw(result: Result, figure: Path) -> None:
    """Have the offline side draw it: the live side does not import it."""
    with tempfile.TemporaryDirectory(prefix="pretap-") as folder:
        file = Path(folder) / "tradeoff.json"
        write_json(file, result)
        run_child([sys.executable, "-m", "pretap_offline.evaluate.tradeoff_figure", str(file), str(figure)])
