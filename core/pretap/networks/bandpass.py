"""A causal band-pass inside a window, from rest at its first sample."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.errors import DataError

__all__ = ["BANDPASS", "MAX_STEPS", "BandHz", "Order", "bandpass_macs", "bandpassed", "toeplitz"]

BANDPASS = "bandpass.impulse"  # the tensor's name: the impulse response over a window, (n_steps,) float64
MAX_STEPS = 4096  # the filter's matrix has n_steps ** 2 numbers
BandHz = tuple[Annotated[float, Meta(gt=0, le=1e6)], Annotated[float, Meta(gt=0, le=1e6)]]
Order = Annotated[int, Meta(ge=1, le=8)]


def toeplitz(impulse: NDArray[Any]) -> NDArray[Any]:
    """Write an impulse response (n_steps,) as the matrix (n_steps, n_steps) that filters a window from rest."""
    n_steps = len(impulse)
    if n_steps > MAX_STEPS:
        raise DataError(f"A band-pass over {n_steps} steps: expected at most {MAX_STEPS}. Decimate the window first.")
    padded = np.concatenate([np.zeros(n_steps - 1, impulse.dtype), impulse])  # (2 * n_steps - 1,)
    rows = np.lib.stride_tricks.sliding_window_view(padded, n_steps)  # row t: ..., impulse[t - 1], impulse[t]
    return np.ascontiguousarray(rows[:, ::-1])  # row t, column s: impulse[t - s], 0 where s > t


def bandpassed(x: NDArray[np.float64], matrix: NDArray[Any]) -> NDArray[Any]:
    """Filter windows (..., n_steps, n_inputs) less their first sample: an offset would ring all through them."""
    return np.asarray(matrix @ (x - x[..., :1, :]).astype(matrix.dtype, copy=False))


def bandpass_macs(*, n_steps: int, n_inputs: int) -> int:
    """Count the multiplications of `bandpassed` that are not with the zeros of half its matrix."""
    return n_steps * (n_steps + 1) // 2 * n_inputs
