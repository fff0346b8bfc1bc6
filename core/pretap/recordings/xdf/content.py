"""The bytes of an XDF file, read a megabyte at a time. Used by `load` and `samples`."""

from __future__ import annotations

import zlib
from pathlib import Path

from pretap.errors import DataError

BLOCK_BYTES = 1 << 20


class Content:
    """Random access to the bytes of a file; of a compressed file, to its contents, which are kept in memory.

    A plain file is opened for each block. Thus a recording holds no file open, and a file of any size needs the memory
    of one block.

    Attributes
    ----------
    n_bytes
        The length.
    is_cut
        Whether the file is a compressed one that ends too early.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._block = (0, memoryview(b""))
        self._unzipped = False
        self.is_cut = False
        try:
            if path.name.lower().endswith((".xdfz", ".xdf.gz")):
                content, self.is_cut = _unzip(path)
                self._block, self._unzipped, self.n_bytes = (0, memoryview(content)), True, len(content)
            else:
                status = path.stat()
                self._identity, self.n_bytes = (status.st_dev, status.st_ino), status.st_size
        except FileNotFoundError:
            raise DataError(f"{path} does not exist: expected an XDF file.") from None
        except (OSError, zlib.error) as error:
            raise DataError(f"{path} cannot be read: {error}. Copy it again.") from error

    def read(self, start: int, stop: int) -> memoryview:
        """Return the bytes from `start` to `stop`, or to the end of the file.

        Raises
        ------
        DataError
            If the file has become unreadable, or is not the same any more.
        """
        stop = min(stop, self.n_bytes)
        first, block = self._block
        if not first <= start <= stop <= first + len(block) and not self._unzipped:
            first = start
            block = self._read_block(start, max(stop, min(start + BLOCK_BYTES, self.n_bytes)))
            self._block = (first, block)
        return block[start - first : max(start, stop) - first]

    def _read_block(self, start: int, stop: int) -> memoryview:
        try:
            status = self._path.stat()
            with self._path.open("rb", buffering=0) as file:
                file.seek(start)
                block = bytearray(stop - start)
                n_read = 0
                while n_new := file.readinto(memoryview(block)[n_read:]):
                    n_read += n_new
        except OSError as error:
            raise DataError(f"{self._path} cannot be read: {error}.") from error
        if n_read < len(block) or (status.st_dev, status.st_ino) != self._identity:
            raise DataError(f"{self._path} was replaced or truncated while it was being read. Open it again.")
        return memoryview(block)


def _unzip(path: Path) -> tuple[bytearray, bool]:
    """Return the contents of a gzip file, up to where it is cut or damaged, and whether it is."""
    content = bytearray()
    member = zlib.decompressobj(wbits=31)  # gzip; unlike gzip.open it also reads a truncated file
    with path.open("rb") as file:
        try:
            while piece := file.read(BLOCK_BYTES):
                while piece:
                    content += member.decompress(piece)
                    piece = member.unused_data
                    if member.eof:
                        member = zlib.decompressobj(wbits=31)
        except zlib.error:
            if not content:
                raise
            return content, True
        is_cut = bool(member.unconsumed_tail) or bool(member.flush()) or not member.eof
    return content, is_cut
