"""The steps that a network sees, as weighted sums of a window's samples. Used by every engine with lanes.

Everything that scaling does along time is linear and the same for every channel, so step t is a weighted sum of
samples. Except at the window's start, a step has the weights of the step before, shifted by `stride` samples, so all
lanes can share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest

_Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of a window: when each is complete, and the weights of its samples.

    Attributes
    ----------
    n_window, n_steps
        Samples and steps of a window.
    stride, first_end
        Step t is complete ``first_end + t * stride`` samples after the window's start.
    fir
        (n_fir,) weights of a step's samples, newest sample first, from step ``len(starting)`` on.
    starting
        (n_starting, n_reach) weights of the first steps, from the window's first sample on.
    baseline
        (n_baseline,) weights of the baseline subtracted from every step, from the window's first sample on; may be
        empty.
    n_burst
        Number of first steps that are computed at once, when the last of them is complete, because they or the
        baseline read samples up to there.
    """

    n_window: int
    n_steps: int
    stride: int
    first_end: int
    fir: _Floats
    starting: _Floats
    baseline: _Floats
    n_burst: int

    @property
    def burst_age(self) -> int:
        """The number of samples of its window that a lane needs before its first step."""
        return self.first_end + (self.n_burst - 1) * self.stride

    @property
    def n_history(self) -> int:
        """The number of newest samples that lanes read."""
        reach = self.first_end + len(self.starting) * self.stride
        return max(len(self.fir) + self.n_burst * self.stride, self.burst_age, reach)


def make_steps(manifest: Manifest, fir: _Floats | None) -> Steps:
    """Convert the scaling of a bundle to `Steps`; `fir` is its tensor ``scaling.fir``, or None."""
    scaling, n_window, n_steps = manifest.scaling, manifest.n_window, manifest.n_steps
    n_block, stride = scaling.n_block, scaling.decimate * scaling.n_block
    first_end = n_window - (n_steps - 1) * stride
    if fir is None:
        empty = np.empty((0, 0))
        baseline = np.full(scaling.n_baseline, 1 / max(scaling.n_baseline, 1))
        n_burst = _n_burst(empty, baseline, stride=stride, first_end=first_end)
        return Steps(n_window, n_steps, stride, first_end, np.full(n_block, 1 / n_block), empty, baseline, n_burst)
    kept = scaling.decimation(fir, n_window=n_window)  # (n_kept, n_window)
    baseline = np.trim_zeros(kept[: scaling.n_baseline].mean(axis=0), "b") if scaling.n_baseline else np.empty(0)
    kept = kept[len(kept) - n_steps * n_block :]
    rows = kept.reshape(n_steps, n_block, n_window).mean(axis=1) if n_block > 1 else kept  # (n_steps, n_window)
    weights = np.trim_zeros(rows[-1][::-1], "b")  # newest sample first
    n_starting = n_steps
    while n_starting and _is_fir(rows[n_starting - 1], first_end + (n_starting - 1) * stride, weights):
        n_starting -= 1
    starting = rows[:n_starting, : max((_reach(row) for row in rows[:n_starting]), default=0)]
    n_burst = _n_burst(starting, baseline, stride=stride, first_end=first_end)
    return Steps(n_window, n_steps, stride, first_end, weights, np.ascontiguousarray(starting), baseline, n_burst)


def _is_fir(row: _Floats, end: int, weights: _Floats) -> bool:
    """Return whether a step that is complete at `end` has the same filter `weights` as the last step."""
    n = len(weights)
    return (
        end >= n
        and not row[: end - n].any()
        and not row[end:].any()
        and bool((row[end - n : end] == weights[::-1]).all())
    )


def _reach(row: _Floats) -> int:
    return int(np.flatnonzero(row)[-1]) + 1 if row.any() else 0


def _n_burst(starting: _Floats, baseline: _Floats, *, stride: int, first_end: int) -> int:
    """Count the first steps up to the one by which every sample that they or the baseline read has arrived."""
    reach, n_burst = len(baseline), 0
    while True:
        if n_burst < len(starting):
            reach = max(reach, _reach(starting[n_burst]))
        n_burst += 1
        if first_end + (n_burst - 1) * stride >= reach:
            return n_burst
