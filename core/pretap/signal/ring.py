"""A ring buffer whose windows are contiguous views. Used by `Decoder.stream` and by the live service's cue windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError


class Ring:
    """The last `capacity` samples of a stream, with their timestamps.

    The storage is twice the capacity: samples are appended, and when the end is reached the last `capacity` of them
    move to the front. Every window is one contiguous slice, at the price of one copy of the ring each `capacity`
    samples.

    Attributes
    ----------
    n_seen
        Samples appended since the last `reset`. Sample number k (from 0) can be read while
        ``n_seen - capacity <= k < n_seen``.
    """

    def __init__(self, capacity: int, n_channels: int, *, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.capacity = capacity
        self.n_seen = 0
        self._x = np.empty((2 * capacity, n_channels), dtype)
        self._t = np.empty(2 * capacity, np.float64)
        self._end = 0  # one past the newest sample in storage

    def reset(self) -> None:
        """Forget all samples; `n_seen` starts again at 0."""
        self.n_seen = self._end = 0

    def check(self, x_uv: NDArray[Any]) -> None:
        """Refuse samples of another shape than (n_new, n_channels): numpy would broadcast one channel to all."""
        if x_uv.ndim != 2 or x_uv.shape[1] != self._x.shape[1]:
            raise DataError(f"Expected samples of shape (n_new, {self._x.shape[1]}), got {x_uv.shape}.")

    def append(self, x_uv: NDArray[Any], t_s: NDArray[np.float64] | None = None) -> None:
        """Append samples (n_new, n_channels) and, if the caller reads them back, their timestamps (n_new,)."""
        self.check(x_uv)
        n_new = len(x_uv)
        self.n_seen += n_new
        if n_new > self.capacity:
            x_uv = x_uv[-self.capacity :]
            t_s = None if t_s is None else t_s[-self.capacity :]
            n_new = self.capacity
        if self._end + n_new > len(self._x):
            n_keep = self.capacity - n_new
            self._x[:n_keep] = self._x[self._end - n_keep : self._end]
            self._t[:n_keep] = self._t[self._end - n_keep : self._end]
            self._end = n_keep
        self._x[self._end : self._end + n_new] = x_uv
        if t_s is not None:
            self._t[self._end : self._end + n_new] = t_s
        self._end += n_new

    def window(self, end: int, n: int) -> NDArray[Any]:
        """Return samples ``end - n`` to ``end - 1`` since the reset: a view, valid until the next `append`."""
        stop = self._stop(end, n)
        return self._x[stop - n : stop]  # (n, n_channels)

    def timestamps(self, end: int, n: int) -> NDArray[np.float64]:
        """Return the timestamps of the same samples: a view, valid until the next `append`."""
        stop = self._stop(end, n)
        return self._t[stop - n : stop]  # (n,)

    @property
    def n_held(self) -> int:
        """The number of samples that can be read now."""
        return min(self.n_seen, self.capacity)

    def _stop(self, end: int, n: int) -> int:
        if not (self.n_seen - self.n_held <= end - n and end <= self.n_seen):
            raise IndexError(f"samples {end - n}..{end - 1} are not among the {self.n_held} held of {self.n_seen}")
        return self._end - (self.n_seen - end)
