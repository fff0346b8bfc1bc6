"""Puts the annotations of a file at their nearest samples, as XDF files and the live service do with markers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.epochs import TIE_SAMPLES
from pretap.recordings.recording import Event
from pretap.spelling import counted

_BOUNDARIES = ("boundary", "bad boundary", "edge boundary")  # EEGLAB's, and MNE's between joined recordings
_REPEAT_S = 2e-3  # an annotation that tells of a code may be rounded to milliseconds
_NEW_SEGMENT = "new segment"  # BrainVision's, after a pause of the recording


@dataclass(frozen=True)
class Annotation:
    """A text of the file, with its time on the time axis of the samples."""

    onset_s: float
    duration_s: float
    text: str

    @property
    def is_boundary(self) -> bool:
        """Whether the recording was paused here."""
        return self.text.lower() in _BOUNDARIES or self.text.lower().startswith(_NEW_SEGMENT)

    @property
    def is_bad(self) -> bool:
        """Whether the signal is bad for the duration of the annotation."""
        return self.text.lower().startswith("bad") and not self.is_boundary


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """When the samples of a recording were taken; the attributes are those of `Recording`."""

    sfreq_hz: float
    n_samples: int
    segments: tuple[int, ...] = (0,)
    t_s: NDArray[np.float64] | None = None

    def place(self, text: str, onset_s: float) -> Event | None:
        """Return an event at its nearest sample, or None if two segments that overlap in time both have its time."""
        if self.t_s is None:
            return self._event(text, onset_s, onset_s * self.sfreq_hz, 0, self.n_samples)
        firsts_s, lasts_s = self._spans_s
        away_s = np.maximum(np.maximum(firsts_s - onset_s, onset_s - lasts_s), 0)  # (n_segments,)
        found = []
        for k in np.flatnonzero(away_s <= max(float(away_s.min()), 1 / self.sfreq_hz)).tolist():
            start, stop = (*self.segments[k : k + 2], self.n_samples)[:2]
            times_s = self.t_s[start:stop]
            i = max(0, int(np.searchsorted(times_s, onset_s)) - 1)  # the last sample before the event
            position = start + i + (onset_s - float(times_s[i])) * self.sfreq_hz
            found.append(self._event(text, onset_s, position, start, stop))
        if sum(abs(event.late_s) * self.sfreq_hz <= 0.5 + TIE_SAMPLES for event in found) > 1:
            return None
        return min(found, key=lambda event: abs(event.late_s))

    @cached_property
    def _spans_s(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The times of the first and the last sample of each segment, (n_segments,) each."""
        assert self.t_s is not None
        stops = np.array([*self.segments[1:], self.n_samples])  # (n_segments,)
        return self.t_s[list(self.segments)], self.t_s[stops - 1]

    def _event(self, text: str, onset_s: float, position: float, start: int, stop: int) -> Event:
        nearest = math.floor(position + 0.5 + TIE_SAMPLES)  # halfway between two samples it is the later one
        sample = min(max(nearest, start), stop - 1)
        late_s = onset_s - (sample / self.sfreq_hz if self.t_s is None else float(self.t_s[sample]))
        return Event(sample, text, 0.0 if abs(late_s) * self.sfreq_hz < TIE_SAMPLES else round(late_s, 9))

    def spans(self, annotation: Annotation) -> Iterator[tuple[int, int]]:
        """Return the spans ``(start, stop)`` of samples that an annotation covers, at least the one it begins in."""
        first = annotation.onset_s * self.sfreq_hz
        last = first + annotation.duration_s * self.sfreq_hz
        if self.t_s is None:
            start, stop = math.floor(first + TIE_SAMPLES), math.ceil(last - TIE_SAMPLES)
            start, stop = max(0, start), min(self.n_samples, max(stop, start + 1))
            if start < stop:
                yield start, stop
            return
        positions = self.t_s * self.sfreq_hz
        is_covered = (positions > first - 1 + TIE_SAMPLES) & (positions < max(last, first + 1) - TIE_SAMPLES)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], is_covered, [False]])))  # starts and stops by turns
        yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def place_annotations(
    annotations: Sequence[Annotation], axis: TimeAxis, *, codes: Sequence[Annotation] = (), only_codes: bool = False
) -> tuple[tuple[Event, ...], tuple[int, ...], tuple[tuple[int, int], ...], str]:
    """Return the events, the segments, the bad spans, and a note on events that were left out.

    The `codes` of trigger channels are events too, or the only ones. Annotations that agree with each other in time and
    text tell of one event, and so does an annotation within a sample or 2 ms of a code with its text.
    """
    placed = [(each, axis.place(each.text, each.onset_s)) for each in annotations]
    segments = {event.sample for each, event in placed if event is not None and each.is_boundary} | set(axis.segments)
    bad = sorted({span for each in annotations if each.is_bad for span in axis.spans(each)})
    times_s = defaultdict(list)
    for code in sorted(codes, key=lambda each: each.onset_s):
        times_s[code.text].append(code.onset_s)
    tolerance_s = max(1 / axis.sfreq_hz, _REPEAT_S) + TIE_SAMPLES / axis.sfreq_hz

    def is_repeat(each: Annotation) -> bool:
        found = times_s.get(each.text, [])
        k = bisect_left(found, each.onset_s - tolerance_s)
        return k < len(found) and found[k] <= each.onset_s + tolerance_s

    events = [axis.place(each.text, each.onset_s) for each in codes]
    if not only_codes:
        events += [event for each, event in placed if not is_repeat(each)]
    n_lost = events.count(None)
    note = (
        f"{counted(n_lost, 'event was', 'events were')} left out: two parts of the recording have the same time."
        if n_lost
        else ""
    )
    return tuple(sorted({event for event in events if event is not None})), tuple(sorted(segments)), tuple(bad), note


def sentences(*notes: str) -> tuple[str, ...]:
    """Return the notes that are not empty, each once."""
    return tuple(dict.fromkeys(filter(None, notes)))
