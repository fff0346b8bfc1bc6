"""The thread that writes a recording, so that a slow disk makes no sample wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from pretap.errors import DataError
from pretap_realtime.record import xdf_writer

__all__ = ["Disk"]

_SYNC_EVERY_S: Final = 1.0  # what a power failure costs
_END_S: Final = 30.0  # for a slow disk to take the rest


class Disk:
    """Writes in a thread of its own; the first error ends it, and is raised to whoever puts more."""

    def __init__(self, file: xdf_writer.XdfFile, *, clock: Callable[[], float]) -> None:
        self.file, self._clock = file, clock
        self._batches: queue.SimpleQueue[Sequence[xdf_writer.Chunk] | None] = queue.SimpleQueue()
        self._error: DataError | None = None
        self._n_put_bytes = self._n_done_bytes = 0
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    @property
    def n_waiting_bytes(self) -> int:
        return self._n_put_bytes - self._n_done_bytes

    def put(self, batch: Sequence[xdf_writer.Chunk]) -> None:
        if self._error is not None:
            raise self._error
        self._n_put_bytes += sum(map(len, batch))
        self._batches.put(batch)

    def finish(self) -> None:
        """Wait until everything is in the file."""
        self.end()
        if self._thread.is_alive():
            raise DataError(f"{self.file.path}: the disk did not take the last {self.n_waiting_bytes} bytes in time.")
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        self._batches.put(None)
        self._thread.join(_END_S)

    def _run(self) -> None:
        synced_s = self._clock()
        try:
            while (batch := self._batches.get()) is not None:
                self.file.write(batch)
                self._n_done_bytes += sum(map(len, batch))
                if self._clock() >= synced_s + _SYNC_EVERY_S:
                    self.file.sync()
                    synced_s = self._clock()
            self.file.sync()
        except DataError as error:
            self._error = error
        finally:
            self.file.close()
