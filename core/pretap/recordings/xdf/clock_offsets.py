"""Timestamps on the recorder's clock, from the clock offsets in the file. Used by `load`.

The rules and their constants are those of pyxdf 1.17 (`_clock_sync`, `_truncate_corrupted_offsets`), which other
software reads the same files with: a robust line through the offsets, for each run of a clock. A test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

_WINSOR_S = 1e-4  # offsets farther than this from the line count as outliers
_N_ITERATIONS = 1000
_RESET_S, _RESET_DEVIATIONS = 5.0, 5.0  # of the time between two offsets
_STEP_S, _STEP_DEVIATIONS = 1.0, 10.0  # of the offset
_ODD_RATIO = 10.0


def add_offsets(t_s: _Floats, at_s: Sequence[float], offsets_s: Sequence[float]) -> None:
    """Add the clock offsets ``offsets_s``, measured at ``at_s``, to the timestamps (n_samples,), in place.

    A computer that restarted, or a clock that was set, begins a new run of offsets. It corrects the timestamps from
    the first one on that is nearer to its first offset than to the last one of the run before.
    """
    if not len(t_s) or not at_s:
        return
    at, offsets = np.array(at_s, np.float64), np.array(offsets_s, np.float64)
    edges = [0, *(np.flatnonzero(_is_reset(at, offsets)) + 1).tolist(), len(at)]
    begin = 0
    for start, stop in pairwise(edges):
        end = len(t_s)
        if stop < len(at):
            rest = t_s[begin:]
            is_before = np.abs(rest - at[stop - 1]) < np.abs(rest - at[stop])
            end = begin + (len(rest) if is_before.all() else int(np.argmin(is_before)))
        offset_s, drift = _line(at[start:stop], offsets[start:stop])
        run = t_s[begin:end]
        run += offset_s + drift * run
        begin = end


def n_surplus(n_samples: int, n_announced: int, at_s: Sequence[float], offsets_s: Sequence[float]) -> int:
    """Return how many samples at the end, and the last offset with them, an outlet sent while it was destroyed.

    liblsl may send random values then (sccn/liblsl#246). It needs both signs: more samples than the footer announces,
    and a last offset unlike the others.
    """
    if n_samples <= n_announced or len(at_s) < 3:
        return 0
    intervals = np.diff(at_s)
    usual = float(np.median(intervals[:-1]))
    last = abs(float(intervals[-1]))
    ratio = last / usual if usual > 0 else (np.inf if last > 0 else 1.0)
    before = np.array(offsets_s[:-1])
    middle = float(np.median(before))
    deviation = 1.4826 * float(np.median(np.abs(before - middle)))
    is_far = deviation > 1.4826 * np.finfo(float).eps and abs(offsets_s[-1] - middle) / deviation > _ODD_RATIO
    return n_samples - n_announced if ratio > _ODD_RATIO or is_far else 0


def _is_reset(at_s: _Floats, offsets_s: _Floats) -> NDArray[np.bool_]:
    """Return whether the clock was reset after each offset but the last, (n_offsets - 1,)."""
    steps_s = np.diff(at_s)
    is_late = _stands_out(steps_s, seconds=_RESET_S, deviations=_RESET_DEVIATIONS)
    is_step = _stands_out(np.diff(offsets_s), seconds=_STEP_S, deviations=_STEP_DEVIATIONS)
    found: NDArray[np.bool_] = (steps_s < 0) | (is_late & is_step)
    return found


def _stands_out(x: _Floats, *, seconds: float, deviations: float) -> NDArray[np.bool_]:
    if not x.size:
        return np.zeros(0, bool)
    far = np.abs(x - np.median(x))
    found: NDArray[np.bool_] = (far > seconds) & (far / (np.median(far) + np.finfo(float).eps) > deviations)
    return found


def _line(at_s: _Floats, offsets_s: _Floats) -> tuple[float, float]:
    """Fit offset and drift by least squares with the Huber loss, by the alternating direction method (ADMM)."""
    if len(at_s) == 1:
        return float(offsets_s[0]), 0.0
    a = np.column_stack([np.ones(len(at_s)), at_s / _WINSOR_S])  # (n_offsets, 2)
    y = offsets_s / _WINSOR_S
    first = a[:, 1].min()
    a[:, 1] -= first
    try:
        lower = np.linalg.cholesky(a.T @ a)
    except np.linalg.LinAlgError:  # all at one time
        return 0.0, 0.0
    at_y = a.T @ y
    z = u = x = np.zeros_like(y)
    for _ in range(_N_ITERATIONS):
        x = np.linalg.solve(lower.T, np.linalg.solve(lower, at_y + a.T @ (z - u)))
        d = a @ x - y + u
        inverse = np.divide(1, d, out=np.zeros_like(d), where=d != 0)
        z = d / 2 + np.maximum(0, 1 - 2 * np.abs(inverse)) * d / 2
        u = d - z
    return float((x[0] - x[1] * first) * _WINSOR_S), float(x[1])
