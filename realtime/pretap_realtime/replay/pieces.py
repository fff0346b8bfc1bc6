"""A recording cut into what is pushed together: samples with their stamps, and the markers among them.

The stamps are ``n / fs`` after the stream's start, or where the recording has stamps of its own, its distance from the
first: breaks are pauses.
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

__all__ = ["Mark", "Piece", "pieces"]

_READ_S = 1.0  # at a time: a file of MNE is opened for each read, half a millisecond in which the service decides


@dataclass(frozen=True)
class Mark:
    """A marker, `t_s` seconds after the stream's start."""

    t_s: float
    text: str


@dataclass(frozen=True, eq=False)
class Piece:
    """What is pushed together: samples, and before them the markers that lie among them; or one marker alone.

    `x_uv` (n, n_channels) are samples first_n .. first_n + n - 1 of the stream, `t_s` (n,) seconds after its start.
    `pushed_s` is when it is pushed, where that is not when its last sample is due.
    """

    first_n: int
    x_uv: NDArray[np.float32]
    t_s: NDArray[np.float64]
    markers: tuple[Mark, ...]
    pushed_s: float | None = None

    @property
    def due_s(self) -> float:
        if self.pushed_s is not None:
            return self.pushed_s
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

    n_read = n_chunk * max(1, round(_READ_S * recording.sfreq_hz / n_chunk))
    for first in range(start, stop, n_chunk):
        last = min(first + n_chunk, stop)
        at = (first - start) % n_read  # in what was read
        if not at:
            x_uv = recording.read(first, min(first + n_read, stop))  # (n_read, n_channels)
        t_s = times.between(first, last)  # (last - first,)
        yield from alone(first, before_s=float(t_s[0]) - 1 / recording.sfreq_hz)
        among = []
        while waiting and waiting[0].t_s <= t_s[-1]:
            among.append(waiting.popleft())
        yield Piece(times.offset + first, x_uv[at : at + last - first], t_s, tuple(among))
    yield from alone(stop, before_s=math.inf)
