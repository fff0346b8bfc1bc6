"""Checks the chunks of an XDF file before pyxdf reads them. Used by `load_streams`.

pyxdf allocates memory for as many samples as a chunk announces, and one damaged byte can announce 4 billion.
Format: https://github.com/sccn/xdf/wiki/Specifications.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from pathlib import Path

from pretap.errors import DataError

_FILE_HEADER, _STREAM_HEADER, _SAMPLES, _CLOCK_OFFSET, _BOUNDARY, _STREAM_FOOTER = 1, 2, 3, 4, 5, 6
_BOUNDARY_MARK = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
_VALUE_BYTES = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "double64": 8, "string": 2}  # at least


class _DamagedError(Exception):
    """The bytes are invalid; `complete_chunks` adds the name of the file."""


def complete_chunks(path: Path) -> tuple[bytes, str]:
    """Read an XDF file up to its last complete chunk, with a note if bytes after it are left out.

    A recorder that lost power or its disk leaves an incomplete chunk, or zeros, at the end. If complete chunks follow
    (a boundary, or the last footer), the file is damaged.

    Raises
    ------
    DataError
        If a chunk before the end is damaged or announces more samples than it can have.
    """
    try:
        content = path.read_bytes()
        if path.name.lower().endswith((".xdfz", ".xdf.gz")):
            content = _unzip(content)
        n_complete = _walk(memoryview(content))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: expected an XDF file.") from None
    except (_DamagedError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a complete XDF file: {error}. Copy it again.") from error
    n_left = len(content) - n_complete
    note = f"truncated: {n_left} bytes after its last complete chunk are not read" if n_left else ""
    return content[:n_complete], note


def _unzip(content: bytes) -> bytes:
    parts = []
    while content:
        member = zlib.decompressobj(wbits=31)  # gzip; unlike gzip.decompress it also reads a truncated file
        parts.append(member.decompress(content))
        content = member.unused_data
    return b"".join(parts)


def _walk(content: memoryview) -> int:
    """Return the position after the last complete chunk."""
    if bytes(content[:4]) != b"XDF:":
        raise _DamagedError("it does not begin with 'XDF:'")
    sample_bytes: dict[bytes, int] = {}  # minimum size of a sample, by stream
    position = 4
    while position < len(content):
        try:
            size, start = _count(content, position)
            if size < 2 or size > len(content) - start:
                left = len(content) - start
                raise _DamagedError(f"the chunk at byte {position} announces {size} bytes, but {left} are left")  # noqa: TRY301
        except _DamagedError:
            if _is_end(content[position:], sample_bytes):
                return position
            raise
        _check(content[start : start + size], sample_bytes, position=position)
        position = start + size
    return position


def _is_end(rest: memoryview, streams: Collection[bytes]) -> bool:
    """Whether the rest of the file is nothing but the beginning of a chunk, or zeros."""
    tail = bytes(rest)
    if not tail.strip(b"\0"):
        return True
    if _BOUNDARY_MARK in tail or tail.endswith(b"</info>"):
        return False
    n_bytes = tail[0]
    if n_bytes not in {1, 4, 8}:
        return False
    head = tail[1 + n_bytes : 7 + n_bytes]
    tag = int.from_bytes(head[:2], "little")
    if len(head) < 2:
        return True
    if tag in {_SAMPLES, _CLOCK_OFFSET, _STREAM_FOOTER}:
        return len(head) < 6 or head[2:6] in streams
    return tag in {_FILE_HEADER, _STREAM_HEADER, _BOUNDARY}


def _check(chunk: memoryview, sample_bytes: dict[bytes, int], *, position: int) -> None:
    tag = int.from_bytes(chunk[:2], "little")
    stream, body = bytes(chunk[2:6]), chunk[6:]
    if tag == _STREAM_HEADER:
        sample_bytes[stream] = _sample_bytes(bytes(body))
    elif tag in {_SAMPLES, _CLOCK_OFFSET, _STREAM_FOOTER} and stream not in sample_bytes:
        raise _DamagedError(f"the chunk at byte {position} belongs to no stream")
    elif tag not in {_FILE_HEADER, _SAMPLES, _CLOCK_OFFSET, _BOUNDARY, _STREAM_FOOTER}:
        raise _DamagedError(f"the chunk at byte {position} is of the unknown kind {tag}")
    if tag == _SAMPLES:
        n_samples, first = _count(body, 0)
        if n_samples * sample_bytes[stream] > len(body) - first:
            raise _DamagedError(f"the chunk at byte {position} announces {n_samples} samples in {len(body)} bytes")


def _count(content: memoryview, position: int) -> tuple[int, int]:
    """Read a length of 1, 4 or 8 bytes, and return it with the position after it."""
    n_bytes = content[position] if position < len(content) else 0
    if n_bytes not in {1, 4, 8} or position + 1 + n_bytes > len(content):
        raise _DamagedError(f"no length at byte {position}")
    return int.from_bytes(content[position + 1 : position + 1 + n_bytes], "little"), position + 1 + n_bytes


def _sample_bytes(header: bytes) -> int:
    count = re.search(rb"<channel_count>\s*(\d{1,9})\s*</channel_count>", header)
    kind = re.search(rb"<channel_format>\s*(\w+)\s*</channel_format>", header)
    if not count or not kind or kind[1].decode("latin-1") not in _VALUE_BYTES:
        raise _DamagedError("a stream without a channel count or with an unknown format")
    return 1 + int(count[1]) * _VALUE_BYTES[kind[1].decode("latin-1")]
