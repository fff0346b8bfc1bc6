"""``pretap replay``: a recording as a simulated live stream, with its events as markers.

The schedule is absolute: a chunk is pushed when its last sample is due, and every sample carries its own stamp, ``t0 +
n / fs``, or where the recording has stamps of its own, ``t0`` plus its distance from the first: breaks are pauses.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Literal, Protocol

import click
import numpy as np
from numpy.typing import NDArray

from pretap.channels import microvolts_per
from pretap.recordings.recording import Recording, pick
from pretap_realtime.stopping import Stop, stop_on_signals

__all__ = ["Feed", "Mark", "Piece", "pieces", "play", "replay"]

_START_S = 0.2  # the first sample is due so long after the start
_OTHERS_S = 1.0  # a recorder may be there before the service: nobody shall miss the first markers
_LINGER_S = 0.5  # an outlet that closes at once takes its last samples with it
_CHUNK_MS = 10.0
_UNITS = {"uV": "microvolts", "mV": "millivolts", "V": "volts"}
_PAUSE_S = 1.0  # a break that is worth a word


@dataclass(frozen=True)
class Mark:
    """A marker, `t_s` seconds after the stream's start."""

    t_s: float
    text: str


@dataclass(frozen=True, eq=False)
class Piece:
    """What is pushed together: samples, and before them the markers that lie among them; or one marker alone.

    `x_uv` (n, n_channels) are samples first_n .. first_n + n - 1 of the stream, `t_s` (n,) seconds after its start.
    """

    first_n: int
    x_uv: NDArray[np.float32]
    t_s: NDArray[np.float64]
    markers: tuple[Mark, ...]

    @property
    def due_s(self) -> float:
        return float(self.t_s[-1]) if self.t_s.size else self.markers[-1].t_s


def pieces(recording: Recording, *, n_chunk: int, loop: bool) -> Iterator[Piece]:
    """Cut a recording into chunks; with `loop` for ever, each seam announced by ``loop/<k>`` on its first sample.

    Sample numbers and times count on across seams. No chunk spans a break. A loop leaves out the markers before its
    first sample and after its last: they would fall into another turn.
    """
    runs = list(pairwise([*recording.segments, recording.n_samples]))
    for turn in count() if loop else range(1):
        times = _Times(recording, turn)
        for start, stop in runs:
            events = [event for event in recording.events if start <= event.sample < stop]
            marks = sorted((Mark(times.of(e.sample) + e.late_s, e.text) for e in events), key=lambda mark: mark.t_s)
            if loop:
                marks = [mark for mark in marks if times.first_s <= mark.t_s <= times.last_s]
            if turn and start == 0:
                marks.insert(0, Mark(times.of(0), f"loop/{turn}"))
            yield from _run(recording, times, marks, start=start, stop=stop, n_chunk=n_chunk)


class _Times:
    """When the samples of one turn are due, in seconds after the stream's start."""

    def __init__(self, recording: Recording, turn: int) -> None:
        self._t_s, self._sfreq_hz = recording.t_s, recording.sfreq_hz
        self.offset = turn * recording.n_samples
        if self._t_s is not None:
            self._start_s = turn * (self._t_s[-1] - self._t_s[0] + 1 / self._sfreq_hz) - self._t_s[0]
        self.first_s, self.last_s = self.of(0), self.of(recording.n_samples - 1)

    def of(self, sample: int) -> float:
        return float(self.between(sample, sample + 1)[0])

    def between(self, start: int, stop: int) -> NDArray[np.float64]:
        if self._t_s is None:
            return np.arange(self.offset + start, self.offset + stop) / self._sfreq_hz
        t_s: NDArray[np.float64] = self._t_s[start:stop] + self._start_s
        return t_s


def _run(
    recording: Recording, times: _Times, marks: Sequence[Mark], *, start: int, stop: int, n_chunk: int
) -> Iterator[Piece]:
    """Cut an unbroken run of samples; markers more than a sample before it, or after it, go out alone."""
    waiting = deque(marks)

    def alone(n: int, *, before_s: float) -> Iterator[Piece]:
        while waiting and waiting[0].t_s < before_s:
            yield Piece(times.offset + n, recording.read(n, n), np.empty(0), (waiting.popleft(),))

    for first in range(start, stop, n_chunk):
        last = min(first + n_chunk, stop)
        t_s = times.between(first, last)  # (last - first,)
        yield from alone(first, before_s=float(t_s[0]) - 1 / recording.sfreq_hz)
        among = []
        while waiting and waiting[0].t_s <= t_s[-1]:
            among.append(waiting.popleft())
        yield Piece(times.offset + first, recording.read(first, last), t_s, tuple(among))
    yield from alone(stop, before_s=math.inf)


class Feed(Protocol):
    """Where a replay goes."""

    def push(self, piece: Piece, t0_s: float) -> None: ...


