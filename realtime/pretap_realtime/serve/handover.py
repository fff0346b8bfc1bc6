"""Handover: the file through which a worker of `pretap serve --supervise` continues the work of the previous one.

The file is mapped into memory, so its contents survive `kill -9`, and writing a number takes a fraction of a
microsecond. Used by the supervisor and its workers.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

__all__ = ["Handover", "HandoverSlot"]

# The file holds the number of restarts, the reason of the last one, and the next sequence number of each decoder.
_NUMBER: Final = struct.Struct("<Q")
_N_BYTES: Final = 4096
_WHY_AT: Final = 8
_SEQ_AT: Final = 512
_N_DECODERS: Final = (_N_BYTES - _SEQ_AT) // 8


@dataclass(frozen=True)
class HandoverSlot:
    """The part of a `Handover` that belongs to one decoder.

    Attributes
    ----------
    first_seq
        The sequence number of its first message.
    keep_seq
        Stores the sequence number of its next message.
    why
        The reason of the last restart; empty if there was none.
    """

    first_seq: int
    keep_seq: Callable[[int], None]
    why: str


class Handover:
    """An open handover file; the supervisor makes it with `create`."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _N_BYTES)

    @staticmethod
    def create(path: Path) -> Handover:
        path.write_bytes(bytes(_N_BYTES))
        return Handover(path)

    @property
    def n_restarts(self) -> int:
        return self._read(0)

    @property
    def why(self) -> str:
        """The reason of the last restart; empty if there was none."""
        return self._map[_WHY_AT:_SEQ_AT].rstrip(b"\0").decode("utf-8", "ignore")

    @property
    def seqs(self) -> bytes:
        """The sequence numbers of all decoders, which change while a worker sends messages."""
        return self._map[_SEQ_AT:]

    def add_restart(self, why: str) -> None:
        """Count a restart, and store the reason."""
        _NUMBER.pack_into(self._map, 0, self.n_restarts + 1)
        self._map[_WHY_AT:_SEQ_AT] = why.encode()[: _SEQ_AT - _WHY_AT].ljust(_SEQ_AT - _WHY_AT, b"\0")

    def slot(self, k: int) -> HandoverSlot:
        """Return the part of decoder k."""
        at = _SEQ_AT + 8 * (k % _N_DECODERS)
        return HandoverSlot(self._read(at), partial(_NUMBER.pack_into, self._map, at), self.why)

    def _read(self, at: int) -> int:
        return int(_NUMBER.unpack_from(self._map, at)[0])
