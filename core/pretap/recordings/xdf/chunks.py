"""The chunks of an XDF file, and the search for the next one after damage. Used by `load`.

Format: https://github.com/sccn/xdf/wiki/Specifications.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pretap.recordings.xdf.content import BLOCK_BYTES, Content

FILE_HEADER: Final = 1
STREAM_HEADER: Final = 2
SAMPLES: Final = 3
CLOCK_OFFSET: Final = 4
BOUNDARY: Final = 5
STREAM_FOOTER: Final = 6

_OF_A_STREAM = (STREAM_HEADER, SAMPLES, CLOCK_OFFSET, STREAM_FOOTER)
_BOUNDARY_MARK = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
_LONGEST_HEAD = 15  # length, tag and stream
_LONGEST_MATCH = 32  # of the pattern of `next_chunk`


class DamagedError(Exception):
    """The bytes are invalid, for the reason in the message."""


@dataclass(frozen=True)
class Chunk:
    """Where a chunk begins in the file, and its contents after tag and stream; `stream` is -1 if it has none."""

    tag: int
    stream: int
    position: int
    start: int
    stop: int


def read_count(content: Content, position: int) -> tuple[int, int]:
    """Read a length of 1, 4 or 8 bytes, and return it with the position after it."""
    head = content.read(position, position + 9)
    n_bytes = head[0] if head else 0
    if n_bytes not in {1, 4, 8} or 1 + n_bytes > len(head):
        raise DamagedError(f"no length at byte {position}")
    return int.from_bytes(head[1 : 1 + n_bytes], "little"), position + 1 + n_bytes


def read_chunk(content: Content, position: int, streams: Collection[int]) -> Chunk:
    """Read the head of the chunk at `position`; its stream must be one of `streams`, unless it is a new stream's.

    Raises
    ------
    DamagedError
        If there is no chunk, or an incomplete one.
    """
    size, at = read_count(content, position)
    stop = at + size
    if size < 2 or stop > content.n_bytes:
        raise DamagedError(f"the chunk at byte {position} announces {size} bytes, {content.n_bytes - at} are left")
    tag = int.from_bytes(content.read(at, at + 2), "little")
    if tag not in (FILE_HEADER, BOUNDARY, *_OF_A_STREAM):
        raise DamagedError(f"the chunk at byte {position} is of the unknown kind {tag}")
    if tag not in _OF_A_STREAM:
        return Chunk(tag, -1, position, at + 2, stop)
    if size < 6:
        raise DamagedError(f"the chunk at byte {position} names no stream")
    stream = int.from_bytes(content.read(at + 2, at + 6), "little")
    if (stream in streams) == (tag == STREAM_HEADER):
        raise DamagedError(f"the chunk at byte {position} belongs to no stream, or describes one again")
    return Chunk(tag, stream, position, at + 6, stop)


def next_chunk(content: Content, position: int, streams: Collection[int]) -> int:
    """Return where the next chunk begins, at `position` or later, or the length of the file if none follows.

    Boundary chunks are made for this search, but not every recorder writes them. So it also looks for the tag of a
    known stream after a length that leads to another chunk, and for the description of a new stream.
    """
    ids = b"|".join(re.escape(each.to_bytes(4, "little")) for each in streams)
    known = rb"[\x03\x04\x06]\x00(?:%b)|" % ids if ids else b""
    new = rb"\x02\x00.{4}(?:\xef\xbb\xbf)?<(?:\?xml|info)"
    pattern = re.compile(rb"(?s:%b%b|%b)" % (known, new, re.escape(_BOUNDARY_MARK)))
    for first in range(position, content.n_bytes, BLOCK_BYTES):
        block = bytes(content.read(first, first + BLOCK_BYTES + _LONGEST_MATCH))
        for match in pattern.finditer(block):
            at = first + match.start()
            is_mark = match[0] == _BOUNDARY_MARK
            starts = [at + len(_BOUNDARY_MARK)] if is_mark else [at - 1 - n for n in (1, 4, 8)]
            for start in starts:
                if start >= position and is_chunk(content, start, streams):
                    return start
    return content.n_bytes


def is_chunk(content: Content, position: int, streams: Collection[int]) -> bool:
    """Whether a chunk begins here and another one, or the end of the file, follows it."""
    try:
        chunk = read_chunk(content, position, streams)
        known = {*streams, chunk.stream}
        if chunk.stop < content.n_bytes:
            read_count(content, chunk.stop)
            head = content.read(chunk.stop, chunk.stop + _LONGEST_HEAD)
            tag = int.from_bytes(head[1 + head[0] : 3 + head[0]], "little")
            stream = int.from_bytes(head[3 + head[0] : 7 + head[0]], "little")
            return tag in {FILE_HEADER, STREAM_HEADER, BOUNDARY} or (tag in _OF_A_STREAM and stream in known)
    except DamagedError:
        return position == content.n_bytes
    return True
