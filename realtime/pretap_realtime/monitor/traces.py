"""Traces: the last half minute of a signal, as samples or as their extremes. Pure; used by `view`."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

_COLUMNS_PER_S: Final = 100
_MAX_VALUES_PER_S: Final = 600_000  # that a page filters and draws: 256 channels at 2048 Hz and a little more
_MAX_VALUES: Final = 250_000  # in a frame: a page that opens gets the last half minute in pieces of a megabyte
_KEPT_S: Final = 31  # the page shows thirty
_HEAD: Final = struct.Struct("<4I")


class Traces:
    """The last seconds of a signal as columns: one for each sample, or the extremes of several samples.

    The page filters samples itself, so it gets them all. If there are more than it can handle, it gets the minimum and
    the maximum of every hundredth of a second instead, and cannot filter. Either way no sample is dropped.

    Attributes
    ----------
    n
        Number of columns so far.
    rate_hz
        Columns in a second.
    """

    def __init__(self, *, n_channels: int, sfreq_hz: float) -> None:
        has_extremes = n_channels * sfreq_hz > _MAX_VALUES_PER_S
        self._n_per_column = max(1, round(sfreq_hz / _COLUMNS_PER_S)) if has_extremes else 1
        self._n_extremes = 2 if has_extremes else 1
        self.rate_hz = sfreq_hz / self._n_per_column
        n_kept = round(_KEPT_S * (self.rate_hz or _COLUMNS_PER_S)) + 1
        self._columns = np.zeros((n_kept, self._n_extremes, n_channels), np.float32)
        self._t_s = np.zeros(n_kept)
        self._rest = np.empty((0, n_channels), np.float32)  # samples of the column that is not complete yet
        self._rest_t_s = np.empty(0)
        self.n = 0

    def append(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Add samples (n_new, n_channels) and their timestamps (n_new,); a column with a NaN is NaN."""
        x = np.concatenate([self._rest, x_uv])
        t = np.concatenate([self._rest_t_s, t_s])
        n_columns, k = len(x) // self._n_per_column, self._n_per_column
        whole = x[: n_columns * k].reshape(n_columns, k, x.shape[1])
        at = np.arange(self.n, self.n + n_columns) % len(self._columns)
        self._columns[at, 0] = whole.min(axis=1)
        if self._n_extremes == 2:
            self._columns[at, 1] = whole.max(axis=1)
        self._t_s[at] = t[k - 1 : n_columns * k : k]
        self._rest, self._rest_t_s = x[n_columns * k :].copy(), t[n_columns * k :].copy()
        self.n += n_columns

    def frame(self, n: int) -> tuple[bytes, int]:
        """Return columns from number `n` on as bytes for the page, and the number of the column that follows them.

        The bytes are empty if there is no new column. They hold little-endian values: four uint32 (columns, channels,
        number of the first column, 1 or 2 values for each channel), float64 timestamps, float32 values.
        """
        first = max(n, self.n - len(self._columns), 0)
        n_values = self._columns.shape[1] * self._columns.shape[2]
        last = min(self.n, first + max(1, _MAX_VALUES // max(1, n_values)))
        if last <= first:
            return b"", self.n
        at = np.arange(first, last) % len(self._columns)
        head = _HEAD.pack(len(at), self._columns.shape[2], first & 0xFFFFFFFF, self._n_extremes)
        return head + self._t_s[at].astype("<f8").tobytes() + self._columns[at].astype("<f4").tobytes(), last
