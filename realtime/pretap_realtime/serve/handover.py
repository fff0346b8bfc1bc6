"""What a worker under `pretap serve --supervise` leaves to the next: a small file that it maps into memory.

What it wrote there outlives its `kill -9`, and writing a number takes a fraction of a microsecond.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

__all__ = ["Handover"]

_NUMBER: Final = struct.Struct("<Q")
_N_BYTES: Final = 4096
_WHY_AT: Final = 8  # the number of restarts, why the last one was, then the next number of each decoder's messages
_SEQ_AT: Final = 512
_N_DECODERS: Final = (_N_BYTES - _SEQ_AT) // 8


class Handover:
    """The file; `create` it first."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _N_BYTES)

    @staticmethod
    def create(path: Path) -> Handover:
        path.write_bytes(bytes(_N_BYTES))
        return Handover(path)

    @property
    def n_restarts(self) -> int:
        return self._get(0)

    @property
    def why(self) -> str:
        """Why the last restart was; empty where there was none."""
        return self._map[_WHY_AT:_SEQ_AT].rstrip(b"\0").decode("utf-8", "ignore")

    def restart(self, why: str) -> None:
        """Note a restart."""
        _NUMBER.pack_into(self._map, 0, self.n_restarts + 1)
        self._map[_WHY_AT:_SEQ_AT] = why.encode()[: _SEQ_AT - _WHY_AT].ljust(_SEQ_AT - _WHY_AT, b"\0")

    def seq(self, k: int) -> int:
        """Give the next number of the messages of decoder k."""
        return self._get(_SEQ_AT + 8 * (k % _N_DECODERS))

    def keep_seq(self, k: int) -> Callable[[int], None]:
        """Give what notes the next number of the messages of decoder k."""
        return partial(_NUMBER.pack_into, self._map, _SEQ_AT + 8 * (k % _N_DECODERS))

    def numbers(self) -> bytes:
        """Give the numbers of all decoders: they change while a worker works."""
        return self._map[_SEQ_AT:]

    def _get(self, at: int) -> int:
        return int(_NUMBER.unpack_from(self._map, at)[0])
