"""Lanes in Python: the numpy engine, and the reference for `lanes.c`. Made by `Decoder.stream`.

`PythonLanes` decides when each lane advances by which step. The `Cells` of a network compute the step
(`pretap.networks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.decoder.plan import Steps
from pretap.networks import Cells, softmax
from pretap.signal.ring import Ring

_Floats = NDArray[np.float64]
_N_PIECE = 64  # samples that enter the history together


class PythonLanes:
    """The open windows of a stream, advanced together.

    Parameters
    ----------
    members
        The cells of each member of the ensemble, with `n_lanes` lanes each.
    n_lanes
        ``ceil(n_window / hop)``, the number of windows open at once.
    """

    def __init__(
        self,
        manifest: Manifest,
        steps: Steps,
        members: Sequence[Cells],
        *,
        hop: int,
        n_lanes: int,
    ) -> None:
        self._manifest, self._steps, self._members, self._hop = manifest, steps, members, hop
        self._n_lanes = n_lanes
        n_channels = len(manifest.channels)
        self._history = Ring(steps.n_history + _N_PIECE, n_channels, dtype=np.float64)  # re-referenced samples
        self._base = np.zeros((n_lanes, n_channels))  # each lane's baseline
        self.reset()

    @property
    def native(self) -> None:
        """None: C code cannot call these lanes."""
        return None

    def reset(self) -> None:
        """Close all windows."""
        self._history.reset()
        self._n_seen = 0
        self._start = np.full(self._n_lanes, np.iinfo(np.int64).max // 2)  # first sample of each lane's window

    def process(self, x_uv: NDArray[np.float32]) -> tuple[list[int], _Floats]:
        """Return where the windows that samples (n_new, n_channels) fill end, and their probabilities.

        Raises
        ------
        FloatingPointError
            If a value is not finite; then no sample was processed.
        """
        x = x_uv.astype(np.float64)
        if not np.isfinite(x).all():
            raise FloatingPointError
        if self._manifest.scaling.reference == "average":
            x -= x.mean(axis=1, keepdims=True)
        ends, probs = [], []
        with np.errstate(invalid="ignore"):  # false alarms: OpenBLAS computes and drops unset lanes
            for k in range(len(x)):
                if k % _N_PIECE == 0:
                    self._history.append(x[k : k + _N_PIECE])
                decision = self._advance_to_next_sample()
                if decision is not None:
                    ends.append(self._n_seen)
                    probs.append(decision)
        return ends, np.array(probs).reshape(len(ends), len(self._manifest.classes))

    def catch_up(self) -> None:
        """Return at once: `process` leaves nothing for later."""

    def _advance_to_next_sample(self) -> _Floats | None:
        """Advance all lanes by one sample of the history; return the probabilities of the window it fills, if any."""
        steps = self._steps
        if self._n_seen % self._hop == 0:
            self._start[self._n_seen // self._hop % self._n_lanes] = self._n_seen
        self._n_seen += 1
        age = self._n_seen - self._start  # (n_lanes,)
        since_first = age - steps.first_end
        due = (since_first % steps.stride == 0) & (age >= steps.burst_age) & (age <= steps.n_window)
        lanes = np.flatnonzero(due)
        if not lanes.size:
            return None
        t = since_first[lanes] // steps.stride  # (n_due,) each lane's step
        if steps.n_burst > 1 or len(steps.baseline):
            for lane in lanes[age[lanes] == steps.burst_age]:
                self._burst(lane)
        self._advance(lanes, t)
        full = np.flatnonzero(age == steps.n_window)
        return self._decide(int(full[0])) if full.size else None

    def _burst(self, lane: int) -> None:
        """Compute a lane's baseline, and all steps of its burst except the last, which `_advance` adds."""
        steps = self._steps
        first = self._n_seen - steps.burst_age  # the window's first sample
        n_baseline = len(steps.baseline)
        if n_baseline:
            self._base[lane] = steps.baseline @ self._history.window(first + n_baseline, n_baseline)
        for t in range(steps.n_burst - 1):
            self._advance_cells(np.array([lane]), np.array([t]), self._step(t, first)[None] - self._base[lane])

    def _step(self, t: int, first: int) -> _Floats:
        """Compute step t (n_channels,) of the window that starts at sample `first`."""
        steps = self._steps
        if t < len(steps.starting):
            weights = steps.starting[t]
            n = min(len(weights), self._n_seen - first)
            return np.asarray(weights[:n] @ self._history.window(first + n, n))
        return self._shared_step(first + steps.first_end + t * steps.stride)

    def _shared_step(self, end: int) -> _Floats:
        """Compute the step (n_channels,) that is complete at sample `end`: the same for every lane past its start."""
        return np.asarray(self._steps.fir @ self._history.window(end, len(self._steps.fir))[::-1])

    def _advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64]) -> None:
        steps, end = self._steps, self._n_seen
        x = np.empty((len(lanes), self._base.shape[1]))  # (n_due, n_channels)
        if t.max() >= len(steps.starting):
            x[:] = self._shared_step(end)
        for i in np.flatnonzero(t < len(steps.starting)):
            x[i] = self._step(int(t[i]), end - steps.first_end - int(t[i]) * steps.stride)
        if len(steps.baseline):
            x -= self._base[lanes]
        self._advance_cells(lanes, t, x)

    def _advance_cells(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: _Floats) -> None:
        x = x / self._manifest.scaling.divide_uv
        for cells in self._members:
            cells.advance(lanes, t, x)

    def _decide(self, lane: int) -> _Floats:
        logits: list[NDArray[Any]] = [cells.logits(lane) for cells in self._members]
        return softmax(np.stack(logits).mean(axis=0, dtype=np.float64) / self._manifest.temperature)
