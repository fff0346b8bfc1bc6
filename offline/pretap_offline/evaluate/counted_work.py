"""Progress of work in several processes: each writes to a file of its own, and a thread adds them up.

Used by cross-validation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_EVERY_S = 0.2


class FileCounter:
    """Counts work in the size of a file, from any process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def __call__(self, n: int) -> None:
        with self._path.open("ab") as file:
            file.write(bytes(n))

    def read(self) -> int:
        """Return the work that was counted."""
        return self._path.stat().st_size


@contextmanager
def counters(n: int, advance: Callable[[int], None]) -> Iterator[list[FileCounter]]:
    """Yield `n` counters for other processes, and call `advance` with what they count."""
    with TemporaryDirectory(prefix="pretap-") as folder:
        files = [FileCounter(Path(folder) / str(i)) for i in range(n)]
        is_over = threading.Event()
        n_reported = 0

        def report() -> None:
            nonlocal n_reported
            n_done = sum(file.read() for file in files)
            if n_done > n_reported:
                advance(n_done - n_reported)
            n_reported = n_done

        def watch() -> None:
            while not is_over.wait(_EVERY_S):
                report()

        thread = threading.Thread(target=watch, name="progress", daemon=True)
        thread.start()
        try:
            yield files
        finally:
            is_over.set()
            thread.join()
        report()
