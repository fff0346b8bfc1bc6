"""The samples in the chunks of an XDF file: timestamps at once, values when they are needed. Used by `load`.

A sample is a byte, 0 or 8, a timestamp if that byte is 8, and the values. Samples without a timestamp follow the one
before them at the nominal rate.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.xdf.chunks import Chunk, DamagedError, read_count
from pretap.recordings.xdf.content import BLOCK_BYTES, Content

_STAMP = 8  # bytes of a timestamp, and the byte before it

DTYPES = {
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "float32": "<f4",
    "double64": "<f8",
}


class Values(Protocol):
    """The values of a stream of numbers."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Read samples ``0 <= start <= stop <= len``: (stop - start, n_channels)."""


class FileValues:
    """The values of a stream, which stay in the file until they are read.

    `append` adds the samples of one piece of a chunk. The index has 16 bytes for each piece.
    """

    def __init__(self, content: Content, dtype: np.dtype[Any], n_channels: int) -> None:
        self.dtype = dtype
        self._content, self._n_channels = content, n_channels
        self._positions = array("q")
        self._firsts = array("q")  # of the piece's samples in the stream
        self._kept: dict[int, tuple[int, NDArray[np.int64]]] = {}  # of pieces with left-out samples: n, those kept
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def append(self, position: int, is_kept: NDArray[np.bool_]) -> None:
        """Add the samples at this position of the file; `is_kept` (n_new,) is False for those to leave out."""
        n_kept = int(np.count_nonzero(is_kept))
        if not n_kept:
            return
        if n_kept < len(is_kept):
            self._kept[len(self._positions)] = (len(is_kept), np.flatnonzero(is_kept))
        self._positions.append(position)
        self._firsts.append(self._n)
        self._n += n_kept

    def truncate(self, n: int) -> None:
        """Leave out the samples from the n-th on."""
        self._n = min(n, self._n)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        out = np.empty((stop - start, self._n_channels), self.dtype)
        n_bytes = self._n_channels * self.dtype.itemsize
        k = bisect_right(self._firsts, start) - 1
        n_done = 0
        while n_done < len(out):
            first = self._firsts[k]
            n = (self._firsts[k + 1] if k + 1 < len(self._firsts) else self._n) - first
            n_in_file, kept = self._kept.get(k, (n, None))
            records = read_records(self._content, self._positions[k], n_in_file, n_bytes)
            piece = records.values().view(self.dtype)  # (n_in_file, n_channels)
            piece = (piece if kept is None else piece[kept])[start + n_done - first : stop - first]
            out[n_done : n_done + len(piece)] = piece
            n_done += len(piece)
            k += 1
        return out


class JoinedValues:
    """The values of several streams, one after the other."""

    def __init__(self, parts: Sequence[Values]) -> None:
        self._parts = parts
        self._edges: list[int] = [0, *np.cumsum([len(each) for each in parts]).tolist()]

    def __len__(self) -> int:
        return self._edges[-1]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        spans = zip(self._parts, pairwise(self._edges), strict=True)
        read = [
            part.read(max(start, first) - first, min(stop, last) - first)
            for part, (first, last) in spans
            if start < last and stop > first
        ]
        return np.concatenate(read or [self._parts[0].read(0, 0)])


@dataclass(frozen=True, eq=False)
class _Records:
    """Samples as they are in the file.

    `raw` has them all. `at` (n,) are the positions of their values in it, or None if all of them are equally long.
    """

    raw: memoryview
    is_given: NDArray[np.bool_]
    n_bytes: int
    at: NDArray[np.int64] | None
    stop: int

    def values(self) -> NDArray[np.uint8]:
        """Return the bytes of the values, (n, n_bytes)."""
        raw = np.frombuffer(self.raw, np.uint8)
        if self.at is None:
            return np.ascontiguousarray(raw.reshape(len(self.is_given), -1)[:, -self.n_bytes :])
        gathered: NDArray[np.uint8] = raw[self.at[:, None] + np.arange(self.n_bytes)]
        return gathered

    def given_s(self) -> NDArray[np.float64]:
        """Return the timestamps of those samples that have one."""
        raw = np.frombuffer(self.raw, np.uint8)
        if self.at is not None:
            stamps = raw[self.at[self.is_given][:, None] + np.arange(-_STAMP, 0)]
        elif self.is_given.size and self.is_given[0]:
            stamps = np.ascontiguousarray(raw.reshape(len(self.is_given), -1)[:, 1 : 1 + _STAMP])
        else:
            stamps = np.empty((0, _STAMP), np.uint8)
        found: NDArray[np.float64] = stamps.view("<f8")[:, 0]
        return found


