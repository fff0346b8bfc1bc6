"""Opens XDF files (LSL recordings) as a `Recording`: one EEG stream and the markers of the file."""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import combinations
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import ALL_EVENTS, RecordingConfig
from pretap.errors import DataError
from pretap.extras import import_extra
from pretap.recordings.events import is_marker_stream, marker_text
from pretap.recordings.live_clocks import LiveClocks
from pretap.recordings.recording import Event, Recording
from pretap.recordings.sample_times import SampleTimes, fill_timestamps, is_regular, sample_times
from pretap.recordings.xdf_chunks import complete_chunks
from pretap.signal.channels import unit_factor
from pretap.signal.trigger import TriggerChannel

_MAX_TIMESTAMP_S = 1e12  # 30 000 years; beyond that, floats do not even resolve 0.1 ms
_OUR_MESSAGE = '{"v":'  # the first field of our messages
_MAX_APART_S = 3600.0  # beyond it, markers and EEG are not on one clock
_MAX_LISTED = 40
_COINCIDENCE_S = 0.05  # a trigger box and the program of the task tell of one event within this time
_LARGE_JITTER_S = 0.02  # worth a note
_RATE_TOLERANCE = 0.01  # beyond it, the measured rate replaces the nominal one


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
    loaded, truncation, repairs = _load(path, synchronize=clocks is None)
    streams = [_Stream(each) for each in loaded]
    eeg = _choose(streams, path=path, stream=stream)
    if not np.isfinite(eeg.t_s).all():
        raise DataError(f"{path}: the clock offsets of {eeg.name!r} are not finite, so its samples have no time.")
    if channel is None:
        columns, channels, uv_per_unit, is_assumed = _channels(eeg, path, without=config.cue_channel)
    else:
        columns, channels = [_column(eeg, channel, path)], (channel,)
        uv_per_unit, is_assumed = np.ones(1), False
    scaled = np.asarray(eeg.values)[:, columns] * uv_per_unit  # (n_samples, n_channels)
    x_uv: NDArray[np.float32] = np.ascontiguousarray(scaled, dtype=np.float32)
    times = sample_times(eeg.t_s, eeg.sfreq_hz)
    sfreq_hz = _rate_hz(eeg, times)
    is_exact = is_regular(eeg.t_s, sfreq_hz)
    markers, events, about_events = _find_events(eeg, streams, times, path=path, config=config, clocks=clocks)
    notes = [f"stream {eeg.name!r}", *about_events]
    n_outside = sum(abs(event.late_s) > (1 + 1e-6) / sfreq_hz for event in events)
    if is_assumed:
        notes.append("no unit given, assumed to be microvolts")
    if len(times.starts) > 1:
        notes.append(f"breaks in its timestamps: {len(times.starts) - 1}")
    if times.n_lost:
        notes.append(f"samples lost: {times.n_lost}")
    if times.jitter_s > _LARGE_JITTER_S:
        notes.append(f"timestamps jitter by {times.jitter_s * 1000:.0f} ms, shorter losses cannot be detected")
    if n_filled := repairs.n_by_stream[eeg.id]:
        notes.append(f"invalid timestamps: {n_filled}")
    if n_untimed := sum(repairs.n_by_stream[each.id] for each in markers):
        notes.append(f"markers with invalid timestamps, left out: {n_untimed}")
    if truncation:
        notes.append(truncation)
    elif not all("footer" in each for each in loaded):
        notes.append("not closed by its recorder, so it may have ended early")
    notes += _foreign_clocks(streams, eeg)
    if n_outside:
        notes.append(f"markers outside the samples: {n_outside}")
    if sfreq_hz != eeg.sfreq_hz:
        notes.append(f"nominally {eeg.sfreq_hz:g} Hz, measured {sfreq_hz:.4g} Hz")
    return Recording(
        channels=channels,
        sfreq_hz=sfreq_hz,
        n_samples=len(x_uv),
        events=events,
        read=lambda start, stop: x_uv[start:stop],
        source=f"{path.name} ({', '.join(notes)})",
        subject=eeg.subject,
        segments=times.starts,
        connections=_connections(eeg, clocks),
        bad=times.bad,
        t_s=None if is_exact else times.times_s,
        recorded_s=None if is_exact else eeg.t_s,
    )


