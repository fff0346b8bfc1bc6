"""``pretap verify``: checks that a live service over real LSL makes the same decisions as offline evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.bundle.shipped import BEST
from pretap.completion import complete_bundle
from pretap.config.recording import ALL_EVENTS, RecordingConfig
from pretap.errors import CheckFailedError, UsageError
from pretap.files import write_json
from pretap.options import adapt_option, engine_option, json_option, part_option, recording_options, trials_option
from pretap.terminal import say
from pretap_realtime.send.latencies import percentile

if TYPE_CHECKING:
    from pretap.bundle.manifest import Manifest
    from pretap_realtime.check.isolated_session import IsolatedSession
    from pretap_realtime.check.live_run import Collected
    from pretap_realtime.check.recorded_parity import RecordedParity

_TOLERANCE = 1e-6  # of probabilities
_TIMESTAMP_TOLERANCE_S = 1e-6


class Parity(msgspec.Struct, frozen=True):
    """The result; `passed` if every trial was decided once, in order, equally, at the time of its last sample."""

    n_expected: int
    n_received: int
    n_lost: int
    n_extra: int
    n_missed_messages: int
    in_order: bool
    labels_equal: bool
    max_abs_diff: float
    max_abs_diff_float32: float
    max_stamp_error_ms: float
    latency_ms: dict[str, float] | None
    passed: bool

    def describe(self) -> str:
        """Return the figures as text for people."""
        lines = [
            f"expected  {self.n_expected} decisions, received {self.n_received}, lost {self.n_lost}, "
            f"extra {self.n_extra}, {'in order' if self.in_order else 'OUT OF ORDER'}",
            f"equality  labels {'equal' if self.labels_equal else 'DIFFER'}, probabilities within "
            f"{self.max_abs_diff:.1e} (markers), {self.max_abs_diff_float32:.1e} (float32 stream); "
            f"allowed {_TOLERANCE:.0e}",
            f"times     within {self.max_stamp_error_ms:.6f} ms of each trial's last sample",
        ]
        if self.latency_ms is None:
            lines.append("latency   not measured, because the replay did not run in real time")
        else:
            p = self.latency_ms
            lines.append(f"latency   p50 {p['p50']:.1f} ms, p95 {p['p95']:.1f} ms, p99 {p['p99']:.1f} ms")
        return "\n".join([*lines, "PASSED" if self.passed else "FAILED"])


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_bundle, default=BEST)
@click.option("--data", help="Directory or file with trials, or 'synthetic'.  [default: PRETAP_DATA, or synthetic]")
@click.option(
    "--recording", type=click.Path(path_type=Path), metavar="FILE", help="Recording to cut trials from, as in training."
)
@recording_options
@part_option
@trials_option
@click.option(
    "--speed", type=click.FloatRange(0.1, 100), default=1.0, help="Speed of the replay relative to real time."
)
@click.option(
    "--jitter-ms",
    type=click.FloatRange(0, 1e4),
    default=0.0,
    help="Replay timestamps that jitter by this standard deviation, and compare with the recording of the session.",
)
@click.option("--one-sided", is_flag=True, help="Make the jitter exponential, so that it only delays.")
@click.option(
    "--packet",
    "n_packet",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Replay packets of N samples that are stamped on arrival, and compare with the recording of the session.",
)
@engine_option
@adapt_option
@json_option("Write the result to this file.")
def verify(
    bundle: Path,
    *,
    data: str | None,
    recording: Path | None,
    reading: RecordingConfig,
    part: Literal["train", "test"],
    trials: str | None,
    speed: float,
    jitter_ms: float,
    one_sided: bool,
    n_packet: int | None,
    engine: str | None,
    adapt: str | None,
    json_file: Path | None,
) -> None:
    """Replay trials to a live service and compare its decisions with those of `pretap evaluate`.

    Service and replay are separate processes that are connected through LSL. BUNDLE is a file, or the name of a shipped
    bundle; the default is ensemble-1000hz. Offline evaluation uses numpy, whatever the --engine of the service.

    With --adapt, they are compared with those of `pretap score`, because a state moves only if the signal is good.

    With --jitter-ms or --packet, the timestamps are those of a real amplifier, so the service must find the samples
    itself. The session is recorded. Its decisions must equal those of `pretap score` on the recording, and the chosen
    samples must be the last ones of the trials, to a sample or 2 ms, after a constant delay. An example is `pretap
    verify --jitter-ms 3 --packet 9`.
    """
    import os

    from pretap.bundle.file import read_bundle
    from pretap.decoder.decoder import check_engine
    from pretap_realtime.check.isolated_session import IsolatedSession
    from pretap_realtime.check.recorded_parity import SETTLED_S, compare_recorded, n_unsettled

    if data is not None and recording is not None:
        raise UsageError("Expected --data or --recording, got both.")
    if recording is None and reading != ALL_EVENTS:
        raise UsageError("--markers, --cue-channel, --unit and --eeg describe a recording: give --recording too.")
    manifest = read_bundle(bundle).manifest
    engine, adapt = engine or "auto", adapt or "off"
    if engine != "auto":
        check_engine(manifest, engine)
    data = data or os.environ.get("PRETAP_DATA") or "synthetic"
    device = _device_options(jitter_ms=jitter_ms, one_sided=one_sided, n_packet=n_packet)
    with IsolatedSession() as session:
        from pretap_realtime.check.live_run import TRIAL_CUES, LiveRun

        if recording is not None:
            data = _cut_trials(session, bundle, recording, reading)
        elif data.partition(":")[0] == "synthetic" and not Path(data).exists():
            session.run("simulate", str(session.folder / "data"), "--epochs", "--seed", data.partition(":")[2] or "0")
            data = str(session.folder / "data")
        choice = ["--part", part] + (["--trials", trials] if trials else [])
        if adapt != "off" and trials:  # score takes no part of a file
            data, choice = _save_trials(session, bundle, "--data", data, *choice), []
        offline = _decide_offline(session, bundle, data, choice, adapt=adapt)
        if device and len(offline) <= n_unsettled(manifest):
            raise UsageError(
                f"With jitter or packets, trials are judged from {SETTLED_S:g} s after the start on: expected more "
                f"than {n_unsettled(manifest)} trials, got {len(offline)}."
            )
        seconds = len(offline) * manifest.n_window / manifest.sfreq_hz / speed
        click.echo(f"replaying {len(offline)} trials, {seconds:.0f} s ...", err=True)
        rate = ["--sfreq-hz", f"{manifest.sfreq_hz!r}", "--speed", f"{speed!r}"]
        folder = session.folder / "session" if device else None
        run = LiveRun(session, bundle, engine=engine, adapt=adapt, folder=folder)
        live = run.follow(data, *choice, *rate, *device, within_s=seconds + 60, on_verdict=lambda _: None)
        result: Parity | RecordedParity
        if folder is None:
            result = compare(live, offline, manifest, real_time=speed == 1.0)
        else:
            scored, recorded = session.folder / "scored.json", str(folder / "session.xdf")
            options = (*TRIAL_CUES, "--engine", engine, "--adapt", adapt)
            session.run("score", str(bundle), recorded, *options, "--json", str(scored))
            result = compare_recorded(folder, scored, manifest, n_trials=len(offline), jitter_s=jitter_ms / 1000)
    say(result.describe())
    if json_file is not None:
        write_json(json_file, result)
    if not result.passed:
        other = "offline evaluation" if folder is None else "what was recorded or from the samples that were replayed"
        raise CheckFailedError(f"The live decisions differ from {other}. The service printed:\n{live.service_output}")


def _device_options(*, jitter_ms: float, one_sided: bool, n_packet: int | None) -> list[str]:
    """Return the options of the replay that make its timestamps those of a real amplifier; none if they are exact."""
    if one_sided and not jitter_ms:
        raise UsageError("--one-sided shapes the jitter: give --jitter-ms too.")
    jitter = ["--jitter-ms", f"{jitter_ms!r}"] if jitter_ms else []
    return [*jitter, *(["--one-sided"] if one_sided else []), *(["--packet", str(n_packet)] if n_packet else [])]


def _cut_trials(session: IsolatedSession, bundle: Path, recording: Path, reading: RecordingConfig) -> str:
    """Cut the trials of a recording as in training, print their report, and return the file with them."""
    given = [("--markers", name) for name in reading.markers] + [("--eeg", pattern) for pattern in reading.eeg]
    given += [("--cue-channel", reading.cue_channel)] if reading.cue_channel else []
    given += [("--unit", reading.unit)] if reading.unit else []
    options = [text for option in given for text in option]
    return _save_trials(session, bundle, "--recording", str(recording), *options)


def _save_trials(session: IsolatedSession, bundle: Path, *source: str) -> str:
    """Write the trials of a source, print their report, and return the file with them."""
    file = str(session.folder / "trials-epo.fif")
    output = session.run("evaluate", str(bundle), *source, "--save-trials", file)
    click.echo(output.partition("wrote ")[0].rstrip(), err=True)
    return file


def _decide_offline(
    session: IsolatedSession, bundle: Path, data: str, choice: list[str], *, adapt: str
) -> NDArray[np.float64]:
    """Return the probabilities of evaluate, or with adaptation those of score, (n_trials, n_classes)."""
    if adapt == "off":
        file = session.folder / "predictions.csv"
        session.run("evaluate", str(bundle), "--data", data, *choice, "--engine", "numpy", "--predictions", str(file))
        return _read_predictions(file)
    file = session.folder / "offline.json"
    session.run("score", str(bundle), data, *choice, "--engine", "numpy", "--adapt", adapt, "--json", str(file))
    return np.array([list(row["p"].values()) for row in json.loads(file.read_bytes())["decisions"]])


def compare(live: Collected, offline: NDArray[np.float64], manifest: Manifest, *, real_time: bool) -> Parity:
    """Compare the messages of a live run with offline probabilities (n_trials, n_classes)."""
    valid = [message for message in live.verdicts if message.valid]
    trials = [int(message.cue.split("/")[1]) for message in valid]
    got = np.full_like(offline, np.nan)
    got32 = np.full_like(offline, np.nan)
    rows = dict(live.rows)
    labels_equal = True
    for trial, message in zip(trials, valid, strict=True):
        got[trial] = [message.p[name] for name in manifest.classes]
        labels_equal &= message.label == manifest.classes[int(offline[trial].argmax())]
        if message.t in rows:
            got32[trial] = rows[message.t][: len(manifest.classes)]
    n_once = len(set(trials))
    timestamp_error_s = _timestamp_error_s(live, dict(zip(trials, (m.t for m in valid), strict=True)), manifest)
    # NaN (null in the JSON) if a decision is missing, which is never within the tolerance
    difference, difference32 = (float(np.abs(each - offline).max()) for each in (got, got32))
    latencies_s = [message.sent - message.t for message in valid]
    in_order = trials == sorted(trials)
    n_extra = len(live.verdicts) - n_once
    passed = (
        n_once == len(offline) == len(live.rows) == live.n_codes
        and n_extra == 0
        and live.n_missed == 0
        and in_order
        and labels_equal
        and difference <= _TOLERANCE
        and difference32 <= _TOLERANCE
        and timestamp_error_s <= _TIMESTAMP_TOLERANCE_S
    )
    return Parity(
        n_expected=len(offline),
        n_received=len(valid),
        n_lost=len(offline) - n_once,
        n_extra=n_extra,
        n_missed_messages=live.n_missed,
        in_order=in_order,
        labels_equal=labels_equal,
        max_abs_diff=difference,
        max_abs_diff_float32=difference32,
        max_stamp_error_ms=1000 * timestamp_error_s,
        latency_ms={f"p{q}": round(1000 * percentile(latencies_s, q), 3) for q in (50, 95, 99)}
        if real_time and latencies_s
        else None,
        passed=passed,
    )


def _timestamp_error_s(live: Collected, timestamps_s: dict[int, float], manifest: Manifest) -> float:
    """Return the largest difference between verdict timestamps and the replay's end markers; NaN without either.

    If a marker was sent before this process was connected, its time follows from the first one received, because trials
    follow each other without a gap.
    """
    ends = {int(text.split("/")[1]): t_s for text, t_s in live.cues.items() if "/end" in text}
    if not ends or not timestamps_s:
        return float("nan")
    anchor, anchor_s = min(ends.items())
    trial_s = manifest.n_window / manifest.sfreq_hz
    expected = {trial: ends.get(trial, anchor_s + (trial - anchor) * trial_s) for trial in timestamps_s}
    return max(abs(timestamps_s[trial] - expected[trial]) for trial in timestamps_s)


def _read_predictions(path: Path) -> NDArray[np.float64]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return np.array([[float(p) for p in row[2:]] for row in rows[1:]])  # (n_trials, n_classes)
