"""``pretap replay``: sends a recording as a simulated live stream, with its events as markers and faults on request.

Timing is absolute: a chunk is sent when its last sample is due, and every sample has its own timestamp.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import click

from pretap.completion import complete_recipe
from pretap.config.reading import find_config, load_config
from pretap.config.recording import RecordingConfig, overridden
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap.options import (
    json_option,
    part_option,
    quiet_option,
    recording_options,
    trials_option,
    xdf_stream_option,
)
from pretap.recordings.recording import pick
from pretap.terminal import plain
from pretap_realtime.console.stopping import Stop, stop_on_signals
from pretap_realtime.console.writer import ConsoleWriter
from pretap_realtime.replay.faults import KINDS, Fault, FaultSettings, parse_schedule
from pretap_realtime.replay.injector import inject
from pretap_realtime.replay.pieces import Piece, pieces

_START_S = 0.2  # from the start to the first sample
_OTHERS_S = 1.0  # after the first reader: the others, such as a recorder, must not miss the first markers
LINGER_S = 0.5  # an outlet that closes at once loses its last samples
_CHUNK_MS = 10.0
_PAUSE_S = 1.0  # a longer break is reported


class Feed(Protocol):
    """The destination of a replay."""

    def send(self, piece: Piece, t0_s: float) -> None: ...

    def apply(self, fault: Fault) -> None: ...


def play(
    stream: Iterator[Piece | Fault],
    feed: Feed,
    *,
    speed: float,
    clock: Callable[[], float],
    stop: Stop,
    say: Callable[[str], None],
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Send each piece and apply each fault when it is due; return the number of the last sample plus one.

    `progress` is called many times a second with the position in the stream, in seconds.
    """
    t0_s = clock() + _START_S
    n_reached, last_s, is_reported = 0, 0.0, False
    for item in stream:
        if isinstance(item, Piece):
            gap_s = (float(item.t_s[0]) if item.t_s.size else item.due_s) - last_s
            if not is_reported and gap_s > _PAUSE_S and item.first_n == n_reached:  # no sample is missing
                is_reported = True
                say(f"Pause of {gap_s / speed:.1f} s: the recording has a break after {last_s:.1f} s (reported once).")
        due_s = t0_s + item.due_s / speed
        while (early_s := due_s - clock()) > 0 and not stop.is_set():
            stop.wait(min(early_s, 0.1))
            progress((clock() - t0_s) * speed)
        if stop.is_set():
            break
        if isinstance(item, Fault):
            feed.apply(item)
        else:
            feed.send(item, t0_s)
            progress((clock() - t0_s) * speed)
            n_reached, last_s = item.first_n + len(item.x_uv), max(item.due_s, 0.0)
    return n_reached


