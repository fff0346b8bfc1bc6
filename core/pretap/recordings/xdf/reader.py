"""Opens an XDF file as a `Recording`, and notes in its source what a user should know of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import ALL_EVENTS, RecordingConfig
from pretap.errors import DataError
from pretap.recordings.live_clocks import LiveClocks
from pretap.recordings.recording import Event, Recording
from pretap.recordings.xdf.eeg import choose_eeg, column_of, eeg_channels, rate_hz
from pretap.recordings.xdf.load import LoadedFile, load_streams
from pretap.recordings.xdf.markers import find_events
from pretap.recordings.xdf.recorded_stream import OUR_MESSAGE, RecordedStream
from pretap.recordings.xdf.sample_times import SampleTimes, is_regular, sample_times

_MAX_APART_S = 3600.0  # beyond it, markers and EEG are not on one clock
_LARGE_JITTER_S = 0.02  # worth a note


def open_xdf(
    path: Path,
    *,
    stream: str | None = None,
    channel: str | None = None,
    config: RecordingConfig = ALL_EVENTS,
    clocks: LiveClocks | None = None,
) -> Recording:
    """Open the EEG stream of an XDF file with its markers, or with the codes of a trigger channel of the EEG stream.

    With `channel`, open only the channel of that name instead, whatever its type and in its own unit: a photodiode or
    another auxiliary channel.

    pyxdf brings the timestamps to one clock, and `sample_times` turns them into the times of samples. They are in `t_s`
    unless they are ``n / sfreq_hz``, `recorded_s` has the timestamps themselves, and `segments` their breaks. Invalid
    timestamps (NaN) are extrapolated from those before them. If the measured rate differs by more than 1 % from the
    nominal one, it replaces it. Every marker becomes an event of its nearest sample, with its exact distance in
    `late_s`; `source` counts those that are more than a sample away. A truncated file is read up to its last complete
    chunk.

    Without a choice in `config`, all marker streams of texts are read or, if there are none, those of numbers. The
    streams that `pretap serve` sends are never among them.
    With the `clocks` of the live session, timestamps stay on the clock of the EEG stream, and events are the cues of
    that session's cue stream, placed as they were live.

    Raises
    ------
    DataError
        If the file is damaged, if no stream or several streams could be the EEG, or if two marker streams may have the
        same events; the message lists the streams.
    """
    file = load_streams(path, synchronize=clocks is None)
    eeg = choose_eeg(file.streams, path=path, stream=stream)
    if not np.isfinite(eeg.t_s).all():
        raise DataError(f"{path}: the clock offsets of {eeg.name!r} are not finite, so its samples have no time.")
    if channel is None:
        columns, channels, uv_per_unit, is_assumed, left_out = eeg_channels(eeg, path, config=config)
    else:
        columns, channels = [column_of(eeg, channel, path)], (channel,)
        uv_per_unit, is_assumed, left_out = np.ones(1), False, ()
    scaled = np.asarray(eeg.values)[:, columns] * uv_per_unit  # (n_samples, n_channels)
    x_uv: NDArray[np.float32] = np.ascontiguousarray(scaled, dtype=np.float32)
    times = sample_times(eeg.t_s, eeg.sfreq_hz)
    sfreq_hz = rate_hz(eeg, times)
    is_exact = is_regular(eeg.t_s, sfreq_hz)
    markers, events, about_events = find_events(eeg, file.streams, times, path=path, config=config, clocks=clocks)
    notes = [f"stream {eeg.name!r}", *about_events]
    if is_assumed:
        notes.append("no unit given, assumed to be microvolts")
    notes += _notes(file, eeg, markers, times=times, events=events, sfreq_hz=sfreq_hz)
    if clocks is None:  # otherwise markers are placed with the session's own clock offsets
        notes += _foreign_clocks(file.streams, eeg)
    return Recording(
        channels=channels,
        sfreq_hz=sfreq_hz,
        n_samples=len(x_uv),
        events=events,
        read=lambda start, stop: x_uv[start:stop],
        source=f"{path.name} ({', '.join(notes)})",
        subject=eeg.subject,
        left_out=left_out,
        segments=times.starts,
        connections=_connections(eeg, clocks),
        bad=times.bad,
        t_s=None if is_exact else times.times_s,
        recorded_s=None if is_exact else eeg.t_s,
    )


def _connections(eeg: RecordedStream, clocks: LiveClocks | None) -> tuple[int, ...]:
    """Return the samples with which the connections of a live session began."""
    if clocks is None:
        return (0,)
    found = [np.flatnonzero(eeg.t_s == first_s) for first_s in clocks.first_s]
    return tuple(int(each[0]) for each in found if each.size) or (0,)


def _notes(
    file: LoadedFile,
    eeg: RecordedStream,
    markers: Sequence[RecordedStream],
    *,
    times: SampleTimes,
    events: Sequence[Event],
    sfreq_hz: float,
) -> list[str]:
    """Return notes on timestamps, rate and markers, and on a file that ended early."""
    notes = []
    if len(times.starts) > 1:
        notes.append(f"breaks in its timestamps: {len(times.starts) - 1}")
    if times.n_lost:
        notes.append(f"samples lost: {times.n_lost}")
    if times.jitter_s > _LARGE_JITTER_S:
        notes.append(f"timestamps jitter by {times.jitter_s * 1000:.0f} ms, shorter losses cannot be detected")
    if n_filled := file.n_invalid[eeg.id]:
        notes.append(f"invalid timestamps: {n_filled}")
    if n_untimed := sum(file.n_invalid[each.id] for each in markers):
        notes.append(f"markers with invalid timestamps, left out: {n_untimed}")
    if file.ending:
        notes.append(file.ending)
    if n_outside := sum(abs(event.late_s) > (1 + 1e-6) / sfreq_hz for event in events):
        notes.append(f"markers outside the samples: {n_outside}")
    if sfreq_hz != eeg.sfreq_hz:
        notes.append(f"nominally {eeg.sfreq_hz:g} Hz, measured {sfreq_hz:.4g} Hz")
    return notes


def _foreign_clocks(streams: Sequence[RecordedStream], eeg: RecordedStream) -> list[str]:
    """Return a note for each marker stream whose timestamps are hours before or after those of the EEG."""
    notes = []
    for stream in streams:
        if not stream.is_text or not len(stream.t_s) or all(OUR_MESSAGE in str(row[0]) for row in stream.values):
            continue
        before_s, after_s = eeg.t_s[0] - stream.t_s[-1], stream.t_s[0] - eeg.t_s[-1]
        if max(before_s, after_s) > _MAX_APART_S:
            side = "before" if before_s > 0 else "after"
            notes.append(
                f"the markers of {stream.name!r} lie {max(before_s, after_s):,.0f} s {side} the EEG: one of the two is "
                "not on an LSL clock (Unix time, or a device's own time), so no marker belongs to a sample"
            )
    return notes
