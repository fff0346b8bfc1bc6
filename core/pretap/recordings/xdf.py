"""Opens XDF files (LSL recordings) as a `Recording`: one EEG stream and the string markers of the file."""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.extras import import_extra
from pretap.recordings.recording import Event, Recording
from pretap.recordings.sample_times import SampleTimes, fill_timestamps, is_regular, sample_times
from pretap.recordings.xdf_chunks import complete_chunks
from pretap.signal.channels import unit_factor

_MAX_TIMESTAMP_S = 1e12  # 30 000 years; beyond that, floats do not even resolve 0.1 ms
_OUR_MESSAGE = '{"v":'  # the first field of our messages
_LARGE_JITTER_S = 0.02  # worth a note
_RATE_TOLERANCE = 0.01  # beyond it, the measured rate replaces the nominal one


def open_xdf(path: Path, *, stream: str | None = None) -> Recording:
    """Open the EEG stream of an XDF file with the string markers of all its marker streams.

    pyxdf brings the timestamps to one clock, and `sample_times` turns them into the times of samples. They are in `t_s`
    unless they are ``n / sfreq_hz``, `recorded_s` has the timestamps themselves, and `segments` their breaks. Invalid
    timestamps (NaN) are extrapolated from those before them. If the measured rate differs by more than 1 % from the
    nominal one, it replaces it. Every marker becomes an event of its nearest sample, with its exact distance in
    `late_s`; `source` counts those that are more than a sample away. A truncated file is read up to its last complete
    chunk.

    Raises
    ------
    DataError
        If the file is damaged, or if no stream or several streams could be the EEG; the message lists the streams.
    """
    loaded, truncation, repairs = _load(path)
    streams = [_Stream(each) for each in loaded]
    eeg = _choose(streams, path=path, stream=stream)
    if not np.isfinite(eeg.t_s).all():
        raise DataError(f"{path}: the clock offsets of {eeg.name!r} are not finite, so its samples have no time.")
    columns, channels, uv_per_unit, is_assumed = _channels(eeg, path)
    scaled = np.asarray(eeg.values)[:, columns] * uv_per_unit  # (n_samples, n_channels)
    x_uv: NDArray[np.float32] = np.ascontiguousarray(scaled, dtype=np.float32)
    times = sample_times(eeg.t_s, eeg.sfreq_hz)
    sfreq_hz = _rate_hz(eeg, times)
    events = _events(streams, times)
    is_exact = is_regular(eeg.t_s, sfreq_hz)
    n_outside = sum(abs(event.late_s) > (1 + 1e-6) / sfreq_hz for event in events)
    notes = [f"stream {eeg.name!r}"]
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
    if n_untimed := sum(repairs.n_by_stream[each.id] for each in streams if each.is_text):
        notes.append(f"markers with invalid timestamps, left out: {n_untimed}")
    if truncation:
        notes.append(truncation)
    elif not all("footer" in each for each in loaded):
        notes.append("not closed by its recorder, so it may have ended early")
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
        bad=times.bad,
        t_s=None if is_exact else times.times_s,
        recorded_s=None if is_exact else eeg.t_s,
    )


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


def _load(path: Path) -> tuple[list[dict[str, Any]], str, _Repairs]:
    """Return the streams, a note if the file is truncated, and the repairs."""
    pyxdf = import_extra("pyxdf", needed_by=f"Reading {path.name}")
    content, truncation = complete_chunks(path)
    repairs = _Repairs()
    damaged = f"{path} is not a complete XDF file"
    with _collect_errors(logging.getLogger("pyxdf.pyxdf")) as errors:
        try:
            # `sample_times` removes jitter: pyxdf finds only breaks of more than a second, and blurs shorter ones.
            streams, _ = pyxdf.load_xdf(io.BytesIO(content), on_chunk=repairs, dejitter_timestamps=False)
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
        found = [each for each in streams if stream in {each.name, each.id, each.source_id}]
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


def _channels(eeg: _Stream, path: Path) -> tuple[list[int], tuple[str, ...], NDArray[np.float64], bool]:
    """Return the columns that are EEG, their names, their factors to microvolts, and whether a unit was assumed."""
    info = eeg.channel_info
    if len(info) != eeg.n_channels:  # no description, or one that does not fit
        names = tuple(f"ch{i + 1}" for i in range(eeg.n_channels))
        return list(range(eeg.n_channels)), names, np.ones(eeg.n_channels), True
    columns = [i for i, each in enumerate(info) if each["type"].lower() == "eeg"] or list(range(eeg.n_channels))
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


# -- events --------------------------------------------------------------------------------------------------------


def _events(streams: Sequence[_Stream], times: SampleTimes) -> tuple[Event, ...]:
    """Return an event for every string marker, at its nearest sample, however far away that is.

    The messages of `pretap serve`, which are also in the recording of a session, are not markers of the task.
    """
    events = []
    for stream in streams:
        if not stream.is_text:
            continue
        for t_s, texts in zip(stream.t_s.tolist(), stream.values, strict=True):
            text = " ".join(str(each).strip() for each in texts).strip()
            if text and not text.startswith(_OUR_MESSAGE):
                sample, late_s = times.nearest(t_s)
                events.append((t_s, Event(sample, text, round(late_s, 9))))  # timestamps near 1e6 s resolve 1e-10 s
    return tuple(event for _, event in sorted(events, key=lambda each: (each[1].sample, each[0])))