def read_records(content: Content, position: int, n: int, n_bytes: int, *, end: int | None = None) -> _Records:
    """Read `n` samples of `n_bytes` each, which must not reach beyond `end`.

    Raises
    ------
    DamagedError
        If they do, or a sample begins with something other than 0 or 8.
    """
    end = content.n_bytes if end is None else end
    head = content.read(position, position + 1)
    n_row = 1 + n_bytes + (_STAMP if head and head[0] == _STAMP else 0)
    stop = position + n * n_row
    if head and head[0] in (0, _STAMP) and stop <= end:
        raw = content.read(position, stop)
        flags = np.frombuffer(raw, np.uint8)[::n_row]
        if (flags == head[0]).all():  # then each of them is where a sample begins
            return _Records(raw, flags == _STAMP, n_bytes, None, stop)
    raw = content.read(position, min(position + n * (1 + _STAMP + n_bytes), end))
    at, starts, given = 0, [], []
    try:
        for _ in range(n):
            has_stamp = raw[at] == _STAMP
            if raw[at] not in (0, _STAMP):
                raise DamagedError(f"no sample at byte {position + at}")
            at += 1 + _STAMP if has_stamp else 1
            given.append(has_stamp)
            starts.append(at)
            at += n_bytes
    except IndexError:
        at = len(raw) + 1
    if at > len(raw):
        raise DamagedError(f"the samples at byte {position} reach beyond their chunk")
    return _Records(raw[:at], np.array(given, bool), n_bytes, np.array(starts, np.int64), position + at)


def count_samples(content: Content, chunk: Chunk, n_least: int) -> tuple[int, int]:
    """Return the number of samples in a chunk, of at least `n_least` bytes each, and where the first one is.

    Raises
    ------
    DamagedError
        If the chunk is too short for them: one damaged byte can announce 4 billion.
    """
    n, position = read_count(content, chunk.start)
    if n * n_least > chunk.stop - position:
        raise DamagedError(
            f"the chunk at byte {chunk.position} announces {n} samples in {chunk.stop - chunk.start} bytes"
        )
    return n, position


def pieces(content: Content, chunk: Chunk, n_bytes: int) -> Iterator[tuple[int, _Records]]:
    """Yield the samples of a chunk as (position, samples), in pieces of about a megabyte.

    Raises
    ------
    DamagedError
        If the chunk does not have exactly the samples it announces.
    """
    n, position = count_samples(content, chunk, 1 + n_bytes)
    n_most = max(1, BLOCK_BYTES // (1 + _STAMP + n_bytes))
    while n:
        n_piece = min(n, n_most)
        records = read_records(content, position, n_piece, n_bytes, end=chunk.stop)
        yield position, records
        position, n = records.stop, n - n_piece
    if position != chunk.stop:
        raise DamagedError(f"the chunk at byte {chunk.position} has bytes after its samples")


def read_texts(
    content: Content, chunk: Chunk, n_channels: int
) -> tuple[list[list[str]], NDArray[np.bool_], NDArray[np.float64]]:
    """Read the samples of a chunk of texts: rows, whether each has a timestamp, and those timestamps."""
    n, position = count_samples(content, chunk, 1 + 2 * n_channels)
    rows, given, stamps = [], [], bytearray()
    for _ in range(n):
        flag = bytes(content.read(position, position + 1))
        if flag not in {b"\0", b"\x08"}:
            raise DamagedError(f"no sample at byte {position}")
        position += 1
        given.append(flag != b"\0")
        if given[-1]:
            stamps += content.read(position, position + _STAMP)
            position += _STAMP
        row = []
        for _ in range(n_channels):
            size, position = read_count(content, position)
            if size > chunk.stop - position:
                raise DamagedError(f"the text at byte {position} reaches beyond its chunk")
            row.append(str(content.read(position, position + size), "utf-8", "replace"))
            position += size
        rows.append(row)
    if position != chunk.stop:
        raise DamagedError(f"the chunk at byte {chunk.position} does not end with its samples")
    return rows, np.array(given, bool), np.frombuffer(stamps, "<f8")


def fill_in(
    given_s: NDArray[np.float64], is_given: NDArray[np.bool_], *, last_s: float, step_s: float
) -> NDArray[np.float64]:
    """Return the timestamps of all samples (n,): those without one follow the one before, as pyxdf adds them up."""
    if is_given.all():
        return given_s
    t_s = np.full(len(is_given), step_s)
    t_s[is_given] = given_s
    edges = [0, *(np.flatnonzero(is_given[1:]) + 1).tolist(), len(t_s)]
    for first, stop in pairwise(edges):
        if not is_given[first]:
            t_s[first] += last_s
        if stop - first > 1:
            np.add.accumulate(t_s[first:stop], out=t_s[first:stop])
        last_s = t_s[stop - 1]
    return t_s
