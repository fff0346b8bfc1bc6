"""A causal band-pass inside a window, from rest at its first sample."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

__all__ = ["BANDPASS", "BandHz", "Order", "bandpass_macs", "bandpass_refusal", "bandpassed", "toeplitz"]

BANDPASS = "bandpass.impulse"  # the tensor's name: the impulse response over a window, (n_steps,) float64
_MAX_MATRICES = 2**24  # numbers in the matrices of all members, n_steps ** 2 each: 128 MiB
BandHz = tuple[Annotated[float, Meta(gt=0, le=1e6)], Annotated[float, Meta(gt=0, le=1e6)]]
Order = Annotated[int, Meta(ge=1, le=8)]


def bandpass_refusal(*, n_steps: int, n_members: int) -> str:
    """Say why `toeplitz` of each member would fill the memory; empty where it would not."""
    if n_members * n_steps**2 <= _MAX_MATRICES:
        return ""
    return (
        f"A band-pass over {n_steps} steps in {n_members} member(s): expected at most "
        f"{math.isqrt(_MAX_MATRICES // n_members)} steps. Bring the window to a lower rate (scaling.decimate_to_hz)."
    )


def toeplitz(impulse: NDArray[Any]) -> NDArray[Any]:
    """Write an impulse response (n_steps,) as the matrix (n_steps, n_steps) that filters a window from rest."""
    n_steps = len(impulse)
    padded = np.concatenate([np.zeros(n_steps - 1, impulse.dtype), impulse])  # (2 * n_steps - 1,)
    rows = np.lib.stride_tricks.sliding_window_view(padded, n_steps)  # row t: ..., impulse[t - 1], impulse[t]
    return np.ascontiguousarray(rows[:, ::-1])  # row t, column s: impulse[t - s], 0 where s > t


def bandpassed(x: NDArray[np.float64], matrix: NDArray[Any]) -> NDArray[Any]:
    """Filter windows (..., n_steps, n_inputs) less their first sample: an offset would ring all through them."""
    return np.asarray(matrix @ (x - x[..., :1, :]).astype(matrix.dtype, copy=False))


def bandpass_macs(*, n_steps: int, n_inputs: int) -> int:
    """Count the multiplications of `bandpassed` that are not with the zeros of half its matrix."""
    return n_steps * (n_steps + 1) // 2 * n_inputs
