"""BackgroundWriter: a bounded queue and a thread that empties it.

Used by the terminal, the log and the network outputs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundWriter(Generic[T]):
    """Writes items in a thread of its own, so that no caller waits for a terminal, a disk or a network.

    Parameters
    ----------
    write
        Writes one item. After an exception nothing more is written, and `put` raises it.
    max_pending
        Items that may be pending. Further ones are dropped and counted.
    pause_s
        How long the thread sleeps after it has written all: waking it for every single item costs CPU time.

    Attributes
    ----------
    n_dropped
        Items for which the queue was too full.
    """

    def __init__(self, write: Callable[[T], object], *, name: str, max_pending: int, pause_s: float = 0.0) -> None:
        self.n_dropped = 0
        self._write, self._max_pending, self._pause_s = write, max_pending, pause_s
        # In C: it wakes the thread in 1 us, and a signal handler may put as well. None ends the thread.
        self._pending: SimpleQueue[T | None] = SimpleQueue()
        self._busy_since_s = math.inf
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> bool:
        """Queue an item, without waiting; return False if it was dropped."""
        if self._error is not None:
            raise self._error
        has_space = self._pending.qsize() < self._max_pending
        if has_space:
            self._pending.put(item)
        else:
            self.n_dropped += 1
        return has_space

    @property
    def busy_s(self) -> float:
        """How long the item that is being written has taken so far; 0 if none is."""
        return max(0.0, time.monotonic() - self._busy_since_s)

    def close(self, timeout_s: float) -> int:
        """Write what is pending, for up to `timeout_s`; return how many items are not written then."""
        self._pending.put(None)
        self._thread.join(timeout_s)
        return self._pending.qsize() if self._thread.is_alive() else 0  # the item in progress, but not the None

    def _run(self) -> None:
        try:
            while (item := self._pending.get()) is not None:
                self._busy_since_s = time.monotonic()
                self._write(item)
                self._busy_since_s = math.inf
                if self._pause_s and self._pending.empty():
                    time.sleep(self._pause_s)
        except Exception as error:  # noqa: BLE001 - `put` raises it
            self._error = error
