"""Scaling of raw microvolts to the input of a network. The only place where scaling happens, offline and live."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

FIR = "scaling.fir"  # the tensor's name in a bundle


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The steps that scale a window, in this order. They are data inside the bundle.

    Attributes
    ----------
    reference
        ``average`` subtracts the mean over channels from each sample (common average reference).
    decimate, n_taps, n_start
        A causal FIR filter of `n_taps` runs over the window, and every `decimate`-th output is kept, the last one at
        the last sample of the window. Between `n_start` and `n_taps` samples after the window's start, shorter filters
        are used; earlier outputs are set to the first of these. The next steps count the kept samples,
        ``n_window // decimate``.
    n_baseline
        The mean of the first `n_baseline` samples is subtracted from each channel; 0 turns this off.
    n_block
        Each block of this many samples is replaced by its mean; 1 keeps every sample.
    divide_uv
        The result is divided by this many microvolts.
    """

    reference: Literal["none", "average"] = "none"
    n_baseline: Annotated[int, Meta(ge=0)] = 0
    n_block: Annotated[int, Meta(ge=1)] = 1
    divide_uv: Annotated[float, Meta(gt=0, le=1e6)] = 200.0
    decimate: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    n_taps: Annotated[int, Meta(ge=0, le=100_000)] = 0
    n_start: Annotated[int, Meta(ge=0, le=100_000)] = 0

    def __post_init__(self) -> None:
        if self.n_start > self.n_taps:
            raise ValueError(f"n_start = {self.n_start}: expected at most n_taps = {self.n_taps}")
        if self.decimate > 1 and not self.n_taps:
            raise ValueError(f"decimate = {self.decimate} without a filter would alias: expected n_taps of at least 1")

    @property
    def removes_offsets(self) -> bool:
        """Whether a constant offset of a channel does not change the result."""
        return self.n_baseline > 0

    def n_steps(self, n_window: int) -> int:
        """Count the time steps that a network gets from a window of `n_window` samples."""
        return self.n_kept(n_window) // self.n_block

    def n_kept(self, n_window: int) -> int:
        """Count the samples of a window of `n_window` after the decimation; 0 if the window is too short."""
        return n_window // self.decimate if n_window >= max(self.n_start, 1) else 0

    def filter_lengths(self, n_window: int) -> list[int]:
        """Return the length of each filter of the decimation, ascending to `n_taps`; each is a row of the taps."""
        return sorted({min(seen, self.n_taps) for seen in self._seen(n_window)})

    def decimation(self, fir: NDArray[np.float64], *, n_window: int) -> NDArray[np.float64]:
        """Return the decimation as a matrix (n_kept, n_window) that maps the samples of a window to the kept ones.

        `fir` (n_filters, n_taps) has one filter per row, see `filter_lengths`. The tap for the newest sample comes
        first, and zeros follow the last tap.
        """
        row_of = {n: row for row, n in enumerate(self.filter_lengths(n_window))}
        matrix = np.zeros((self.n_kept(n_window), n_window))
        for row, seen in zip(matrix, self._seen(n_window), strict=True):
            n = min(seen, self.n_taps)
            row[seen - n : seen] = fir[row_of[n], :n][::-1]
        return matrix

    def _seen(self, n_window: int) -> list[int]:
        """Return for each kept sample the number of samples, from the window's start, that its filter may use."""
        ends = [n_window - self.decimate * back for back in reversed(range(self.n_kept(n_window)))]
        first = next((end for end in ends if end >= self.n_start), 0)
        return [max(first, end) for end in ends]

    def multiply_adds(self, *, n_window: int, n_channels: int) -> int:
        """Count the multiply-adds of one window."""
        n_kept = self.n_kept(n_window)
        per_channel = n_window * (self.reference == "average") + n_kept * self.n_taps + n_kept * (self.n_baseline > 0)
        return n_channels * (per_channel + n_kept * (self.n_block > 1) + self.n_steps(n_window))

    def apply(self, x_uv: NDArray[Any], *, decimation: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Scale windows (..., n_window, n_channels) in microvolts to (..., n_steps, n_channels), unitless.

        `decimation` is the matrix of that method; it is required if `n_taps` is not 0.

        In float64: with 100 mV of electrode offset, subtracting a baseline in float32 would lose 1e-3 uV.
        """
        x = np.asarray(x_uv, np.float64)
        if self.reference == "average":
            x = x - x.mean(axis=-1, keepdims=True)
        if self.n_taps:
            assert decimation is not None
            x = decimation @ x  # (..., n_kept, n_channels)
        if self.n_baseline:
            x = x - x[..., : self.n_baseline, :].mean(axis=-2, keepdims=True)
        if self.n_block > 1:
            n_steps = x.shape[-2] // self.n_block
            x = x[..., x.shape[-2] - n_steps * self.n_block :, :]  # the last block ends with the window
            x = x.reshape(*x.shape[:-2], n_steps, self.n_block, x.shape[-1]).mean(axis=-2)
        return x / self.divide_uv  # (..., n_steps, n_channels)