def _foreign_clocks(streams: Sequence[_Stream], eeg: _Stream) -> list[str]:
    """Return a note for each marker stream whose timestamps are hours before or after those of the EEG."""
    notes = []
    for stream in streams:
        if not stream.is_text or not len(stream.t_s) or all(_OUR_MESSAGE in str(row[0]) for row in stream.values):
            continue
        before_s, after_s = eeg.t_s[0] - stream.t_s[-1], stream.t_s[0] - eeg.t_s[-1]
        if max(before_s, after_s) > _MAX_APART_S:
            side = "before" if before_s > 0 else "after"
            notes.append(
                f"the markers of {stream.name!r} lie {max(before_s, after_s):,.0f} s {side} the EEG: one of the two is "
                "not on an LSL clock (Unix time, or a device's own time), so no marker belongs to a sample"
            )
    return notes


def _rate_hz(eeg: _Stream, times: SampleTimes) -> float:
    measured = times.rate_hz
    if measured is None or abs(measured / eeg.sfreq_hz - 1) <= _RATE_TOLERANCE:
        return eeg.sfreq_hz
    return measured


# -- reading -------------------------------------------------------------------------------------------------------


class _Stream:
    """One stream of the file: values (n_samples, n_channels) and timestamps in seconds on the recorder's clock."""

    def __init__(self, loaded: dict[str, Any]) -> None:
        self._info = info = loaded["info"]
        self.id = str(info["stream_id"])
        self.name = _first(info, "name")
        self.type = _first(info, "type")
        self.source_id = _first(info, "source_id")
        self.format = _first(info, "channel_format")
        self.sfreq_hz = float(_first(info, "nominal_srate") or 0)
        self.n_channels = int(_first(info, "channel_count") or 0)
        self.t_s = np.asarray(loaded["time_stamps"], np.float64)
        self.values = loaded["time_series"]

    @property
    def channel_info(self) -> list[dict[str, str]]:
        node = _below(_below(self._info, "desc"), "channels")
        channels = node.get("channel", []) if isinstance(node, dict) else []
        return [{key: _first(each, key) for key in ("label", "unit", "type")} for each in channels]

    @property
    def subject(self) -> str:
        return _first(_below(_below(self._info, "desc"), "subject"), "id")

    @property
    def is_text(self) -> bool:
        return self.format == "string"

    @property
    def can_be_eeg(self) -> bool:
        return not self.is_text and self.sfreq_hz > 0 and len(self.t_s) > 0

    @property
    def is_ours(self) -> bool:
        """Whether `pretap serve` has sent it: its description names the bundle."""
        return bool(_below(_below(self._info, "desc"), "bundle"))

    @property
    def has_markers(self) -> bool:
        is_one = is_marker_stream(format=self.format, type=self.type, sfreq_hz=self.sfreq_hz)
        return is_one and not self.is_ours and bool(self.texts)

    @cached_property
    def texts(self) -> list[tuple[float, str]]:
        """The markers (time, text) that are not empty."""
        found = ((t_s, marker_text(values)) for t_s, values in zip(self.t_s.tolist(), self._rows(), strict=True))
        return [(t_s, text) for t_s, text in found if text and not text.startswith(_OUR_MESSAGE)]

    def is_called(self, name: str) -> bool:
        return name in {self.name, self.id, self.source_id}

    def _rows(self) -> list[Any]:
        return self.values if isinstance(self.values, list) else np.asarray(self.values).tolist()

    def __str__(self) -> str:
        rate = f"{self.sfreq_hz:g} Hz" if self.sfreq_hz else "irregular"
        return (
            f"{self.name!r} (id {self.id}, type {self.type or 'none'}, {self.n_channels} x {self.format}, {rate}, "
            f"{len(self.t_s)} samples)"
        )


def _first(node: Any, key: str) -> str:
    """Return the text of an XML child, which pyxdf stores as ``{key: [text]}``; empty if there is none."""
    values = node.get(key) if isinstance(node, dict) else None
    return values[0].strip() if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _below(node: Any, key: str) -> Any:
    """Return the XML child with that name, or None."""
    found = node.get(key) if isinstance(node, dict) else None
    return found[0] if isinstance(found, list) and found else None


@contextmanager
def _collect_errors(logger: logging.Logger) -> Iterator[list[logging.LogRecord]]:
    """Collect the errors of pyxdf, which only logs that a part of the file is damaged."""
    errors = BufferingHandler(capacity=sys.maxsize)
    errors.setLevel(logging.ERROR)
    before = logger.propagate
    logger.addHandler(errors)
    logger.propagate = False
    try:
        yield errors.buffer
    finally:
        logger.removeHandler(errors)
        logger.propagate = before


