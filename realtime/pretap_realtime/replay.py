"""``pretap replay``: a recording as a simulated live stream, with its events as markers.

The schedule is absolute: a chunk is pushed when its last sample is due, and every sample carries its own stamp
``t0 + n / fs``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import click
import numpy as np
from numpy.typing import NDArray

from pretap.recordings.recording import Event, Recording

__all__ = ["Feed", "Piece", "pieces", "play", "replay"]

_START_S = 0.2  # the first sample is due so long after the start
_LINGER_S = 0.5  # an outlet that closes at once takes its last samples with it
_CHUNK_MS = 10.0


@dataclass(frozen=True, eq=False)
class Piece:
    """What is pushed together: samples first_n .. first_n + len(x_uv) - 1 of the stream, and the markers among them."""

    first_n: int
    x_uv: NDArray[np.float32]
    markers: tuple[Event, ...]


def pieces(recording: Recording, *, n_chunk: int, loop: bool) -> Iterator[Piece]:
    """Cut a recording into chunks; with `loop` for ever, each seam announced by ``loop/<k>`` on its first sample.

    Sample numbers and event positions count on across seams.
    """
    turn, offset = 0, 0
    while True:
        events = [Event(0, f"loop/{turn}"), *recording.events] if turn else list(recording.events)
        next_event = 0
        for start in range(0, recording.n_samples, n_chunk):
            stop = min(start + n_chunk, recording.n_samples)
            first = next_event
            while next_event < len(events) and events[next_event].sample < stop:
                next_event += 1
            markers = tuple(Event(e.sample + offset, e.text) for e in events[first:next_event])
            yield Piece(offset + start, recording.read(start, stop), markers)
        if not loop:
            return
        turn += 1
        offset += recording.n_samples


class Feed(Protocol):
    """Where a replay goes."""

    def push(self, piece: Piece, t0_s: float) -> None: ...


def play(
    stream: Iterator[Piece],
    feed: Feed,
    *,
    sfreq_hz: float,
    speed: float,
    clock: Callable[[], float],
    stop: threading.Event,
) -> int:
    """Push each piece when its last sample is due; gives the number of samples pushed."""
    t0_s = clock() + _START_S
    n_pushed = 0
    for piece in stream:
        last_n = piece.first_n + len(piece.x_uv) - 1
        due_s = t0_s + last_n / sfreq_hz / speed
        while (early_s := due_s - clock()) > 0 and not stop.is_set():
            stop.wait(min(early_s, 0.1))
        if stop.is_set():
            break
        feed.push(piece, t0_s)
        n_pushed = last_n + 1
    return n_pushed


@click.command(short_help="Play a recording as a live LSL stream.")
@click.argument("recording")
@click.option("--part", type=click.Choice(["train", "test"]), default="test", show_default=True, help="Of trial files.")
@click.option("--speed", type=click.FloatRange(0.01, 1000), default=1.0, show_default=True)
@click.option("--loop", is_flag=True, help="Start again at the end; a marker loop/<k> announces the seam.")
@click.option("--chunk", "n_chunk", type=click.IntRange(1, 100_000), help="Samples pushed together; default: 10 ms.")
@click.option("--name", default="pretap-replay", show_default=True, help="Of the EEG stream; markers: NAME-markers.")
@click.option("--sfreq-hz", type=click.FloatRange(1, 1e5), help="Resample trials to this rate; default: as they are.")
@click.option("--trials", metavar="START:STOP", help="Play only these trials, as Python counts.")
@click.option("--wait", is_flag=True, help="Start when the EEG stream has a reader.")
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
    wait: bool,
) -> None:
    """Play RECORDING as a simulated live EEG stream with a marker stream.

    RECORDING is a directory or file of competition trials, anything MNE reads (FIF, EDF, BDF, BrainVision, ...), an XDF
    file, or 'synthetic' ('synthetic:SEED') for a simulated subject.
    """
    from pretap_realtime.app import stop_on_signals
    from pretap_realtime.lsl import local_clock
    from pretap_realtime.sources import open_any

    stop = stop_on_signals()
    played = open_any(recording, part=part, sfreq_hz=sfreq_hz, trials=trials)
    feed = _LslFeed(played, name=name, speed=speed)
    seconds = played.n_samples / played.sfreq_hz
    click.echo(
        f"{name}: {len(played.channels)} channels at {played.sfreq_hz:g} Hz, {seconds:.1f} s, "
        f"{len(played.events)} markers on {name}-markers; {played.source}",
        err=True,
    )
    while wait and not feed.has_reader() and not stop.is_set():
        stop.wait(0.01)
    stream = pieces(played, n_chunk=n_chunk or max(1, round(_CHUNK_MS * played.sfreq_hz / 1000)), loop=loop)
    n_pushed = play(stream, feed, sfreq_hz=played.sfreq_hz, speed=speed, clock=local_clock, stop=stop)
    if not stop.is_set():
        stop.wait(_LINGER_S)
    click.echo(f"{name}: {n_pushed} samples and {feed.n_markers} markers sent", err=True)


class _LslFeed:
    """An EEG outlet and its marker outlet."""

    def __init__(self, recording: Recording, *, name: str, speed: float) -> None:
        from pretap_realtime.lsl import Outlet

        facts = {"simulated": "true", "speed": f"{speed:g}", "source": recording.source}
        if recording.subject:
            facts["subject/id"] = recording.subject
        self._sfreq_hz = recording.sfreq_hz
        self.n_markers = 0
        self._eeg = Outlet(
            name,
            "EEG",
            labels=recording.channels,
            format="float32",
            sfreq_hz=recording.sfreq_hz,
            unit="microvolts",
            source_id=f"pretap-replay:{name}",
            facts=facts,
        )
        self._markers = Outlet(
            f"{name}-markers",
            "Markers",
            labels=["marker"],
            format="string",
            source_id=f"pretap-replay:{name}-markers",
            facts=facts,
        )

    def has_reader(self) -> bool:
        return self._eeg.has_consumers()

    def push(self, piece: Piece, t0_s: float) -> None:
        for event in piece.markers:  # first, as in a lab: an event is known before an amplifier delivers its samples
            self._markers.push([event.text], t0_s + event.sample / self._sfreq_hz)
            self.n_markers += 1
        n = np.arange(piece.first_n, piece.first_n + len(piece.x_uv))
        self._eeg.push_chunk(piece.x_uv, t0_s + n / self._sfreq_hz)
