"""The labels and the rate of a recording that `RecordingConfig` replaces. Used by the readers of every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.reading.placement import sentences
from pretap.recordings.recording import Recording


def replace_labels(found: Sequence[str], config: RecordingConfig, *, source: str) -> list[str]:
    """Return the configured labels, or else those of the file; labels that occur twice get a number, as in MNE.

    Raises
    ------
    DataError
        If the configuration has more or fewer labels than the file has channels.
    """
    labels = list(config.channels) or [label or f"ch{i}" for i, label in enumerate(found, start=1)]
    if len(labels) != len(found):
        raise DataError(
            f"{source} has {len(found)} channels, but [recording] channels names {len(labels)}. Name all of them, in "
            f"the file's order; it has {', '.join(found[:40])}."
        )
    n_same, seen = Counter(labels), Counter[str]()
    for i, label in enumerate(labels):
        if n_same[label] > 1:
            labels[i] = f"{label}-{seen[label]}"
            seen[label] += 1
    return labels


def describe_rate(sfreq_hz: float | None, found_hz: float) -> str:
    """Return a sentence if the configured rate replaces another one of the file; otherwise nothing."""
    if sfreq_hz is None or not found_hz or sfreq_hz == found_hz:
        return ""
    return f"The rate is set to {sfreq_hz:g} Hz; the file says {found_hz:g} Hz."


def replace_rate(recording: Recording, sfreq_hz: float | None) -> Recording:
    """Return the recording with the configured rate: its times are stretched, and events stay at their samples."""
    if sfreq_hz is None or sfreq_hz == recording.sfreq_hz:
        return recording
    factor = recording.sfreq_hz / sfreq_hz
    return replace(
        recording,
        sfreq_hz=sfreq_hz,
        events=tuple(replace(event, late_s=event.late_s * factor) for event in recording.events),
        t_s=None if recording.t_s is None else recording.t_s * factor,
        notes=sentences(*recording.notes, describe_rate(sfreq_hz, recording.sfreq_hz)),
    )