def play(
    stream: Iterator[Piece],
    feed: Feed,
    *,
    speed: float,
    clock: Callable[[], float],
    stop: Stop,
    say: Callable[[str], None],
) -> int:
    """Push each piece when its last sample is due; gives the number of samples pushed."""
    t0_s = clock() + _START_S
    n_pushed, last_s, told = 0, 0.0, False
    for piece in stream:
        gap_s = (float(piece.t_s[0]) if piece.t_s.size else piece.due_s) - last_s
        if not told and gap_s > _PAUSE_S:
            told = True
            say(f"nothing for {gap_s / speed:.1f} s: the recording has a break after {last_s:.1f} s (told once)")
        due_s = t0_s + piece.due_s / speed
        while (early_s := due_s - clock()) > 0 and not stop.is_set():
            stop.wait(min(early_s, 0.1))
        if stop.is_set():
            break
        feed.push(piece, t0_s)
        n_pushed, last_s = piece.first_n + len(piece.x_uv), max(piece.due_s, 0.0)
    return n_pushed


@click.command(short_help="Play a recording as a live LSL stream.")
@click.argument("recording")
@click.option("--part", type=click.Choice(["train", "test"]), default="test", show_default=True, help="Of trial files.")
@click.option("--speed", type=click.FloatRange(0.01, 1000), default=1.0, show_default=True)
@click.option("--loop", is_flag=True, help="Start again at the end; a marker loop/<k> announces the seam.")
@click.option("--chunk", "n_chunk", type=click.IntRange(1, 100_000), help="Samples pushed together; default: 10 ms.")
@click.option("--name", default="pretap-replay", show_default=True, help="Of the EEG stream; markers: NAME-markers.")
@click.option("--sfreq-hz", type=click.FloatRange(1, 1e5), help="Resample to this rate; default: as it is.")
@click.option("--trials", metavar="START:STOP", help="Play only these trials, as Python counts.")
@click.option("--stream", metavar="NAME_OR_ID", help="Play this stream of an XDF file that has several.")
@click.option("--channels", metavar="NAME,NAME,...", help="Play these channels only, in this order.")
@click.option("--unit", type=click.Choice(list(_UNITS)), default="uV", show_default=True, help="What the stream is in.")
@click.option("--wait", is_flag=True, help="Start a second after the EEG stream has a reader.")
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
    stream: str | None,
    channels: str | None,
    unit: str,
    wait: bool,
) -> None:
    """Play RECORDING as a simulated live EEG stream with a marker stream.

    RECORDING is a directory or file of competition trials, anything MNE reads (FIF, EDF, BDF, BrainVision, ...), an XDF
    file, or 'synthetic' ('synthetic:SEED') for a simulated subject.
    """
    from pretap_realtime.lsl import local_clock
    from pretap_realtime.sources import open_any

    stop = stop_on_signals()
    played = open_any(recording, part=part, sfreq_hz=sfreq_hz, trials=trials, stream=stream)
    if channels is not None:
        played = pick(played, [each.strip() for each in channels.split(",")])
    feed = _LslFeed(played, name=name, speed=speed, unit=unit)
    seconds = played.n_samples / played.sfreq_hz  # of samples: breaks come on top
    click.echo(
        f"{name}: {len(played.channels)} channels at {played.sfreq_hz:g} Hz, {seconds:.1f} s, "
        f"{len(played.events)} markers on {name}-markers; {played.source}",
        err=True,
    )
    while wait and not feed.has_reader() and not stop.is_set():
        stop.wait(0.01)
    if wait:
        stop.wait(_OTHERS_S)
    cut = pieces(played, n_chunk=n_chunk or max(1, round(_CHUNK_MS * played.sfreq_hz / 1000)), loop=loop)
    n_pushed = play(cut, feed, speed=speed, clock=local_clock, stop=stop, say=_say)
    if not stop.is_set():
        stop.wait(_LINGER_S)
    click.echo(f"{name}: {n_pushed} samples and {feed.n_markers} markers sent", err=True)


class _LslFeed:
    """An EEG outlet and its marker outlet."""

    def __init__(self, recording: Recording, *, name: str, speed: float, unit: str) -> None:
        from pretap_realtime.lsl import Outlet

        facts = {"simulated": "true", "speed": f"{speed:g}", "source": recording.source}
        if recording.subject:
            facts["subject/id"] = recording.subject
        self.n_markers = 0
        self._per_uv = 1 / microvolts_per(unit)
        self._eeg = Outlet(
            name,
            "EEG",
            labels=recording.channels,
            format="float32",
            sfreq_hz=recording.sfreq_hz,
            unit=_UNITS[unit],
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
        for mark in piece.markers:  # first, as in a lab: an event is known before an amplifier delivers its samples
            self._markers.push([mark.text], t0_s + mark.t_s)
            self.n_markers += 1
        if piece.t_s.size:
            x = piece.x_uv if self._per_uv == 1.0 else piece.x_uv * np.float32(self._per_uv)
            self._eeg.push_chunk(x, t0_s + piece.t_s)


def _say(line: str) -> None:
    click.echo(line, err=True)
