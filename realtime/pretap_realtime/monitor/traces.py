"""Traces: the minimum and maximum of a signal in every hundredth of a second. Pure; used by `view`."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

COLUMNS_PER_S: Final = 100
_KEPT_S: Final = 12  # the page shows ten
_HEAD: Final = struct.Struct("<4I")


class Traces:
    """The last seconds of a signal as columns. No sample is dropped: a column spans the extremes of its samples.

    Parameters
    ----------
    sfreq_hz
        Below 100 Hz each sample is a column.
    """

    def __init__(self, *, n_channels: int, sfreq_hz: float) -> None:
        self._n_per_column = max(1, round(sfreq_hz / COLUMNS_PER_S))
        n_kept = round(_KEPT_S * sfreq_hz / self._n_per_column) + 1
        self._columns = np.zeros((n_kept, 2, n_channels), np.float32)
        self._t_s = np.zeros(n_kept)
        self._rest = np.empty((0, n_channels), np.float32)  # samples of the column that is not complete yet
        self._rest_t_s = np.empty(0)
        self.n = 0  # columns so far

    def append(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Add samples (n_new, n_channels) and their timestamps (n_new,); a column with a NaN is NaN."""
        x = np.concatenate([self._rest, x_uv])
        t = np.concatenate([self._rest_t_s, t_s])
        n_columns, k = len(x) // self._n_per_column, self._n_per_column
        whole = x[: n_columns * k].reshape(n_columns, k, x.shape[1])
        at = np.arange(self.n, self.n + n_columns) % len(self._columns)
        self._columns[at, 0], self._columns[at, 1] = whole.min(axis=1), whole.max(axis=1)
        self._t_s[at] = t[k - 1 : n_columns * k : k]
        self._rest, self._rest_t_s = x[n_columns * k :].copy(), t[n_columns * k :].copy()
        self.n += n_columns

    def since(self, n: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return the kept columns from number `n` on: timestamps (n,) and values (n, 2, n_channels)."""
        at = np.arange(max(n, self.n - len(self._columns), 0), self.n) % len(self._columns)
        return self._t_s[at], self._columns[at]

    def frame(self, n: int) -> bytes:
        """Return `since` as bytes for the page, empty if there is no new column.

        Little-endian: four uint32 (columns, channels, number of the first column, 0), float64 timestamps, float32
        values.
        """
        t_s, columns = self.since(n)
        if not len(t_s):
            return b""
        head = _HEAD.pack(len(t_s), columns.shape[2], (self.n - len(t_s)) & 0xFFFFFFFF, 0)
        return head + t_s.astype("<f8").tobytes() + columns.astype("<f4").tobytes()
