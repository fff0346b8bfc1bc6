"""Loads the streams of an XDF file around any damage, and repairs invalid timestamps. Used by `open_xdf`.

The values of samples stay in the file: an hour of 64 channels at 1000 Hz has 29 MB of timestamps and 920 MB of values.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.recordings.xdf.chunks import (
    CLOCK_OFFSET,
    SAMPLES,
    STREAM_FOOTER,
    STREAM_HEADER,
    Chunk,
    DamagedError,
    is_chunk,
    next_chunk,
    read_chunk,
)
from pretap.recordings.xdf.clock_offsets import add_offsets, n_surplus
from pretap.recordings.xdf.content import Content
from pretap.recordings.xdf.description import essential_fields, parse_xml, text_of
from pretap.recordings.xdf.recorded_stream import RecordedStream, rate_of
from pretap.recordings.xdf.sample_times import fill_timestamps
from pretap.recordings.xdf.samples import DTYPES, FileValues, fill_in, pieces, read_texts
from pretap.spelling import counted

_MAX_TIMESTAMP_S = 1e12  # 30 000 years; beyond that, floats do not even resolve 0.1 ms
_MAX_CHANNELS = 1 << 16


@dataclass(frozen=True, eq=False)
class LoadedFile:
    """The streams of an XDF file, and what is wrong with it.

    Attributes
    ----------
    streams
        All streams of the file.
    n_filled, n_untimed
        Samples with invalid timestamps, by the id of their stream: those that follow the sample before them at the
        nominal rate, and those that are left out because there is none, or no rate.
    notes
        Sentences about a file that is damaged, truncated, or was not closed.
    """

    streams: list[RecordedStream]
    n_filled: Counter[str]
    n_untimed: Counter[str]
    notes: list[str]


def load_streams(path: Path, *, synchronize: bool) -> LoadedFile:
    """Load all streams of a file, with `synchronize` on the recorder's clock, otherwise each on its own.

    Damaged bytes are left out up to the next chunk that can be read.

    Raises
    ------
    DataError
        If it is not an XDF file.
    """
    content = Content(path)
    if bytes(content.read(0, 4)) != b"XDF:":
        raise DataError(f"{path} is not an XDF file: it does not begin with 'XDF:'. Was it copied completely?")
    streams: dict[int, _Stream] = {}
    notes: list[str] = []
    lost: list[tuple[int, int, str]] = []  # position, bytes and reason
    position, n_left = 4, 0
    while position < content.n_bytes:
        try:
            chunk = read_chunk(content, position, streams)
        except DamagedError as error:
            resumed = next_chunk(content, position + 1, streams)
            if resumed == content.n_bytes:
                n_left = resumed - position
                break
            lost.append((position, resumed - position, str(error)))
        else:
            resumed = chunk.stop
            try:
                _read_into(streams, content, chunk, notes)
            except DamagedError as error:
                resumed = _after_damage(content, chunk, streams)
                lost.append((position, resumed - position, str(error)))
        if lost and lost[-1][0] == position:
            for stream in streams.values():
                stream.times.forget()
        position = resumed
    if lost:
        n_bytes = sum(n for _, n, _ in lost)
        notes.append(
            f"The file is damaged: {n_bytes} of its {content.n_bytes} bytes could not be read, in "
            f"{counted(len(lost), 'place')} (first, {lost[0][2]}). Everything else was read."
        )
    if n_left or content.is_cut:
        notes.append(
            f"The file is truncated: {counted(n_left, 'byte')} after its last complete chunk could not be read."
        )
    elif any(each.footer is None for each in streams.values()) and not lost:
        notes.append("The file was not closed by its recorder, so it may have ended early.")
    loaded = [each.finish(synchronize=synchronize, notes=notes) for each in streams.values()]
    n_filled = Counter({str(key): each.times.n_filled for key, each in streams.items()})
    n_untimed = Counter({str(key): each.times.n_untimed for key, each in streams.items()})
    return LoadedFile(loaded, n_filled, n_untimed, notes)


def _after_damage(content: Content, chunk: Chunk, streams: dict[int, _Stream]) -> int:
    """Return where to continue after a chunk with damaged contents: after it, if another chunk begins there."""
    if chunk.stop == content.n_bytes or is_chunk(content, chunk.stop, streams):
        return chunk.stop
    return next_chunk(content, chunk.position + 1, streams)


def _read_into(streams: dict[int, _Stream], content: Content, chunk: Chunk, notes: list[str]) -> None:
    if chunk.tag == STREAM_HEADER:
        streams[chunk.stream] = _new_stream(content, chunk, notes)
    elif chunk.tag == SAMPLES:
        streams[chunk.stream].add_samples(chunk)
    elif chunk.tag == CLOCK_OFFSET:
        if chunk.stop - chunk.start != 16:
            raise DamagedError(f"the clock offset at byte {chunk.position} has another length than 16 bytes")
        streams[chunk.stream].add_offset(*struct.unpack("<dd", content.read(chunk.start, chunk.stop)))
    elif chunk.tag == STREAM_FOOTER:
        stream = streams[chunk.stream]
        try:
            stream.footer = parse_xml(bytes(content.read(chunk.start, chunk.stop)))
        except DamagedError as error:
            raise DamagedError(f"the footer of {stream.name!r} at byte {chunk.position}: {error}") from None


def _new_stream(content: Content, chunk: Chunk, notes: list[str]) -> _Stream:
    raw = bytes(content.read(chunk.start, chunk.stop))
    is_damaged = False
    try:
        info = parse_xml(raw)
    except DamagedError:
        info, is_damaged = essential_fields(raw), True
    count, kind = text_of(info, "channel_count"), text_of(info, "channel_format")
    is_known = kind == "string" or kind in DTYPES
    if not is_known or not count.isdecimal() or not 0 < int(count) <= _MAX_CHANNELS:
        raise DamagedError(f"the stream described at byte {chunk.position} has no channel count or an unknown format")
    stream = _Stream(content, chunk.stream, info)
    if is_damaged:
        notes.append(f"The description of {stream.name!r} is damaged, so its channel labels and units were not read.")
    return stream


class _Timestamps:
    """The timestamps of a stream whose chunks are being read, with invalid ones replaced.

    Attributes
    ----------
    n_filled, n_untimed
        See `LoadedFile`.
    """

    def __init__(self, step_s: float) -> None:
        self.n_filled = self.n_untimed = 0
        self._step_s = step_s  # 0 without a rate
        self._t_s = array("d")
        self._last_in_file_s = 0.0  # as written; the other one is repaired
        self._last_s: float | None = None

    def forget(self) -> None:
        """Forget the last timestamps, so that none is counted from them: samples may be lost."""
        self._last_in_file_s = math.nan
        self._last_s = None

    def add(self, given_s: NDArray[np.float64], is_given: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Add the timestamps of a chunk, and return which samples are kept, (n_new,)."""
        t_s = fill_in(given_s, is_given, last_s=self._last_in_file_s, step_s=self._step_s)  # (n_new,)
        is_kept = np.ones(len(t_s), bool)
        if not len(t_s):
            return is_kept
        self._last_in_file_s = float(t_s[-1])
        is_valid = np.abs(t_s) < _MAX_TIMESTAMP_S  # False for NaN
        if not is_valid.all():
            n_invalid = int(np.count_nonzero(~is_valid))
            if self._step_s and (is_valid.any() or self._last_s is not None):
                self.n_filled += n_invalid
                t_s = fill_timestamps(t_s, is_valid, before_s=self._last_s, step_s=self._step_s)
            else:  # there is nothing to extrapolate from
                self.n_untimed += n_invalid
                is_kept = is_valid
                t_s = t_s[is_kept]
        if len(t_s):
            self._last_s = float(t_s[-1])
            self._t_s.frombytes(t_s.tobytes())
        return is_kept

    def as_array(self) -> NDArray[np.float64]:
        """Return all of them, (n_samples,), without a copy."""
        return np.frombuffer(self._t_s, np.float64) if self._t_s else np.zeros(0)


