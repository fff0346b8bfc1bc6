"""The choice of the marker streams of an XDF file, and the events made of them. Used by `open_xdf`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.live_clocks import LiveClocks
from pretap.recordings.recording import Event
from pretap.recordings.xdf.eeg import column_of
from pretap.recordings.xdf.recorded_stream import RecordedStream
from pretap.recordings.xdf.sample_times import SampleTimes
from pretap.signal.trigger import TriggerChannel
from pretap.spelling import counted, did_you_mean

_COINCIDENCE_S = 0.05  # a trigger box and the program of the task tell of one event within this time
_MIN_COPIED = 10  # markers of the shorter stream: fewer may begin a block together with a trial


def find_events(
    eeg: RecordedStream,
    streams: Sequence[RecordedStream],
    times: SampleTimes,
    *,
    path: Path,
    config: RecordingConfig,
    clocks: LiveClocks | None,
) -> tuple[list[RecordedStream], tuple[Event, ...], list[str]]:
    """Return the marker streams that are read, the events, and sentences on where these come from."""
    if config.cue_channel:
        codes = eeg.column(column_of(eeg, config.cue_channel, path))  # (n_samples,)
        found = TriggerChannel(config.cue_channel).process(codes)
        note = f"The events are the codes of channel {config.cue_channel!r}."
        return [], tuple(Event(sample, text) for sample, text in found), [note]
    others = [each for each in streams if each.id not in eeg.parts]
    all_markers = [each for each in others if each.has_markers]
    if clocks is not None:
        others = [each for each in others if np.isin(each.t_s, clocks.cue_s).any()]
    markers = _choose_markers(others, path=path, names=config.markers)
    notes = [
        f"The markers of {each.name!r} (id {each.id}) are not used; --markers chooses the streams that are."
        for each in all_markers
        if each not in markers
    ]
    events, n_ambiguous = _events(markers, times, clocks, sfreq_hz=eeg.sfreq_hz)
    if n_ambiguous:
        fit = counted(n_ambiguous, "marker fits", "markers fit")
        notes.append(f"A clock was set back in this recording: {fit} samples before and after that (left out).")
    return markers, events, notes


def _choose_markers(streams: Sequence[RecordedStream], *, path: Path, names: Sequence[str]) -> list[RecordedStream]:
    """Return the marker streams with these names or, without names, those of texts or else those of numbers."""
    chosen = []
    for name in names:
        found = [each for each in streams if each.is_called(name) and not (each.can_be_eeg or each.is_ours)]
        if not found:
            listing = "; ".join(str(each) for each in streams if not each.is_ours) or "no other streams"
            raise DataError(
                f"{path}: no marker stream is called {name!r} (--markers). Beside the EEG, it has {listing}."
                + did_you_mean(name, [each.name for each in streams if not each.is_ours])
            )
        _refuse_twins(found, path)
        chosen += [each for each in found if each not in chosen]
    if names:
        return chosen
    found = [each for each in streams if each.has_markers]
    chosen = [each for each in found if each.is_text] or found
    _refuse_twins(chosen, path)
    return chosen


def _refuse_twins(streams: Sequence[RecordedStream], path: Path) -> None:
    """Refuse two streams if each event might be in both of them, and count twice."""
    for one, other in combinations(streams, 2):
        why = _why_twins(one, other)
        if why:
            raise DataError(
                f"{path}: the marker streams {one} and {other} {why}, so the same event might count twice. Choose one "
                f"by its name or id: --markers {one.id}."
            )


def _why_twins(one: RecordedStream, other: RecordedStream) -> str:
    """Return why two streams may have the same events: they share a text, or most of their markers coincide.

    The second stream of a task that was restarted begins after the first one, so it is not a twin.
    """
    times, others = (np.sort([t_s for t_s, _ in each.texts]) for each in (one, other))
    if not (len(times) and len(others)) or times[0] > others[-1] or others[0] > times[-1]:
        return ""
    common = sorted({text for _, text in one.texts} & {text for _, text in other.texts})
    if common:
        return f"both have {common[0]!r}"
    few, many = sorted((times, others), key=len)
    n_coinciding = np.count_nonzero(
        np.searchsorted(many, few - _COINCIDENCE_S) < np.searchsorted(many, few + _COINCIDENCE_S, side="right")
    )
    span_s = max(times[-1], others[-1]) - min(times[0], others[0])
    by_chance = min(1.0, 2 * _COINCIDENCE_S * len(many) / span_s) * len(few) if span_s > 0 else 0.0
    is_copy = n_coinciding >= _MIN_COPIED and n_coinciding > max(len(few) / 2, 2 * by_chance)
    if n_coinciding > len(many) / 2 or is_copy:
        return f"have {counted(int(n_coinciding), 'marker')} at the same times"
    return ""


def _events(
    streams: Sequence[RecordedStream], times: SampleTimes, clocks: LiveClocks | None, *, sfreq_hz: float
) -> tuple[tuple[Event, ...], int]:
    """Return an event for every marker, at its nearest sample, however far away that is.

    Those that fit two runs of a clock are left out and counted.
    """
    events = []
    n_ambiguous = 0
    for t_s, text in (marker for stream in streams for marker in stream.texts):
        at_s = t_s if clocks is None else clocks.to_eeg_clock(t_s)
        if len(times.starts) > 1 and times.fits_two_runs(at_s, sfreq_hz=sfreq_hz):
            n_ambiguous += 1
            continue
        sample, late_s = times.nearest(at_s)
        events.append((t_s, Event(sample, text, round(late_s, 9))))  # timestamps near 1e6 s resolve 1e-10 s
    ordered = sorted(events, key=lambda each: (each[1].sample, each[0]))
    return tuple(event for _, event in ordered), n_ambiguous
