"""XDF files (LSL recordings) opened as a `Recording`: one EEG stream, and the string markers beside it."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.channels import unit_factor
from pretap.errors import DataError, MissingPackageError
from pretap.recordings.recording import Event, Recording
from pretap.recordings.xdf_chunks import check_chunks

__all__ = ["open_xdf"]

_GAP_SAMPLES = 1.5  # more than this beyond the expected step is a break, once it persists


def open_xdf(path: Path, *, stream: str | None = None) -> Recording:
    """Open the EEG stream of an XDF file with the string markers of all its marker streams.

    Stamps are brought to one clock by pyxdf. A marker becomes an event at the nearest sample; one that lies more than a
    sample outside the EEG (before, after, or in a break) is dropped, and `source` says how many were. Samples follow
    each other without regard to breaks, and `source` counts these.

    Raises
    ------
    DataError
        A damaged file, or none or several streams that could be meant; the sentence lists what was found.
    """
    streams = [_Stream.of(each) for each in _load(path)]
    eeg = _choose(streams, path=path, stream=stream)
    columns, channels, uv_per_unit, assumed = _channels(eeg, path)
    scaled = np.asarray(eeg.values)[:, columns] * uv_per_unit  # (n_samples, n_channels)
    x_uv: NDArray[np.float32] = np.ascontiguousarray(scaled, dtype=np.float32)
    segments = _segments(eeg.t_s, eeg.sfreq_hz)
    events, n_dropped = _events(streams, segments, eeg.sfreq_hz)
    notes = [f"stream {eeg.name!r}"]
    if assumed:
        notes.append("no unit given, taken as microvolts")
    if len(segments) > 1:
        notes.append(f"breaks in its time stamps: {len(segments) - 1}")
    if not all(each.is_closed for each in streams):
        notes.append("not closed by its recorder: it may have ended early")
    if n_dropped:
        notes.append(f"markers dropped, outside the samples: {n_dropped}")
    rate_hz = _measured_hz(segments)
    if rate_hz is not None and abs(rate_hz / eeg.sfreq_hz - 1) > 0.01:
        notes.append(f"nominally {eeg.sfreq_hz:g} Hz, measured {rate_hz:.4g} Hz")
    return Recording(
        channels=channels,
        sfreq_hz=eeg.sfreq_hz,
        n_samples=len(x_uv),
        events=events,
        read=lambda start, stop: x_uv[start:stop],
        source=f"{path.name} ({', '.join(notes)})",
    )


# -- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Stream:
    """One stream of the file: values (n_samples, n_channels) with a stamp each, seconds on the recorder's clock."""

    id: str
    name: str
    type: str
    source_id: str
    format: str
    sfreq_hz: float
    n_channels: int
    t_s: NDArray[np.float64]
    values: Any
    channel_info: tuple[dict[str, str], ...]
    is_closed: bool  # has a footer

    @classmethod
    def of(cls, loaded: dict[str, Any]) -> _Stream:
        info = loaded["info"]
        return cls(
            id=str(info["stream_id"]),
            name=_first(info, "name"),
            type=_first(info, "type"),
            source_id=_first(info, "source_id"),
            format=_first(info, "channel_format"),
            sfreq_hz=float(_first(info, "nominal_srate") or 0),
            n_channels=int(_first(info, "channel_count") or 0),
            t_s=np.asarray(loaded["time_stamps"], np.float64),
            values=loaded["time_series"],
            channel_info=_channel_info(info),
            is_closed="footer" in loaded,
        )

    @property
    def is_text(self) -> bool:
        return self.format == "string"

    @property
    def may_be_eeg(self) -> bool:
        return not self.is_text and self.sfreq_hz > 0 and len(self.t_s) > 0

    def __str__(self) -> str:
        rate = f"{self.sfreq_hz:g} Hz" if self.sfreq_hz else "irregular"
        return (
            f"{self.name!r} (id {self.id}, type {self.type or 'none'}, {self.n_channels} x {self.format}, {rate}, "
            f"{len(self.t_s)} samples)"
        )


def _first(node: Any, key: str) -> str:
    """Return the text of an XML child as pyxdf keeps it: ``{key: [text]}``; empty where there is none."""
    values = node.get(key) if isinstance(node, dict) else None
    return values[0].strip() if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _channel_info(info: dict[str, Any]) -> tuple[dict[str, str], ...]:
    node: Any = info
    for key in ("desc", "channels"):
        below = node.get(key) if isinstance(node, dict) else None
        node = below[0] if below else None
    channels = node.get("channel", []) if isinstance(node, dict) else []
    return tuple({key: _first(each, key) for key in ("label", "unit", "type")} for each in channels)


