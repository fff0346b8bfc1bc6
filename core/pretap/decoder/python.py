"""Lanes in Python: the reference of what `lanes.c` does, and what runs where that is not there.

The class knows when a lane takes which step; what a step is to a network, its `Cells` know (`pretap.networks`, and for
the trained modules `pretap.torch_networks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.decoder.plan import Steps
from pretap.networks import Cells, softmax

__all__ = ["PythonLanes"]

_Floats = NDArray[np.float64]


class PythonLanes:
    """All windows that are open; see the package.

    Parameters
    ----------
    members
        The cells of each member, of ``ceil(n_window / hop)`` lanes.
    within
        Samples are computed within this.
    """

    def __init__(
        self,
        manifest: Manifest,
        steps: Steps,
        members: Sequence[Cells],
        *,
        hop: int,
        n_lanes: int,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._manifest, self._steps, self._members, self._hop = manifest, steps, members, hop
        self._within = within
        self._n_lanes = n_lanes
        n_channels = len(manifest.channels)
        self._history = np.zeros((2 * steps.n_history, n_channels))  # the newest samples end at `_end`
        self._base = np.zeros((n_lanes, n_channels))
        self._x = np.zeros((n_lanes, n_channels))
        self.reset()

    @property
    def native(self) -> None:
        """Nothing that C code could call."""
        return None

    def reset(self) -> None:
        """Close all windows."""
        self._n_seen = self._end = 0
        self._start = np.full(self._n_lanes, np.iinfo(np.int64).max // 2)  # first sample of each lane's window

    def process(self, x_uv: NDArray[np.float32]) -> tuple[list[int], _Floats]:
        """Take samples (n_new, n_channels); give where the windows that they fill end, and probabilities.

        Raises
        ------
        FloatingPointError
            For a value that is not finite; then no sample was taken.
        """
        x = x_uv.astype(np.float64)
        if not np.isfinite(x).all():
            raise FloatingPointError
        if self._manifest.scaling.reference == "average":
            x -= x.mean(axis=1, keepdims=True)
        ends, probs = [], []
        with self._within(), np.errstate(invalid="ignore"):  # false alarms: OpenBLAS computes, and drops, unset lanes
            for row in x:
                decision = self._sample(row)
                if decision is not None:
                    ends.append(self._n_seen)
                    probs.append(decision)
        return ends, np.array(probs).reshape(len(ends), len(self._manifest.classes))

    def catch_up(self) -> None:
        """Leave nothing for later."""

    def _sample(self, row: _Floats) -> _Floats | None:
        steps, n_history = self._steps, self._steps.n_history
        if self._end == len(self._history):
            self._history[:n_history] = self._history[n_history:]
            self._end = n_history
        self._history[self._end] = row
        self._end += 1
        if self._n_seen % self._hop == 0:
            self._start[self._n_seen // self._hop % self._n_lanes] = self._n_seen
        self._n_seen += 1
        age = self._n_seen - self._start  # (n_lanes,)
        since_first = age - steps.first_end
        due = (since_first % steps.stride == 0) & (age >= steps.burst_age) & (age <= steps.n_window)
        lanes = np.flatnonzero(due)
        if not lanes.size:
            return None
        t = since_first[lanes] // steps.stride  # (n_due,) which step each lane takes
        if steps.n_burst > 1 or len(steps.baseline):
            for lane in lanes[age[lanes] == steps.burst_age]:
                self._begin(lane)
        self._advance(lanes, t)
        full = np.flatnonzero(age == steps.n_window)
        return self._decide(int(full[0])) if full.size else None

    def _begin(self, lane: int) -> None:
        """Take all steps of a burst but the last, which comes in its turn."""
        steps = self._steps
        first = self._end - steps.burst_age  # the window's first sample
        if len(steps.baseline):
            self._base[lane] = steps.baseline @ self._history[first : first + len(steps.baseline)]
        for t in range(steps.n_burst - 1):
            self._take(np.array([lane]), np.array([t]), self._step(t, first)[None] - self._base[lane])

    def _step(self, t: int, first: int) -> _Floats:
        """Make step t of the window whose first sample stands at `first`: (n_channels,)."""
        steps = self._steps
        if t < len(steps.starting):
            weights = steps.starting[t]
            n = min(len(weights), self._end - first)
            return np.asarray(weights[:n] @ self._history[first : first + n])
        end = first + steps.first_end + t * steps.stride
        return np.asarray(steps.fir @ self._history[end - len(steps.fir) : end][::-1])

    def _advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64]) -> None:
        steps = self._steps
        x = self._x[: len(lanes)]  # (n_due, n_channels)
        if t.max() >= len(steps.starting):
            x[:] = steps.fir @ self._history[self._end - len(steps.fir) : self._end][::-1]  # the step that all share
        for i in np.flatnonzero(t < len(steps.starting)):
            x[i] = self._step(int(t[i]), self._end - steps.first_end - int(t[i]) * steps.stride)
        if len(steps.baseline):
            x -= self._base[lanes]
        self._take(lanes, t, x)

    def _take(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: _Floats) -> None:
        x = x / self._manifest.scaling.divide_uv
        for cells in self._members:
            cells.advance(lanes, t, x)

    def _decide(self, lane: int) -> _Floats:
        logits: list[NDArray[Any]] = [cells.logits(lane) for cells in self._members]
        return softmax(np.stack(logits).mean(axis=0, dtype=np.float64) / self._manifest.temperature)
