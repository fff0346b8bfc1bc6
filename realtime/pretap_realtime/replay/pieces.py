"""Pieces of a recording that are sent together: samples with timestamps, and the markers among them. Used by `command`.

Timestamps are ``n / fs`` after the stream's start. If the recording has timestamps, they keep their distance from the
first, so that breaks become pauses.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.recording import Recording

_READ_S = 1.0  # per read: MNE opens the file each time, which takes half a millisecond from the service


@dataclass(frozen=True)
class Mark:
    """A marker, `t_s` seconds after the stream's start."""

    t_s: float
    text: str


@dataclass(frozen=True, eq=False)
class Piece:
    """Samples that are sent together, after the markers that lie among them; or a single marker.

    `x_uv` (n, n_channels) are the samples first_n .. first_n + n - 1 of the stream, and `t_s` (n,) their timestamps in
    seconds after its start. `held_until_s` is set if the piece is sent later than its last sample is due.
    """

    first_n: int
    x_uv: NDArray[np.float32]
    t_s: NDArray[np.float64]
    markers: tuple[Mark, ...]
    held_until_s: float | None = None

    @property
    def due_s(self) -> float:
        if self.held_until_s is not None:
            return self.held_until_s
        return float(self.t_s[-1]) if self.t_s.size else self.markers[-1].t_s


def pieces(recording: Recording, *, n_chunk: int, loop: bool, as_recorded: bool = False) -> Iterator[Piece]:
    """Cut a recording into chunks; with `loop`, repeat it forever with a marker ``loop/<k>`` on each first sample.

    Timestamps are the times of the samples or, `as_recorded`, those of the recording with their jitter. Sample numbers
    and times keep counting from one round to the next. No chunk spans a break. A loop omits the markers before its
    first sample and after its last, which would fall into another round.
    """
    runs = list(pairwise([*recording.segments, recording.n_samples]))
    for number in count() if loop else range(1):
        times = _Times(recording, number, as_recorded=as_recorded)
        for start, stop in runs:
            events = [event for event in recording.events if start <= event.sample < stop]
            marks = sorted((Mark(times.of(e.sample) + e.late_s, e.text) for e in events), key=lambda mark: mark.t_s)
            if loop:
                marks = [mark for mark in marks if times.first_s <= mark.t_s <= times.last_s]
            if number and start == 0:
                marks.insert(0, Mark(times.of(0), f"loop/{number}"))
            yield from _run(recording, times, marks, start=start, stop=stop, n_chunk=n_chunk)


class _Times:
    """The times at which the samples of one round are due, in seconds after the stream's start."""

    def __init__(self, recording: Recording, number: int, *, as_recorded: bool) -> None:
        self._recorded_s = recording.recorded_s if as_recorded else None
        self._t_s, self._sfreq_hz = recording.t_s, recording.sfreq_hz
        self.offset = number * recording.n_samples
        if self._t_s is not None:
            self._start_s = number * (self._t_s[-1] - self._t_s[0] + 1 / self._sfreq_hz) - self._t_s[0]
        self.first_s, self.last_s = self.of(0), self.of(recording.n_samples - 1)

    def of(self, sample: int) -> float:
        return float(self.between(sample, sample + 1)[0])

    def between(self, start: int, stop: int) -> NDArray[np.float64]:
        if self._t_s is None:
            return np.arange(self.offset + start, self.offset + stop) / self._sfreq_hz
        t_s: NDArray[np.float64] = self._t_s[start:stop] + self._start_s
        return t_s

    def timestamps(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the timestamps to send."""
        return self.between(start, stop) if self._recorded_s is None else self._recorded_s[start:stop] + self._start_s


def _run(
    recording: Recording, times: _Times, marks: Sequence[Mark], *, start: int, stop: int, n_chunk: int
) -> Iterator[Piece]:
    """Cut a run of samples without a break; markers more than one sample before or after it are sent alone."""
    waiting = deque(marks)

    def alone(n: int, *, before_s: float) -> Iterator[Piece]:
        while waiting and waiting[0].t_s < before_s:
            yield Piece(times.offset + n, recording.read(n, n), np.empty(0), (waiting.popleft(),))

    n_read = n_chunk * max(1, round(_READ_S * recording.sfreq_hz / n_chunk))
    for first in range(start, stop, n_chunk):
        last = min(first + n_chunk, stop)
        at = (first - start) % n_read  # index into the samples that were read
        if not at:
            x_uv = recording.read(first, min(first + n_read, stop))  # (n_read, n_channels)
        t_s = times.timestamps(first, last)  # (last - first,)
        yield from alone(first, before_s=float(t_s[0]) - 1 / recording.sfreq_hz)
        among = []
        while waiting and waiting[0].t_s <= t_s[-1]:
            among.append(waiting.popleft())
        yield Piece(times.offset + first, x_uv[at : at + last - first], t_s, tuple(among))
    yield from alone(stop, before_s=math.inf)
