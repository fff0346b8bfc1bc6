"""A causal band-pass that starts at rest with each window. Used by most kinds of networks."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.kind import Kind, RecomputeError

BANDPASS = "bandpass.impulse"  # the tensor's name: the impulse response over a window, (n_steps,) float64
_MAX_MATRICES = 2**24  # values in the matrices of all members, n_steps ** 2 each: 128 MiB
BandHz = tuple[Annotated[float, Meta(gt=0, le=1e6)], Annotated[float, Meta(gt=0, le=1e6)]]
_TOLERANCE = 1e-9  # relative to the highest value of the impulse response, for a recursion to be the same filter


class BandpassKind(Kind, frozen=True):
    """A kind whose inputs, or some of them, pass a causal Butterworth band-pass.

    Attributes
    ----------
    band_hz, order
        The corner frequencies and the order of the band-pass.
    """

    band_hz: BandHz
    order: Annotated[int, Meta(ge=1, le=8)] = 2

    def refusal(self, *, n_steps: int, n_members: int) -> str:
        """Limit the matrices (`toeplitz`) of all members."""
        if n_members * n_steps**2 <= _MAX_MATRICES:
            return ""
        return (
            f"A band-pass over {n_steps} steps in {n_members} member(s): expected at most "
            f"{math.isqrt(_MAX_MATRICES // n_members)} steps. Use a lower rate (scaling.decimate_to_hz)."
        )


def toeplitz(impulse: NDArray[Any]) -> NDArray[Any]:
    """Return an impulse response (n_steps,) as the matrix (n_steps, n_steps) that filters a window from rest."""
    n_steps = len(impulse)
    padded = np.concatenate([np.zeros(n_steps - 1, impulse.dtype), impulse])  # (2 * n_steps - 1,)
    rows = np.lib.stride_tricks.sliding_window_view(padded, n_steps)  # row t: ..., impulse[t - 1], impulse[t]
    return np.ascontiguousarray(rows[:, ::-1])  # row t, column s: impulse[t - s], 0 if s > t


def bandpassed(x: NDArray[np.float64], matrix: NDArray[Any]) -> NDArray[Any]:
    """Filter windows (..., n_steps, n_inputs) minus their first sample: an offset would ring through the window."""
    return np.asarray(matrix @ (x - x[..., :1, :]).astype(matrix.dtype, copy=False))


def bandpass_macs(*, n_steps: int, n_inputs: int) -> int:
    """Count the multiply-adds of `bandpassed`, without those for the zero half of the matrix."""
    return n_steps * (n_steps + 1) // 2 * n_inputs


def second_order_sections(
    impulse: NDArray[np.float64], band_hz: tuple[float, float], *, order: int, sfreq_hz: float
) -> NDArray[np.float64]:
    """Design a Butterworth band-pass as a recursion and check it against its impulse response (n_steps,).

    Returns
    -------
    (order, 3): gain, a1 and a2 of each section, ``y[t] = gain * (x[t] - x[t - 2]) - a1 * y[t - 1] - a2 * y[t - 2]``.
    The poles of the analogue prototype, the band-pass transform and the bilinear transform follow Oppenheim & Schafer,
    Discrete-Time Signal Processing, ch. 7.

    Raises
    ------
    RecomputeError
        If the impulse response belongs to another filter.
    """
    warped = 2 * sfreq_hz * np.tan(np.pi * np.asarray(band_hz) / sfreq_hz)  # rad/s
    width, centre_2 = warped[1] - warped[0], warped[0] * warped[1]
    pairs = []
    for k in range((order + 1) // 2):  # the poles on and above the real axis
        prototype = np.exp(0.5j * np.pi * (2 * k + 1 + order) / order)
        root = np.sqrt((prototype * width / 2) ** 2 - centre_2 + 0j)
        poles = prototype * width / 2 + np.array([root, -root])
        poles = (2 * sfreq_hz + poles) / (2 * sfreq_hz - poles)
        is_real = abs(prototype.imag) < 1e-9  # then its two poles are a pair, otherwise each has its conjugate
        pairs += [(poles[0], poles[1])] if is_real else [(pole, pole.conj()) for pole in poles]
    sections = np.array([(1.0, -(p + q).real, (p * q).real) for p, q in pairs])  # (order, 3)
    sections[:, 0] = abs(impulse[0]) ** (1 / order)  # the first value is the product of the gains
    running = RunningBandpass(sections, n_lanes=1, n_inputs=1)
    unit = np.zeros(len(impulse))
    unit[0] = 1.0
    error = max(
        abs(float(running.step(slice(None), np.array([[x]]))[0, 0]) - y) for x, y in zip(unit, impulse, strict=True)
    )
    if not error <= _TOLERANCE * np.abs(impulse).max():
        raise RecomputeError("its band-pass is not the Butterworth filter that it names, so it has no recursion")
    return sections


class RunningBandpass:
    """The band-pass as a float64 recursion in many lanes."""

    def __init__(self, sections: NDArray[np.float64], *, n_lanes: int, n_inputs: int) -> None:
        self._sections = sections
        self._state = np.zeros((len(sections), 2, n_lanes, n_inputs))

    def reset(self, lanes: NDArray[np.intp]) -> None:
        """Start from rest again in these lanes."""
        self._state[:, :, lanes] = 0.0

    def step(self, lanes: Any, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filter one sample of each of `lanes` (n,), (n, n_inputs)."""
        for (gain, a1, a2), (one, two) in zip(self._sections, self._state, strict=True):  # transposed direct form II
            x = gain * x
            y = x + one[lanes]
            one[lanes] = two[lanes] - a1 * y
            two[lanes] = -x - a2 * y
            x = y
        return x
