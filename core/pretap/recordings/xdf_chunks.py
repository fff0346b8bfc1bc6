"""Whether the chunks of an XDF file are whole, before pyxdf believes the counts in them.

pyxdf sets aside memory for as many samples as a chunk claims to hold: one damaged byte can claim 4 billion.
Format: https://github.com/sccn/xdf/wiki/Specifications.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

from pretap.errors import DataError

__all__ = ["check_chunks"]

_FILE_HEADER, _STREAM_HEADER, _SAMPLES, _CLOCK_OFFSET, _BOUNDARY, _STREAM_FOOTER = 1, 2, 3, 4, 5, 6
_VALUE_BYTES = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "double64": 8, "string": 2}  # at least


class _DamagedError(Exception):
    """What is wrong with the bytes; `check_chunks` adds which file it is."""


def check_chunks(path: Path) -> None:
    """Walk all chunks of an XDF file; raise DataError where one is cut short or claims more than it can hold."""
    try:
        content = path.read_bytes()
        if path.name.lower().endswith((".xdfz", ".xdf.gz")):
            content = gzip.decompress(content)
        _walk(memoryview(content))
    except (_DamagedError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole XDF file: {error}. Copy it again.") from error


def _walk(content: memoryview) -> None:
    if bytes(content[:4]) != b"XDF:":
        raise _DamagedError("it does not begin with 'XDF:'")
    sample_bytes: dict[bytes, int] = {}  # what one sample of each stream takes at least
    position = 4
    while position < len(content):
        size, start = _count(content, position)
        chunk = content[start : start + size]
        if size < 2 or len(chunk) < size:
            raise _DamagedError(f"a chunk at byte {position} says {size} bytes where {len(chunk)} are left")
        tag = int.from_bytes(chunk[:2], "little")
        stream, body = bytes(chunk[2:6]), chunk[6:]
        if tag == _STREAM_HEADER:
            sample_bytes[stream] = _sample_bytes(bytes(body))
        elif tag in {_SAMPLES, _CLOCK_OFFSET, _STREAM_FOOTER} and stream not in sample_bytes:
            raise _DamagedError(f"a chunk at byte {position} belongs to no stream")
        elif tag not in {_FILE_HEADER, _SAMPLES, _CLOCK_OFFSET, _BOUNDARY, _STREAM_FOOTER}:
            raise _DamagedError(f"a chunk at byte {position} is of the unknown kind {tag}")
        if tag == _SAMPLES:
            n_samples, first = _count(body, 0)
            if n_samples * sample_bytes[stream] > len(body) - first:
                raise _DamagedError(f"a chunk at byte {position} says {n_samples} samples in {len(body)} bytes")
        position = start + size


def _count(content: memoryview, position: int) -> tuple[int, int]:
    """Read a length of 1, 4 or 8 bytes, and where it ends."""
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
