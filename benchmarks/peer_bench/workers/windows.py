"""Contiguous windows of a stream, every `hop` samples, without moving what is there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Windows"]


class Windows:
    """Keeps the last `n_window` samples twice, side by side, so that each window is one contiguous view.

    The first window is full after `n_window` samples; then one follows each `hop` samples, however they arrive.
    """

    def __init__(self, *, n_window: int, n_channels: int, hop: int) -> None:
        self._twice = np.zeros((2 * n_window, n_channels), np.float32)
        self._n_window, self._hop = n_window, hop
        self._at, self._missing = 0, n_window  # where the next sample goes; samples to the next window

    def process(self, x_uv: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Add samples (n_new, n_channels); yield the index of each window's last sample and the window.

        A window (n_window, n_channels) is valid until the next is asked for.
        """
        done = 0
        while done < len(x_uv):
            n = min(len(x_uv) - done, self._missing, self._n_window - self._at)
            part = x_uv[done : done + n]
            self._twice[self._at : self._at + n] = part
            self._twice[self._at + self._n_window : self._at + self._n_window + n] = part
            self._at = (self._at + n) % self._n_window
            self._missing -= n
            done += n
            if not self._missing:
                self._missing = self._hop
                yield done - 1, self._twice[self._at : self._at + self._n_window]
