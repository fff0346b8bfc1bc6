"""The channels of the EEG stream of an XDF file, and its rate. Used by `open_xdf` and `find_events`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.channel_types import choose_eeg_channels
from pretap.recordings.reading.units import uv_factors
from pretap.recordings.xdf.recorded_stream import RecordedStream
from pretap.recordings.xdf.sample_times import SampleTimes
from pretap.signal.channels import unknown_channel

_RATE_TOLERANCE = 0.01  # beyond it, the measured rate replaces the nominal one


def eeg_channels(
    eeg: RecordedStream, path: Path, *, config: RecordingConfig
) -> tuple[list[int], tuple[str, ...], NDArray[np.float32], str, tuple[tuple[str, str], ...]]:
    """Return the columns that are EEG, their names, their factors to microvolts, and a note on their unit.

    The last item has the channels that are left out, as (name, reason).
    """
    info = eeg.channel_info
    columns, left_out = choose_eeg_channels(
        [each["label"] for each in info],
        types=[each["type"] for each in info],
        units=[each["unit"] for each in info],
        source=str(path),
        read=eeg.column,
        eeg=config.eeg,
        without=config.cue_channel,
    )
    names = tuple(info[i]["label"] for i in columns)
    factors, unit_note = uv_factors(
        [info[i]["unit"] for i in columns],
        names,
        unit=config.unit,
        read=lambda start, stop: eeg.read(start, min(stop, len(eeg.t_s)))[:, columns],
        n_samples=len(eeg.t_s),
        sfreq_hz=eeg.sfreq_hz,
        source=f"{path}: {eeg.name!r}",
    )
    return columns, names, factors, unit_note, left_out


def column_of(eeg: RecordedStream, label: str, path: Path) -> int:
    """Return the column of the channel with this label."""
    labels = [each["label"] for each in eeg.channel_info]
    if label not in labels:
        raise DataError(f"{path}: {eeg.name!r} {unknown_channel(label, labels)}")
    if labels.count(label) > 1:
        raise DataError(f"{path}: {eeg.name!r} has {labels.count(label)} channels {label!r}: expected one.")
    return labels.index(label)


def rate_hz(eeg: RecordedStream, times: SampleTimes) -> float:
    """Return the nominal rate, or the measured one if it differs by more than 1 %."""
    measured = times.rate_hz
    if measured is None or abs(measured / eeg.sfreq_hz - 1) <= _RATE_TOLERANCE:
        return eeg.sfreq_hz
    return measured
