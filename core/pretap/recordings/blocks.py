"""Reads a recording in blocks and keeps the last one. Used by `open_xdf` and `resample_recording`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_BLOCK_VALUES = 1 << 18  # a megabyte


class BlockReader:
    """Reads spans of samples, (stop - start, n_channels), in microvolts, as `Recording.read` does.

    Parameters
    ----------
    read
        ``read(start, stop)`` with ``0 <= start <= stop <= n_samples``; called for about a megabyte at a time.
    n_samples, n_channels
        The shape of the recording.
    """

    def __init__(self, read: Callable[[int, int], NDArray[np.float32]], *, n_samples: int, n_channels: int) -> None:
        self._read, self._n_samples = read, n_samples
        self._n_block = max(1, _BLOCK_VALUES // n_channels)
        self._block = (0, np.zeros((0, n_channels), np.float32))

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        start, stop, _ = slice(start, stop).indices(self._n_samples)
        stop = max(start, stop)
        first, x_uv = self._block
        if first <= start and stop <= first + len(x_uv):
            return x_uv[start - first : stop - first]
        if stop - start <= self._n_block:
            x_uv = self._read(start, min(start + self._n_block, self._n_samples))
            self._block = (start, x_uv)
            return x_uv[: stop - start]
        out = np.empty((stop - start, x_uv.shape[1]), np.float32)
        for first in range(start, stop, self._n_block):
            last = min(first + self._n_block, stop)
            out[first - start : last - start] = self._read(first, last)
        return out
