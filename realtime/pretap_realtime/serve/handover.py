"""Handover: the file through which a worker of `pretap serve --supervise` continues the work of the previous one.

The file is mapped into memory, so its contents survive `kill -9`, and writing a number takes a fraction of a
microsecond. Used by the supervisor and its workers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# The file holds the number of restarts, the reason of the last one, and for each decoder its next sequence number and
# the three counts of its tally.
_N_BYTES: Final = 4096
_WHY_AT: Final = 8
_DECODERS_AT: Final = 512
_N_VALUES: Final = 4  # of a decoder
_N_DECODERS: Final = (_N_BYTES - _DECODERS_AT) // (8 * _N_VALUES)


class Handover:
    """An open handover file; the supervisor makes it with `create`."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _N_BYTES)
        self._values = memoryview(self._map).cast("Q")  # of eight bytes each

    @staticmethod
    def create(path: Path) -> Handover:
        path.write_bytes(bytes(_N_BYTES))
        return Handover(path)

    @property
    def n_restarts(self) -> int:
        return self._values[0]

    @property
    def why(self) -> str:
        """The reason of the last restart; empty if there was none."""
        return self._map[_WHY_AT:_DECODERS_AT].rstrip(b"\0").decode("utf-8", "ignore")

    @property
    def progress(self) -> bytes:
        """The values of all decoders: their sequence numbers change while a worker sends messages."""
        return self._map[_DECODERS_AT:]

    def add_restart(self, why: str) -> None:
        """Count a restart, and store the reason."""
        self._values[0] += 1
        self._map[_WHY_AT:_DECODERS_AT] = why.encode()[: _DECODERS_AT - _WHY_AT].ljust(_DECODERS_AT - _WHY_AT, b"\0")

    def sequence_numbers(self, k: int) -> Iterator[int]:
        """Yield a sequence number for each message of decoder k; store the next one before."""
        values = self._of_decoder(k)
        while True:
            values[0] += 1
            yield values[0] - 1

    def counts(self, k: int) -> memoryview[int]:
        """Return the counts of the tally of decoder k; what is written there reaches the next worker."""
        return self._of_decoder(k)[1:]

    def _of_decoder(self, k: int) -> memoryview[int]:
        at = _DECODERS_AT // 8 + _N_VALUES * (k % _N_DECODERS)
        return self._values[at : at + _N_VALUES]