class _Repairs:
    """Replaces or drops invalid timestamps in the chunks that pyxdf reads, before pyxdf fits clocks to them.

    pyxdf would take the first NaN for a reset of the clock.
    """

    def __init__(self) -> None:
        self.n_by_stream: Counter[str] = Counter()
        self._last_s: dict[int, float] = {}  # by stream

    def __call__(
        self, values: Any, t_s: NDArray[np.float64], info: dict[str, Any], stream_id: int
    ) -> tuple[Any, NDArray[np.float64], dict[str, Any]]:
        """Repair one chunk: values (n_new, n_channels), or a list of texts, and timestamps (n_new,)."""
        is_valid = np.abs(t_s) < _MAX_TIMESTAMP_S  # (n_new,), False for NaN
        if not is_valid.all():
            self.n_by_stream[str(stream_id)] += int(np.count_nonzero(~is_valid))
            sfreq_hz = float(_first(info["info"], "nominal_srate") or 0)
            if sfreq_hz > 0 and (is_valid.any() or stream_id in self._last_s):
                t_s = fill_timestamps(t_s, is_valid, before_s=self._last_s.get(stream_id), step_s=1 / sfreq_hz)
            else:  # there is nothing to extrapolate from
                kept = np.flatnonzero(is_valid)
                values = [values[i] for i in kept.tolist()] if isinstance(values, list) else values[kept]
                t_s = t_s[kept]
        if t_s.size:
            self._last_s[stream_id] = float(t_s[-1])
        return values, t_s, info


def _load(path: Path, *, synchronize: bool) -> tuple[list[dict[str, Any]], str, _Repairs]:
    """Return the streams, a note if the file is truncated, and the repairs."""
    pyxdf = import_extra("pyxdf", needed_by=f"Reading {path.name}")
    content, truncation = complete_chunks(path)
    repairs = _Repairs()
    damaged = f"{path} is not a complete XDF file"
    with _collect_errors(logging.getLogger("pyxdf.pyxdf")) as errors:
        try:
            # `sample_times` removes jitter: pyxdf finds only breaks of more than a second, and blurs shorter ones.
            streams, _ = pyxdf.load_xdf(
                io.BytesIO(content), on_chunk=repairs, dejitter_timestamps=False, synchronize_clocks=synchronize
            )
        except Exception as error:
            # on damaged bytes, a parser raises anything
            raise DataError(f"{damaged} ({type(error).__name__}: {error}). Copy it again.") from error
    if errors:
        raise DataError(f"{damaged}: {errors[0].getMessage()}. Copy it again.")
    return streams, truncation, repairs


# -- choosing ------------------------------------------------------------------------------------------------------


def _choose(streams: Sequence[_Stream], *, path: Path, stream: str | None) -> _Stream:
    listing = "; ".join(str(each) for each in streams) or "no streams at all"
    if stream is not None:
        found = [each for each in streams if each.is_called(stream)]
        if len(found) != 1:
            raise DataError(f"{path}: {len(found)} streams are called {stream!r}. It has {listing}.")
        if not found[0].can_be_eeg:
            raise DataError(f"{path}: {found[0]} has no numeric samples at a regular rate. It has {listing}.")
        return found[0]
    usable = [each for each in streams if each.can_be_eeg]
    named = [each for each in usable if each.type.lower() == "eeg"]
    candidates = named or usable
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise DataError(f"{path} has no EEG stream (numeric, regular rate, not empty). It has {listing}.")
    raise DataError(
        f"{path} has {len(candidates)} streams that could be the EEG: name one with --xdf-stream. It has {listing}."
    )


def _channels(
    eeg: _Stream, path: Path, *, without: str
) -> tuple[list[int], tuple[str, ...], NDArray[np.float64], bool]:
    """Return the columns that are EEG, their names, their factors to microvolts, and whether a unit was assumed.

    The channel `without` is never EEG.
    """
    info = eeg.channel_info
    if len(info) != eeg.n_channels:  # no description, or one that does not fit
        names = tuple(f"ch{i + 1}" for i in range(eeg.n_channels))
        return list(range(eeg.n_channels)), names, np.ones(eeg.n_channels), True
    others = [i for i, each in enumerate(info) if not without or each["label"] != without]
    columns = [i for i in others if info[i]["type"].lower() == "eeg"] or others
    factors = []
    for i in columns:
        factor = unit_factor(info[i]["unit"] or "uV")
        if factor is None:
            raise DataError(
                f"{path}: channel {info[i]['label'] or i + 1!r} of {eeg.name!r} is in {info[i]['unit']!r}; "
                f"expected volts, mV, uV or nV."
            )
        factors.append(factor)
    names = tuple(info[i]["label"] or f"ch{i + 1}" for i in columns)
    return columns, names, np.array(factors), any(not info[i]["unit"] for i in columns)