class _Complaints(logging.Handler):
    """Keeps what pyxdf only logs: that a part of the file is damaged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _listen(logger: logging.Logger) -> Iterator[_Complaints]:
    complaints = _Complaints()
    before = logger.propagate
    logger.addHandler(complaints)
    logger.propagate = False
    try:
        yield complaints
    finally:
        logger.removeHandler(complaints)
        logger.propagate = before


def _load(path: Path) -> list[dict[str, Any]]:
    try:
        import pyxdf
    except ImportError:
        raise MissingPackageError.for_extra(f"Reading {path.name}", missing="pyxdf") from None
    check_chunks(path)
    damaged = f"{path} is not a whole XDF file"
    with _listen(logging.getLogger("pyxdf.pyxdf")) as complaints:
        try:
            # Jitter is removed below: pyxdf sees breaks of more than a second only, and smears shorter ones.
            streams, _ = pyxdf.load_xdf(path, dejitter_timestamps=False)
        except Exception as error:
            # a parser on damaged bytes raises anything
            raise DataError(f"{damaged} ({type(error).__name__}: {error}). Copy it again.") from error
    if complaints.texts:
        raise DataError(f"{damaged}: {complaints.texts[0]}. Copy it again.")
    loaded: list[dict[str, Any]] = streams
    return loaded


# -- choosing ------------------------------------------------------------------------------------------------------


def _choose(streams: Sequence[_Stream], *, path: Path, stream: str | None) -> _Stream:
    listing = "; ".join(str(each) for each in streams) or "no streams at all"
    if stream is not None:
        found = [each for each in streams if stream in {each.name, each.id, each.source_id}]
        if len(found) != 1:
            raise DataError(f"{path}: {len(found)} streams are called {stream!r}. It holds {listing}.")
        if not found[0].may_be_eeg:
            raise DataError(f"{path}: {found[0]} has no numeric samples at a regular rate. It holds {listing}.")
        return found[0]
    usable = [each for each in streams if each.may_be_eeg]
    named = [each for each in usable if each.type.lower() == "eeg"]
    candidates = named or usable
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise DataError(f"{path} has no stream of EEG (numeric, regular rate, not empty). It holds {listing}.")
    raise DataError(f"{path} has {len(candidates)} streams that could be the EEG: name one. It holds {listing}.")


def _channels(eeg: _Stream, path: Path) -> tuple[list[int], tuple[str, ...], NDArray[np.float64], bool]:
    """Return the columns that are EEG, their names, their factors to microvolts, and whether a unit was assumed."""
    info = eeg.channel_info
    if len(info) != eeg.n_channels:  # none described, or a description that does not fit
        return list(range(eeg.n_channels)), _numbered(eeg.n_channels), np.ones(eeg.n_channels), True
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


def _numbered(n_channels: int) -> tuple[str, ...]:
    return tuple(f"ch{i + 1}" for i in range(n_channels))


# -- time ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Segment:
    """An unbroken run of samples; sample ``start + k`` has the stamp ``t_s + k * step_s`` (jitter removed)."""

    start: int
    n_samples: int
    t_s: float
    step_s: float


def _segments(t_s: NDArray[np.float64], sfreq_hz: float) -> tuple[_Segment, ...]:
    """Cut the stamps where they shift for good by more than 1.5 samples, and fit a line to each piece.

    Chunks that share a stamp, or late ones, jump too; but the median over the second around them does not.
    """
    n_around = max(2, round(sfreq_hz))
    step_s, lag = 1 / sfreq_hz, 10 * n_around
    if len(t_s) > 2 * lag:  # the measured step: one sample file is 8 % from nominal
        step_s = max(float(np.median(t_s[lag:] - t_s[:-lag])) / lag, 0.5 * step_s)
    late = t_s / step_s - np.arange(len(t_s))  # how late each sample is, in samples
    jumps = np.abs(np.diff(late))  # (n_samples - 1,)
    n_candidates = np.count_nonzero(jumps > _GAP_SAMPLES)
    starts = [0]
    for i in (np.argsort(-jumps, kind="stable")[:n_candidates] + 1).tolist():  # the largest jump first
        place = bisect_right(starts, i)
        before = late[max(starts[place - 1], i - n_around) : i]
        after = late[i : min([*starts[place : place + 1], i + n_around])]
        if min(len(before), len(after)) < n_around // 4:
            continue  # too short to tell a shift from a late chunk
        if abs(np.median(after) - np.median(before)) > _GAP_SAMPLES:
            starts.insert(place, i)
    ends = [*starts[1:], len(t_s)]
    return tuple(_fit(t_s[a:b], start=a, sfreq_hz=sfreq_hz) for a, b in zip(starts, ends, strict=True))


def _fit(t_s: NDArray[np.float64], *, start: int, sfreq_hz: float) -> _Segment:
    k = np.arange(len(t_s), dtype=np.float64)
    if len(t_s) < 3 or np.ptp(t_s) <= 0:
        return _Segment(start, len(t_s), float(t_s[0]), 1 / sfreq_hz)
    step_s = float(np.sum((k - k.mean()) * (t_s - t_s.mean())) / np.sum((k - k.mean()) ** 2))  # least squares
    if step_s <= 0:
        step_s = 1 / sfreq_hz
    return _Segment(start, len(t_s), float(t_s.mean() - step_s * k.mean()), step_s)


def _measured_hz(segments: Sequence[_Segment]) -> float | None:
    longest = max(segments, key=lambda each: each.n_samples)
    return 1 / longest.step_s if longest.n_samples >= 10 else None


def _events(streams: Sequence[_Stream], segments: Sequence[_Segment], sfreq_hz: float) -> tuple[tuple[Event, ...], int]:
    """Place every string marker on its nearest sample; count those more than one sample away from any."""
    events = []
    n_dropped = 0
    for stream in streams:
        if not stream.is_text:
            continue
        for t_s, texts in zip(stream.t_s.tolist(), stream.values, strict=True):
            sample, distance = _nearest(t_s, segments, sfreq_hz)
            if distance > 1.0 + 1e-6:  # stamps near 1e6 s resolve 1e-10 s
                n_dropped += 1
                continue
            if text := " ".join(str(each).strip() for each in texts).strip():
                events.append(Event(sample, text))
    return tuple(sorted(events)), n_dropped


def _nearest(t_s: float, segments: Sequence[_Segment], sfreq_hz: float) -> tuple[int, float]:
    """Return the sample nearest to a stamp, and how far it is, in samples."""
    best = (0, np.inf)
    for each in segments:
        k = min(max(round((t_s - each.t_s) / each.step_s), 0), each.n_samples - 1)
        distance = abs(t_s - each.t_s - k * each.step_s) * sfreq_hz
        if distance < best[1]:
            best = (each.start + k, distance)
    return best
