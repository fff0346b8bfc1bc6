"""Opens an XDF file as a `Recording`, with sentences on what a user should know of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import ALL_EVENTS, RecordingConfig
from pretap.recordings.blocks import BlockReader
from pretap.recordings.live_clocks import LiveClocks
from pretap.recordings.recording import Event, Recording
from pretap.recordings.xdf.eeg import column_of, eeg_channels, rate_hz
from pretap.recordings.xdf.eeg_choice import choose_eeg
from pretap.recordings.xdf.load import LoadedFile, load_streams
from pretap.recordings.xdf.markers import find_events
from pretap.recordings.xdf.recorded_stream import RecordedStream
from pretap.recordings.xdf.sample_times import SampleTimes, is_regular, joined_times
from pretap.recordings.xdf.settings import apply_settings
from pretap.spelling import counted

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

    The clock offsets in the file bring the timestamps to one clock, and `sample_times` turns them into the times of
    samples. They are in `t_s` unless they are ``n / sfreq_hz``, `recorded_s` has the timestamps themselves, and
    `segments` their breaks. Invalid timestamps (NaN) are extrapolated from those before them. If the measured rate
    differs by more than 1 % from the nominal one, it replaces it. Every marker becomes an event of its nearest sample,
    with its exact distance in `late_s`; `notes` count those that are more than a sample away, and say what was damaged
    or assumed. The values stay in the file until they are read.

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
    found, about_choice = choose_eeg(file, path=path, stream=stream, config=config)
    eeg, about_settings = apply_settings(found, config, path)
    if channel is None:
        columns, channels, uv_per_unit, unit_note, left_out = eeg_channels(eeg, path, config=config)
    else:
        columns, channels = [column_of(eeg, channel, path)], (channel,)
        uv_per_unit, unit_note, left_out = np.ones(1, np.float32), "", ()
    times = joined_times(eeg.t_s, eeg.sfreq_hz, firsts=list(eeg.parts.values()))
    sfreq_hz = rate_hz(eeg, times)
    is_exact = is_regular(eeg.t_s, sfreq_hz)
    markers, events, about_events = find_events(eeg, file.streams, times, path=path, config=config, clocks=clocks)
    notes = [*about_choice, *about_settings, *about_events]
    if unit_note:
        notes.append(unit_note)
    notes += _notes(file, eeg, markers, times=times, events=events, sfreq_hz=sfreq_hz)
    if clocks is None:  # otherwise markers are placed with the session's own clock offsets
        notes += _foreign_clocks(file.streams, eeg)

    def read(start: int, stop: int) -> NDArray[np.float32]:
        return np.asarray(eeg.read(start, stop)[:, columns] * uv_per_unit, np.float32)  # (n, n_channels)

    return Recording(
        channels=channels,
        sfreq_hz=sfreq_hz,
        n_samples=len(eeg.t_s),
        events=events,
        read=BlockReader(read, n_samples=len(eeg.t_s), n_channels=len(columns)),
        source=path.name,
        subject=eeg.subject,
        left_out=left_out,
        notes=tuple(notes),
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
    """Return sentences on timestamps, rate and markers, and on a file that is damaged or ended early."""
    notes = []
    if len(times.starts) > len(eeg.parts):
        n_breaks = len(times.starts) - len(eeg.parts)
        lost = f"; {counted(times.n_lost, 'sample was', 'samples were')} lost" if times.n_lost else ""
        notes.append(f"The timestamps have {counted(n_breaks, 'break')}{lost}.")
    if times.jitter_s > _LARGE_JITTER_S:
        notes.append(f"The timestamps jitter by {times.jitter_s * 1000:.0f} ms; shorter losses cannot be detected.")
    if n_filled := sum(file.n_filled[each] for each in eeg.parts):
        filled = counted(n_filled, "sample with an invalid timestamp is", "samples with invalid timestamps are")
        notes.append(f"{filled} placed by the nominal rate.")
    if n_untimed := sum(file.n_untimed[each] for each in eeg.parts):
        untimed = counted(n_untimed, "sample with an invalid timestamp is", "samples with invalid timestamps are")
        notes.append(f"{untimed} left out.")
    if n_untimed := sum(file.n_untimed[each.id] for each in markers):
        untimed = counted(n_untimed, "marker with an invalid timestamp is", "markers with invalid timestamps are")
        notes.append(f"{untimed} left out.")
    notes += file.notes
    if n_outside := sum(abs(event.late_s) > (1 + 1e-6) / sfreq_hz for event in events):
        markers_lie = counted(len(events), "marker lies", "markers lie")
        notes.append(f"{n_outside} of {markers_lie} outside the samples.")
    if sfreq_hz != eeg.sfreq_hz:
        notes.append(
            f"The nominal rate is {eeg.sfreq_hz:g} Hz, but the timestamps show {sfreq_hz:.4g} Hz, which is used."
        )
    return notes


def _foreign_clocks(streams: Sequence[RecordedStream], eeg: RecordedStream) -> list[str]:
    """Return a sentence for each marker stream whose timestamps are hours before or after those of the EEG."""
    notes = []
    for stream in streams:
        if stream.id in eeg.parts or not stream.has_markers:
            continue
        before_s, after_s = eeg.t_s.min() - stream.t_s.max(), stream.t_s.min() - eeg.t_s.max()
        if max(before_s, after_s) > _MAX_APART_S:
            side = "before" if before_s > 0 else "after"
            notes.append(
                f"The markers of {stream.name!r} lie {max(before_s, after_s):,.0f} s {side} the EEG: one of the two is "
                "not on an LSL clock (Unix time, or a device's own time), so no marker belongs to a sample."
            )
    return notes
