"""XDF 1.0 writer: the bytes of each chunk, and a file that always ends with a whole chunk. Used by `disk_writer`.

The format is specified in https://github.com/sccn/xdf/wiki/Specifications. This module uses no LSL, clock or thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError

_FILE_HEADER, _STREAM_HEADER, _SAMPLES, _CLOCK_OFFSET, _BOUNDARY, _FOOTER = 1, 2, 3, 4, 5, 6
_UUID: Final = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")  # from the specification
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_REFERENCE = re.compile("&#(?:x0*([0-9a-fA-F]{1,6})|0*([0-9]{1,7}));")


class Chunk(bytes):
    """The bytes of one chunk, with the number of samples in it."""

    n_samples: int = 0


def file_header() -> Chunk:
    """Return the chunk that follows the file's magic code."""
    # The time zone without a colon, as LabRecorder writes it: MNELAB 1.4 inserts one and fails if there are two.
    now = datetime.now(UTC).astimezone().strftime("%Y-%m-%dT%H:%M:%S%z")
    return _chunk(_FILE_HEADER, _xml(f"<version>1.0</version><datetime>{now}</datetime>"))


def stream_header(stream_id: int, xml: str) -> Chunk:
    """Return the chunk that introduces a stream: its full LSL description, see `valid_xml`."""
    return _chunk(_STREAM_HEADER, xml.encode(), stream_id=stream_id)


def samples(stream_id: int, values: NDArray[Any], t_s: NDArray[np.float64]) -> Chunk:
    """Return a chunk of samples, each with its own timestamp.

    Parameters
    ----------
    values
        (n_new, n_channels): numbers, or bytes objects for a string stream, written unchanged.
    t_s
        (n_new,): seconds on the stream's own clock.
    """
    if values.dtype == object:
        body = b"".join(_text_sample(row, t) for row, t in zip(values.tolist(), t_s.tolist(), strict=True))
    else:
        packed = [("n_bytes", "u1"), ("t_s", "<f8"), ("x", values.dtype.newbyteorder("<"), values.shape[1:])]
        rows = np.empty(len(values), np.dtype(packed))  # (n_new,), without padding, as in the file
        rows["n_bytes"], rows["t_s"], rows["x"] = 8, t_s, values
        body = rows.tobytes()
    chunk = _chunk(_SAMPLES, _count(len(t_s)) + body, stream_id=stream_id)
    chunk.n_samples = len(t_s)
    return chunk


def _text_sample(row: Sequence[bytes], t_s: float) -> bytes:
    return struct.pack("<Bd", 8, t_s) + b"".join(_count(len(text)) + text for text in row)


def clock_offset(stream_id: int, *, measured_s: float, offset_s: float) -> Chunk:
    """Return a measurement: at `measured_s` on the stream's clock, the recorder's clock was `offset_s` ahead of it."""
    return _chunk(_CLOCK_OFFSET, struct.pack("<dd", measured_s, offset_s), stream_id=stream_id)


def boundary() -> Chunk:
    """Return a boundary chunk, from which a reader can continue after damaged data."""
    return _chunk(_BOUNDARY, _UUID)


def footer(
    stream_id: int,
    *,
    n_samples: int,
    first_s: float,
    last_s: float,
    offsets: Sequence[tuple[float, float]],
    facts: dict[str, str],
) -> Chunk:
    """Return the chunk that closes a stream.

    Parameters
    ----------
    first_s, last_s
        Timestamps of the first and the last sample.
    offsets
        All clock offsets of the stream: (measured_s, offset_s).
    facts
        Further elements, such as ``{"lost_samples": "3"}``.
    """
    listed = "".join(f"<offset><time>{t!r}</time><value>{value!r}</value></offset>" for t, value in offsets)
    more = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in facts.items())
    content = (
        f"<first_timestamp>{first_s!r}</first_timestamp><last_timestamp>{last_s!r}</last_timestamp>"
        f"<sample_count>{n_samples}</sample_count>{more}<clock_offsets>{listed}</clock_offsets>"
    )
    return _chunk(_FOOTER, _xml(content), stream_id=stream_id)


def valid_xml(xml: str) -> str:
    """Replace the characters in a stream's description that XML forbids; with any of them, readers reject the file.

    Raises
    ------
    ValueError
        If the result is still not valid XML.
    """
    xml = _REFERENCE.sub(_valid_reference, _NOT_XML.sub("?", xml))
    try:
        ElementTree.fromstring(xml.encode())  # noqa: S314 - expat refuses entity bombs, and liblsl writes no entities
    except ElementTree.ParseError as error:
        raise ValueError(f"its description is not valid XML: {error}") from None
    return xml


def _valid_reference(found: re.Match[str]) -> str:
    """Replace a reference such as ``&#01;``, which liblsl writes for a control character and parsers reject."""
    code = int(found[1], 16) if found[1] else int(found[2])
    return "?" if code > sys.maxunicode or _NOT_XML.match(chr(code)) else found[0]


def _xml(content: str) -> bytes:
    return f'<?xml version="1.0"?><info>{content}</info>'.encode()


def _chunk(tag: int, content: bytes, *, stream_id: int | None = None) -> Chunk:
    head = struct.pack("<H", tag) + (b"" if stream_id is None else struct.pack("<I", stream_id))
    return Chunk(_count(len(head) + len(content)) + head + content)


def _count(n: int) -> bytes:
    if n < 1 << 8:
        return struct.pack("<BB", 1, n)
    return struct.pack("<BI", 4, n) if n < 1 << 32 else struct.pack("<BQ", 8, n)


class XdfFile:
    """An XDF file that is being written; between two calls of `write` it ends with a whole chunk.

    Parameters
    ----------
    path
        Must not exist, unless `force` is true.

    Attributes
    ----------
    n_bytes, n_samples
        How much is in the file.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path = path
        self.n_bytes = self.n_samples = 0
        try:
            self._file = path.open("wb" if force else "xb", buffering=0)
        except OSError as error:
            raise DataError(f"Cannot create {path}: {error.strerror}.") from None
        self.write([Chunk(b"XDF:"), file_header()])

    def write(self, chunks: Sequence[Chunk]) -> None:
        """Append chunks in one unbuffered write.

        Raises
        ------
        DataError
            If the disk is full or fails. The file is truncated to its last whole chunk and closed.
        """
        batch, n_done = b"".join(chunks), 0
        try:
            while n_done < len(batch):
                n_done += self._file.write(memoryview(batch)[n_done:])
        except OSError as error:
            self._truncate(chunks, n_done)
            raise DataError(
                f"{self.path}: {error.strerror or error}. The recording ends here; {self.n_samples} samples "
                f"({self.n_bytes / 1e6:.1f} MB) are saved and readable. Free some space, and record to another file."
            ) from error
        self.n_bytes += len(batch)
        self.n_samples += sum(chunk.n_samples for chunk in chunks)

    def _truncate(self, chunks: Sequence[Chunk], n_written: int) -> None:
        """Keep only the chunks that were written completely."""
        for chunk in chunks:
            if len(chunk) > n_written:
                break
            n_written -= len(chunk)
            self.n_bytes += len(chunk)
            self.n_samples += chunk.n_samples
        with contextlib.suppress(OSError):  # if even this fails, readers skip the last chunk themselves
            self._file.truncate(self.n_bytes)
        self.close()

    def sync(self) -> None:
        """Make sure that the data written so far survive a power failure.

        Raises
        ------
        DataError
            If the disk reports an error only now.
        """
        try:
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._file.fileno())
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}; its last seconds may be missing.") from error

    def close(self) -> None:
        self._file.close()
