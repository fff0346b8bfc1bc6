"""Report of the trials cut from recordings: counts of events, trials and dropped events. Used by `cut_trials`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pretap.recordings.recording import Recording, describe_left_out
from pretap.spelling import counted

_MAX_NAMES = 5  # in one line
_MAX_MARKERS = 30  # in an error


@dataclass(frozen=True)
class FileReport:
    """Counts of one recording: events and trials of each class, and dropped events as (reason, count).

    `left_out` and `notes` are those of `Recording`.
    """

    source: str
    n_events: tuple[int, ...]
    n_trials: tuple[int, ...]
    dropped: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialReport:
    """Counts of all recordings of one training or evaluation.

    `channels` are the channels of the trials; `dropped_channels` and `replaced_channels` hold (name, reason).
    `sfreq_hz` is the rate of the trials, and `recorded_hz` the rate of each file. `warnings` are sentences about losses
    that make a decoder doubtful.
    """

    classes: tuple[str, ...]
    window_ms: tuple[float, float]
    n_window: int
    sfreq_hz: float
    recorded_hz: tuple[float, ...]
    channels: tuple[str, ...]
    dropped_channels: tuple[tuple[str, str], ...]
    replaced_channels: tuple[tuple[str, str], ...]
    files: tuple[FileReport, ...]
    warnings: tuple[str, ...] = ()

    @property
    def n_trials(self) -> tuple[int, ...]:
        """The number of trials of each class, over all files."""
        return tuple(sum(file.n_trials[index] for file in self.files) for index in range(len(self.classes)))

    def describe(self) -> str:
        """Return the report in a few lines."""
        start_ms, end_ms = self.window_ms
        lines = [
            f"{counted(sum(self.n_trials), 'trial')} ({describe_counts(self.n_trials, self.classes)}) of "
            f"{self.n_window} samples, {start_ms:g} to {end_ms:g} ms from the event, {self.sfreq_hz:g} Hz",
            f"uses {counted(len(self.channels), 'channel')}: {', '.join(self.channels)}",
        ]
        lines += [f"channel dropped: {name}, {why}" for name, why in self.dropped_channels]
        lines += [f"channel replaced by its neighbours: {name}, {why}" for name, why in self.replaced_channels]
        for file, recorded_hz in zip(self.files, self.recorded_hz, strict=True):
            n_events = describe_counts(file.n_events, self.classes)
            line = f"{file.source}: {sum(file.n_trials)} of {counted(sum(file.n_events), 'event')} ({n_events})"
            if recorded_hz != self.sfreq_hz:
                line += f", resampled from {recorded_hz:g} Hz"
            if file.dropped:
                line += "; dropped: " + ", ".join(f"{n} {why}" for why, n in file.dropped)
            lines += [line, *describe_left_out(file.left_out), *file.notes]
        return "\n".join([*lines, *(f"WARNING: {warning}" for warning in self.warnings)])


def describe_counts(counts: Iterable[int], classes: Sequence[str]) -> str:
    """Join the counts of classes as in ``12 left, 11 right``."""
    return ", ".join(f"{n} {name}" for n, name in zip(counts, classes, strict=True))


def first_names(names: Sequence[str]) -> str:
    """Join the first few names, and count the others."""
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def list_markers(recordings: Sequence[Recording]) -> str:
    """Return the marker texts of recordings with their counts, the commonest first."""
    counts = Counter(event.text for recording in recordings for event in recording.events)
    if not counts:
        return "no markers at all"
    rows = [f"{text!r} ({n})" for text, n in counts.most_common(_MAX_MARKERS)]
    more = len(counts) - len(rows)
    return ", ".join(rows) + (f" and {counted(more, 'other text')}" if more > 0 else "")
