"""What became of the events of recordings on their way to trials, in words and as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pretap.recordings.recording import Recording

__all__ = ["FileReport", "TrialReport", "list_markers", "named"]

_N_NAMED = 5  # channels named in one line
_N_LISTED = 30  # marker texts listed in an error


@dataclass(frozen=True)
class FileReport:
    """One recording: how many events and trials of each class, and how many events were dropped for which reason."""

    source: str
    n_events: tuple[int, ...]
    n_trials: tuple[int, ...]
    dropped: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TrialReport:
    """All recordings of one training or evaluation.

    `channels` are those of the trials; `dropped_channels` and `replaced_channels` hold (name, reason). `sfreq_hz` is
    the rate of the trials, `recorded_hz` that of each file.
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

    @property
    def n_trials(self) -> tuple[int, ...]:
        """Trials of each class, over all files."""
        return tuple(sum(file.n_trials[index] for file in self.files) for index in range(len(self.classes)))

    def words(self) -> str:
        """Say it in a few lines."""
        start_ms, end_ms = self.window_ms
        lines = [
            f"{sum(self.n_trials)} trials ({_counted(self.n_trials, self.classes)}) of {self.n_window} samples, "
            f"{start_ms:g} to {end_ms:g} ms from the event, {self.sfreq_hz:g} Hz, {len(self.channels)} channels"
        ]
        lines += [f"channel dropped: {name}, {why}" for name, why in self.dropped_channels]
        lines += [f"channel replaced by its neighbours: {name}, {why}" for name, why in self.replaced_channels]
        for file, recorded_hz in zip(self.files, self.recorded_hz, strict=True):
            n_events = _counted(file.n_events, self.classes)
            line = f"{file.source}: {sum(file.n_trials)} of {sum(file.n_events)} events ({n_events})"
            if recorded_hz != self.sfreq_hz:
                line += f", resampled from {recorded_hz:g} Hz"
            if file.dropped:
                line += "; dropped: " + ", ".join(f"{n} {why}" for why, n in file.dropped)
            lines.append(line)
        return "\n".join(lines)


def _counted(counts: Sequence[int], classes: Sequence[str]) -> str:
    return ", ".join(f"{n} {name}" for n, name in zip(counts, classes, strict=True))


def named(names: Sequence[str]) -> str:
    """Join a few names; of many, the first ones."""
    more = len(names) - _N_NAMED
    return ", ".join(names[:_N_NAMED]) + (f" and {more} more" if more > 0 else "")


def list_markers(recordings: Sequence[Recording]) -> str:
    """List the marker texts of recordings with their counts, the commonest first."""
    counts = Counter(event.text for recording in recordings for event in recording.events)
    if not counts:
        return "no markers at all"
    rows = [f"{text!r} ({n})" for text, n in counts.most_common(_N_LISTED)]
    more = len(counts) - len(rows)
    return ", ".join(rows) + (f" and {more} other texts" if more > 0 else "")