def _column(eeg: _Stream, label: str, path: Path) -> int:
    """Return the column of the channel with this label."""
    labels = [each["label"] for each in eeg.channel_info]
    if labels.count(label) != 1 or len(labels) != eeg.n_channels:
        listed = ", ".join(filter(None, labels[:_MAX_LISTED])) or "no labels"
        raise DataError(
            f"{path}: {eeg.name!r} has {labels.count(label)} channels {label!r}: expected one. It has {listed}."
        )
    return labels.index(label)


# -- events --------------------------------------------------------------------------------------------------------


def _connections(eeg: _Stream, clocks: LiveClocks | None) -> tuple[int, ...]:
    """Return the samples with which the connections of a live session began."""
    if clocks is None:
        return (0,)
    found = [np.flatnonzero(eeg.t_s == first_s) for first_s in clocks.first_s]
    return tuple(int(each[0]) for each in found if each.size) or (0,)


def _find_events(
    eeg: _Stream,
    streams: Sequence[_Stream],
    times: SampleTimes,
    *,
    path: Path,
    config: RecordingConfig,
    clocks: LiveClocks | None,
) -> tuple[list[_Stream], tuple[Event, ...], list[str]]:
    """Return the marker streams that are read, the events, and notes on where these come from."""
    if config.cue_channel:
        codes = np.asarray(eeg.values)[:, _column(eeg, config.cue_channel, path)].astype(np.float64)  # (n_samples,)
        found = TriggerChannel(config.cue_channel).process(codes)
        note = f"events from channel {config.cue_channel!r}"
        return [], tuple(Event(sample, text) for sample, text in found), [note]
    others = [each for each in streams if each is not eeg]
    if clocks is not None:
        others = [each for each in others if np.isin(each.t_s, clocks.cue_s).any()]
    markers = _choose_markers(others, path=path, names=config.markers)
    unread = [repr(each.name) for each in streams if each.has_markers and each not in (*markers, eeg)]
    notes = [f"marker streams not read: {', '.join(unread)}"] if unread else []
    return markers, _events(markers, times, clocks), notes


def _choose_markers(streams: Sequence[_Stream], *, path: Path, names: Sequence[str]) -> list[_Stream]:
    """Return the marker streams with these names or, without names, those of texts or else those of numbers."""
    chosen = []
    for name in names:
        found = [each for each in streams if each.is_called(name) and not (each.can_be_eeg or each.is_ours)]
        if not found:
            listing = "; ".join(str(each) for each in streams if not each.is_ours) or "no other streams"
            raise DataError(
                f"{path}: no marker stream is called {name!r} (--markers). Beside the EEG, it has {listing}."
            )
        _refuse_twins(found, path)
        chosen += [each for each in found if each not in chosen]
    if names:
        return chosen
    found = [each for each in streams if each.has_markers]
    chosen = [each for each in found if each.is_text] or found
    _refuse_twins(chosen, path)
    return chosen


def _refuse_twins(streams: Sequence[_Stream], path: Path) -> None:
    """Refuse two streams if each event might be in both of them, and count twice."""
    for one, other in combinations(streams, 2):
        why = _why_twins(one, other)
        if why:
            raise DataError(
                f"{path}: the marker streams {one} and {other} {why}, so the same event might count twice. Choose one "
                f"by its name or id: --markers {one.id}."
            )


def _why_twins(one: _Stream, other: _Stream) -> str:
    """Return why two streams may have the same events: they share a text, or most of their markers coincide.

    The second stream of a task that was restarted begins after the first one, and is no twin.
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
    if n_coinciding > len(many) / 2:
        return f"have {n_coinciding} markers at the same times"
    return ""


def _events(streams: Sequence[_Stream], times: SampleTimes, clocks: LiveClocks | None) -> tuple[Event, ...]:
    """Return an event for every marker, at its nearest sample, however far away that is."""
    events = []
    for t_s, text in (marker for stream in streams for marker in stream.texts):
        sample, late_s = times.nearest(t_s if clocks is None else clocks.to_eeg_clock(t_s))
        events.append((t_s, Event(sample, text, round(late_s, 9))))  # timestamps near 1e6 s resolve 1e-10 s
    return tuple(event for _, event in sorted(events, key=lambda each: (each[1].sample, each[0])))
