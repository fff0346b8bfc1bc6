"""Disk writer: the thread that writes a recording, so that a slow disk never delays a sample. Used by `recorder`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

from pretap.errors import DataError
from pretap_realtime.record import xdf_writer

_SYNC_EVERY_S: Final = 1.0  # a power failure costs at most this much
_CLOSE_S: Final = 30.0  # for a slow disk to write what is pending


class DiskWriter:
    """Write chunks in a thread of its own.

    The first error ends the thread; the next `flush` or `finish` raises it.
    """

    def __init__(self, file: xdf_writer.XdfFile, *, clock: Callable[[], float]) -> None:
        self.file, self._clock = file, clock
        self._batch: list[xdf_writer.Chunk] = []
        self._batches: queue.SimpleQueue[Sequence[xdf_writer.Chunk] | None] = queue.SimpleQueue()
        self._error: DataError | None = None
        self._n_queued_bytes = self._n_written_bytes = 0
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()

    @property
    def n_pending_bytes(self) -> int:
        return self._n_queued_bytes - self._n_written_bytes

    def append(self, *chunks: xdf_writer.Chunk) -> None:
        """Add chunks to the batch that the next `flush` writes."""
        self._batch += chunks

    def flush(self) -> None:
        """Hand the batch to the thread.

        Raises
        ------
        DataError
            If an earlier batch could not be written.
        """
        if self._error is not None:
            raise self._error
        self._n_queued_bytes += sum(map(len, self._batch))
        self._batches.put(self._batch)
        self._batch = []

    def finish(self) -> None:
        """Flush, and wait until everything is in the file.

        Raises
        ------
        DataError
            If something could not be written, or not in time.
        """
        self.flush()
        self.close()
        if self._thread.is_alive():
            raise DataError(f"{self.file.path}: the last {self.n_pending_bytes} bytes could not be written in time.")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._batches.put(None)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        synced_s = self._clock()
        try:
            while (batch := self._batches.get()) is not None:
                self.file.write(batch)
                self._n_written_bytes += sum(map(len, batch))
                if self._clock() >= synced_s + _SYNC_EVERY_S:
                    self.file.sync()
                    synced_s = self._clock()
            self.file.sync()
        except DataError as error:
            self._error = error
        finally:
            self.file.close()
