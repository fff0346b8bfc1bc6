"""Recompute: keeps the last window and runs the whole network at each hop, for what cannot be advanced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.output import Output
from pretap.errors import DataError
from pretap.signal.ring import Ring


class Recompute:
    """A stream of decisions that decodes the window that ends at each hop.

    `ring` holds at least `n_window` samples; those in it already count. `description` says why windows are recomputed.
    """

    def __init__(
        self,
        decode_one: Callable[[NDArray[Any]], NDArray[np.float64]],
        ring: Ring,
        *,
        hop: int,
        n_window: int,
        description: str,
    ) -> None:
        self._description = description
        self._decode_one, self._ring, self._hop, self._n_window = decode_one, ring, hop, n_window

    def reset(self) -> None:
        """Forget all samples: the next decision comes `n_window` samples later."""
        self._ring.reset()

    def process(self, x_uv: NDArray[np.float32]) -> list[Output]:
        """Return every decision that finite samples (n_new, n_channels) in microvolts complete, in order."""
        if not np.isfinite(x_uv).all():
            raise DataError("A sample is NaN or infinite: reset the stream there, and pass only finite samples.")
        outputs = []
        done = 0
        for n_end in self._ends(len(x_uv)):
            take = n_end - self._ring.n_seen
            self._ring.append(x_uv[done : done + take])
            done += take
            outputs.append(Output(n_end, self._decode_one(self._ring.window(n_end, self._n_window))))
        self._ring.append(x_uv[done:])
        return outputs

    def process_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        """Return only the newest decision that the samples complete, and how many were skipped (overload)."""
        ends = self._ends(len(x_uv))
        if len(ends) < 2:
            return self.process(x_uv), 0
        # Everything up to the hop before the last goes in undecoded; what is left completes one window.
        split = ends[-2] - self._ring.n_seen
        self._ring.append(x_uv[:split])
        return self.process(x_uv[split:]), len(ends) - 1

    @property
    def n_to_next(self) -> int:
        """How many samples the next decision still needs."""
        return self._ends(0).start - self._ring.n_seen

    def describe(self) -> str:
        """Return how decisions are made, and why so, for a log."""
        return self._description

    def _ends(self, n_new: int) -> range:
        """Return where windows end within the next `n_new` samples, counted since the reset."""
        seen = self._ring.n_seen
        hops_done = max(0, (seen - self._n_window) // self._hop + 1)
        return range(self._n_window + hops_done * self._hop, seen + n_new + 1, self._hop)