@click.command()
@click.argument("recording")
@part_option
@trials_option
@xdf_stream_option
@recording_options
@click.option(
    "--config",
    "recipe",
    metavar="RECIPE",
    shell_complete=complete_recipe,
    help="Recipe of `pretap train` whose [recording] describes the file.",
)
@click.option("--channels", metavar="NAME,NAME,...", help="Play only these channels, in this order.")
@click.option("--sfreq-hz", type=click.FloatRange(1, 1e5), help="Resample to this rate.  [default: the recording's]")
@click.option("--name", default="pretap-replay", help="Name of the EEG stream to open.")
@click.option("--stream-unit", type=click.Choice(["uV", "mV", "V"]), default="uV", help="Unit of the EEG stream.")
@click.option("--counter", metavar="LABEL", help="Add a channel with this label that counts the device's samples.")
@click.option(
    "--speed", type=click.FloatRange(0.01, 1000), default=1.0, help="Speed of the replay relative to real time."
)
@click.option(
    "--chunk", "n_chunk", type=click.IntRange(1, 100_000), help="Number of samples per chunk.  [default: 10 ms]"
)
@click.option("--loop", is_flag=True, help="Start again at the end; a marker loop/<k> announces each round.")
@click.option("--wait", is_flag=True, help="Wait until the EEG stream has a reader, and then one second more.")
@click.option(
    "--jitter-ms",
    type=click.FloatRange(0, 1e4),
    default=0.0,
    help="Standard deviation of the noise added to each timestamp, or to that of each packet.",
)
@click.option("--one-sided", is_flag=True, help="Make the jitter exponential, so that it only delays.")
@click.option(
    "--packet",
    "n_packet",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Send packets of N samples that are stamped on arrival, as many amplifiers do.",
)
@click.option(
    "--timestamps",
    type=click.Choice(["regular", "recorded"]),
    default="regular",
    help="Send the times of the samples, or the timestamps of an XDF file as they were recorded, with their jitter.",
)
@click.option(
    "--drift-ppm",
    type=click.FloatRange(-1e4, 1e4),
    default=0.0,
    help="Relative error of the device's clock; positive if it runs fast.",
)
@click.option("--drop", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE", help="Share of the chunks to lose.")
@click.option("--gap", multiple=True, metavar="WHEN[:MS]", help="Lose the samples of 200 ms.")
@click.option("--burst", multiple=True, metavar="WHEN[:MS]", help="Send nothing for 1000 ms, then everything at once.")
@click.option("--disconnect", multiple=True, metavar="WHEN[:MS]", help="Close the outlet for 2000 ms.")
@click.option(
    "--unit-flip",
    multiple=True,
    metavar="WHEN[:MS][:silent]",
    help="Close the outlet for 2000 ms and reopen it in volts; the next time, reopen it in the old unit.",
)
@click.option(
    "--shuffle-channels",
    multiple=True,
    metavar="WHEN[:MS][:silent]",
    help="Close the outlet for 2000 ms and reopen it with the channels in another order.",
)
@click.option("--nan", multiple=True, metavar="WHEN[:MS]", help="Replace a random channel by NaN for 100 ms.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed for fault injection.")
@quiet_option
@json_option("Write a report of the samples and the injected faults to this file.")
def replay(
    recording: str,
    *,
    part: Literal["train", "test"],
    speed: float,
    loop: bool,
    n_chunk: int | None,
    name: str,
    sfreq_hz: float | None,
    trials: str | None,
    xdf_stream: str | None,
    reading: RecordingConfig,
    recipe: str | None,
    channels: str | None,
    stream_unit: str,
    wait: bool,
    counter: str | None,
    n_packet: int | None,
    timestamps: Literal["regular", "recorded"],
    quiet: bool,
    json_file: Path | None,
    **faults: Any,
) -> None:
    """Play RECORDING as a simulated live EEG stream with a marker stream, called NAME-markers.

    RECORDING is a directory or file of competition trials, a recording (XDF, FIF, EDF, BDF, GDF, BrainVision, EEGLAB,
    OpenBCI's text format, and others that MNE reads), or 'synthetic' ('synthetic:SEED') for a simulated subject.

    The options from --jitter-ms to --nan inject faults. WHEN is the mean number of seconds between two faults, or
    @SECONDS for a single one. MS is the duration in milliseconds. These options can be repeated: --gap 20:300 --gap
    @12:37. With 0 ms, --unit-flip and --shuffle-channels change only the values, while the stream continues. With
    'silent', the reopened outlet keeps its old description. docs/rehearsal.md has examples.
    """
    from pretap.recordings.named import open_any
    from pretap.recordings.recording import describe_channels
    from pretap_realtime.lsl.library import local_clock
    from pretap_realtime.replay.outlets import LslFeed
    from pretap_realtime.replay.progress import Progress

    stop = stop_on_signals()
    settings = _fault_settings(n_packet=n_packet or 0, **faults)
    if n_packet and n_chunk not in (None, n_packet):
        raise UsageError(f"A packet is sent as one chunk: expected --packet or --chunk, got {n_packet} and {n_chunk}.")
    if recipe is not None:
        reading = overridden(load_config(TrainConfig, find_config(recipe)).recording, reading)
    played = open_any(recording, part=part, sfreq_hz=sfreq_hz, trials=trials, stream=xdf_stream, config=reading)
    if channels is not None:
        played = pick(played, [each.strip() for each in channels.split(",")])
    if counter is not None and counter in played.channels:
        raise UsageError(f"--counter {counter}: the recording already has a channel of this name. Choose another.")
    for line in describe_channels(played):
        click.echo(plain(line), err=True)
    console = ConsoleWriter(is_quiet=quiet)
    try:
        feed = LslFeed(
            played, name=name, speed=speed, unit=stream_unit, counter=counter, report_file=json_file, say=console.say
        )
        seconds = played.n_samples / played.sfreq_hz  # without breaks
        console.say(
            f"{name}: {len(played.channels)} channels at {played.sfreq_hz:g} Hz, {seconds:.1f} s, "
            f"{len(played.events)} markers on {name}-markers; {played.source}"
        )
        while wait and not feed.has_reader() and not stop.is_set():
            stop.wait(0.01)
        if wait:
            stop.wait(_OTHERS_S)
        n_chunk = n_packet or n_chunk or max(1, round(_CHUNK_MS * played.sfreq_hz / 1000))
        cut = pieces(played, n_chunk=n_chunk, loop=loop, as_recorded=timestamps == "recorded")
        stream = inject(cut, settings, sfreq_hz=played.sfreq_hz, channels=played.channels, unit=stream_unit)
        progress = Progress(played, feed.report, speed=speed, loop=loop, clock=local_clock, show=console.status)
        play(stream, feed, speed=speed, clock=local_clock, stop=stop, say=console.say, progress=progress)
        if json_file is not None or not stop.is_set():  # the report counts samples that a reader could receive
            time.sleep(LINGER_S)
        feed.close()
    finally:
        console.close()


def _fault_settings(
    *,
    jitter_ms: float,
    one_sided: bool,
    n_packet: int,
    drift_ppm: float,
    drop: float,
    seed: int,
    **when: tuple[str, ...],
) -> FaultSettings:
    schedules = tuple(parse_schedule(kind, text) for kind in KINDS for text in when[kind.replace("-", "_")])
    return FaultSettings(
        jitter_s=jitter_ms / 1000,
        n_packet=n_packet,
        is_one_sided=one_sided,
        drift_ppm=drift_ppm,
        drop=drop,
        schedules=schedules,
        seed=seed,
    )