class _Stream:
    """A stream whose chunks are being read."""

    def __init__(self, content: Content, id: int, info: Element) -> None:  # noqa: A002
        self._content, self._id, self._info = content, id, info
        self.name = text_of(info, "name")
        self.footer: Element | None = None
        self._n_channels = int(text_of(info, "channel_count"))
        sfreq_hz = rate_of(info)
        self.times = _Timestamps(1 / sfreq_hz if sfreq_hz else 0.0)
        self._offsets: list[tuple[float, float]] = []  # when measured, and the offset
        kind = text_of(info, "channel_format")
        self._values = None if kind == "string" else FileValues(content, np.dtype(DTYPES[kind]), self._n_channels)
        self._rows: list[list[str]] = []

    def add_offset(self, at_s: float, offset_s: float) -> None:
        self._offsets.append((at_s, offset_s))

    def add_samples(self, chunk: Chunk) -> None:
        """Add the samples of a chunk, or none if it is damaged."""
        if self._values is None:
            rows, is_given, given_s = read_texts(self._content, chunk, self._n_channels)
            is_kept = self.times.add(given_s, is_given)
            self._rows += [row for row, kept in zip(rows, is_kept.tolist(), strict=True) if kept]
            return
        n_bytes = self._n_channels * self._values.dtype.itemsize
        positions, flags, stamps = [], [], []
        for position, records in pieces(self._content, chunk, n_bytes):
            positions.append(position)
            flags.append(records.is_given)
            stamps.append(records.given_s())
        if not positions:
            return
        is_kept = self.times.add(np.concatenate(stamps), np.concatenate(flags))
        start = 0
        for position, flag in zip(positions, flags, strict=True):
            self._values.append(position, is_kept[start : start + len(flag)])
            start += len(flag)

    def finish(self, *, synchronize: bool, notes: list[str]) -> RecordedStream:
        t_s = self.times.as_array()
        announced = text_of(self.footer, "sample_count")
        n_announced = int(announced) if announced.isdecimal() else None
        if synchronize:
            t_s = self._on_recorder_clock(t_s, n_announced, notes)
        if n_announced is not None and len(t_s) + self.times.n_untimed < n_announced:
            notes.append(f"{self.name!r} announces {n_announced} samples in its footer, but {len(t_s)} were found.")
        if self._values is None:
            return RecordedStream(self._info, self._id, t_s, self._rows[: len(t_s)])
        self._values.truncate(len(t_s))
        return RecordedStream(self._info, self._id, t_s, self._values)

    def _on_recorder_clock(
        self, t_s: NDArray[np.float64], n_announced: int | None, notes: list[str]
    ) -> NDArray[np.float64]:
        """Return the timestamps with the clock offsets added, without the surplus of an outlet's end."""
        offsets = self._offsets
        n_more = 0 if n_announced is None else n_surplus(len(t_s), n_announced, *_columns(offsets))
        if n_more:
            t_s, offsets = t_s[:-n_more], offsets[:-1]
            are = counted(n_more, "sample is", "samples are")
            notes.append(f"At the end of {self.name!r}, {are} left out that its outlet sent as it ended.")
        finite = [each for each in offsets if all(map(math.isfinite, each))]
        if len(finite) < len(offsets) and len(t_s):
            if not finite:
                notes.append(f"The clock offsets of {self.name!r} are not finite, so its samples have no time.")
                return t_s[:0]
            notes.append(
                f"{len(offsets) - len(finite)} clock offsets of {self.name!r} are not finite and were left out."
            )
        add_offsets(t_s, *_columns(finite))
        return t_s


def _columns(offsets: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [at_s for at_s, _ in offsets], [offset_s for _, offset_s in offsets]
