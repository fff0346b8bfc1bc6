"""A strict reader of MATLAB 5 files: numeric arrays, text, and cells of these. Used by the competition's reader.

On some damaged files (seen with 1.17 and a few flipped bytes), SciPy's `loadmat` ends the process with a segmentation
fault. A downloaded file must give an error instead. Format: *MAT-File Format*, MathWorks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError

MatValue = NDArray[np.float64] | str | list["MatValue"]

_HEADER_BYTES = 128
_MAX_VARIABLE_BYTES = 1 << 30  # unpacked; the 1000 Hz release has 0.04 GB
_MAX_CELL_DEPTH = 3
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_CELL_CLASS, _CHAR_CLASS, _NUMBER_CLASSES = 1, 4, range(6, 16)
_COMPLEX_FLAG = 0x0800


class _DamagedError(Exception):
    """The bytes are invalid; `read_mat` adds the name of the file."""


def read_mat(path: Path, *, names: Collection[str]) -> dict[str, MatValue]:
    """Read the variables with these names, if there are such, from a MATLAB file of version 5 to 7.

    Returns
    -------
    dict
        Numbers of any type as float64 in MATLAB's shape, text of one row as str. Cells, and text of several rows, as a
        flat list.

    Raises
    ------
    DataError
        If the file is missing, of another format, truncated or damaged, or if a variable is of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    try:
        return _variables(content, names=names)
    except (_DamagedError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path} is not a complete MATLAB file: {error}. Truncated or damaged? Get it again."
        ) from error


def _variables(content: bytes, *, names: Collection[str]) -> dict[str, MatValue]:
    order = _byte_order(content)
    found: dict[str, MatValue] = {}
    for kind, body in _elements(memoryview(content)[_HEADER_BYTES:], order):
        inside = _elements(_unpacked(body), order) if kind == _COMPRESSED else iter([(kind, body)])
        kind_inside, matrix = _next(inside)
        if kind_inside != _MATRIX:
            raise _DamagedError(f"expected a variable, found an element of type {kind_inside}")
        name, value = _matrix(matrix, order, names=names)
        if value is not None:
            found[name] = value
    return found


def _byte_order(content: bytes) -> str:
    if content[:8] == b"\x89HDF\r\n\x1a\n" or content[:10] == b"MATLAB 7.3":
        raise _DamagedError("it has version 7.3 (HDF5), expected 5 to 7: save it with -v7")
    mark = content[126:128]
    if len(content) < _HEADER_BYTES or mark not in {b"IM", b"MI"}:
        raise _DamagedError(f"{len(content)} bytes without the header of version 5 to 7")
    return "<" if mark == b"IM" else ">"


def _unpacked(packed: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    body = unpacker.decompress(packed, _MAX_VARIABLE_BYTES)
    if not unpacker.eof:
        raise _DamagedError("a compressed variable that ends early or has more than 1 GiB")
    return memoryview(body)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Iterate over consecutive data elements: (type, bytes)."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise _DamagedError(f"{len(data) - position} bytes left over")
        first, second = np.frombuffer(data[position : position + 8], f"{order}u4").tolist()
        if first >> 16:  # small: type and size in the first four bytes, then up to four bytes of content
            kind, size, start = first & 0xFFFF, first >> 16, position + 4
            step = 8
            fits = size <= 4
        else:
            kind, size, start = first, second, position + 8
            step = 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)
            fits = start + size <= len(data)
        if not fits:
            raise _DamagedError(f"an element of {size} bytes, but only {max(0, len(data) - start)} are left")
        yield kind, data[start : start + size]
        position += step


def _matrix(
    body: memoryview, order: str, *, names: Collection[str] | None, depth: int = 0
) -> tuple[str, MatValue | None]:
    """Read one array; its value is None if `names` does not contain its name."""
    if not len(body):
        return "", np.zeros((0, 0))  # an empty cell
    elements = _elements(body, order)
    flags = _numbers(*_next(elements), order)
    shape = tuple(int(n) for n in _numbers(*_next(elements), order))
    _, name_bytes = _next(elements)
    name = bytes(name_bytes).decode("latin-1")
    if names is not None and name not in names:
        return name, None
    kind = int(flags[0]) & 0xFF if flags.size else 0
    n_values = math.prod(shape)
    if len(shape) < 2 or min(shape) < 0 or n_values > len(body):
        raise _DamagedError(f"variable {name!r} with the impossible shape {shape}")
    if kind in _NUMBER_CLASSES and not int(flags[0]) & _COMPLEX_FLAG:
        values = _numbers(*_next(elements), order)
        if len(values) != n_values:
            raise _DamagedError(f"variable {name!r} of shape {shape} with {len(values)} values")
        return name, values.reshape(shape, order="F")
    if kind == _CHAR_CLASS:
        return name, _text(*_next(elements), order, shape=shape)
    if kind == _CELL_CLASS and depth < _MAX_CELL_DEPTH:
        cells = [_matrix(_next(elements)[1], order, names=None, depth=depth + 1)[1] for _ in range(n_values)]
        return name, [cell for cell in cells if cell is not None]
    raise _DamagedError(f"variable {name!r} is neither numbers, text nor cells (MATLAB class {kind})")


def _next(elements: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview]:
    element = next(elements, None)
    if element is None:
        raise _DamagedError("a variable that ends early")
    return element


def _numbers(kind: int, data: memoryview, order: str) -> NDArray[np.float64]:
    if kind not in _NUMBERS:
        raise _DamagedError(f"numbers of the unknown type {kind}")
    # numpy raises ValueError if the size is not a multiple of the item size
    with np.errstate(invalid="ignore", over="ignore"):  # damaged bits may be signalling NaN
        return np.frombuffer(data, np.dtype(order + _NUMBERS[kind])).astype(np.float64)


def _text(kind: int, data: memoryview, order: str, *, shape: tuple[int, ...]) -> MatValue:
    if kind not in _TEXTS:
        raise _DamagedError(f"text of the unknown type {kind}")
    encoding = _TEXTS[kind]
    if encoding == "utf-16":
        encoding += "-le" if order == "<" else "-be"
    text = bytes(data).decode(encoding)
    if len(text) != math.prod(shape):
        raise _DamagedError(f"a text of shape {shape} with {len(text)} characters")
    if shape[0] == 1:
        return text
    return [text[row :: shape[0]] for row in range(shape[0])]  # stored column by column
