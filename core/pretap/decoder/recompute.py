"""The plain way: keep the last window, and run the whole network at each hop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.output import Output
from pretap.errors import DataError
from pretap.signal.ring import Ring

__all__ = ["Recompute"]


class Recompute:
    """A `DecoderStream` that decodes the window that ends at each hop; `words` say why it is used.

    `ring` holds at least `n_window` samples; what is in it already counts.
    """

    def __init__(
        self,
        decode_one: Callable[[NDArray[Any]], NDArray[np.float64]],
        ring: Ring,
        *,
        hop: int,
        n_window: int,
        words: str,
    ) -> None:
        self.words = words
        self._decode_one, self._ring, self._hop, self._n_window = decode_one, ring, hop, n_window

    def reset(self) -> None:
        self._ring.reset()

    @property
    def native(self) -> None:
        return None

    def took(self, x_uv: NDArray[np.float32], ends: Sequence[int], probs: NDArray[np.float64]) -> list[Output]:
        raise NotImplementedError  # nothing is native

    def push(self, x_uv: NDArray[np.float32]) -> list[Output]:
        if not np.isfinite(x_uv).all():
            raise DataError("A sample is NaN or infinite: reset the stream there, and push only finite samples.")
        outputs = []
        done = 0
        for n_end in self._ends(len(x_uv)):
            take = n_end - self._ring.n_seen
            self._ring.append(x_uv[done : done + take])
            done += take
            outputs.append(Output(n_end, self._decode_one(self._ring.window(n_end, self._n_window))))
        self._ring.append(x_uv[done:])
        return outputs

    def push_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        ends = self._ends(len(x_uv))
        if len(ends) < 2:
            return self.push(x_uv), 0
        # Everything up to the hop before the last goes in undecoded; what is left completes one window.
        split = ends[-2] - self._ring.n_seen
        self._ring.append(x_uv[:split])
        return self.push(x_uv[split:]), len(ends) - 1

    def settle(self) -> None:
        """Leave nothing for later."""

    @property
    def n_to_next(self) -> int:
        return self._ends(0).start - self._ring.n_seen

    def audit(self) -> str:
        """Find nothing: this is the reference."""
        return ""

    def _ends(self, n_new: int) -> range:
        """Where windows end within the next `n_new` samples, counted since the reset."""
        seen = self._ring.n_seen
        hops_done = max(0, (seen - self._n_window) // self._hop + 1)
        return range(self._n_window + hops_done * self._hop, seen + n_new + 1, self._hop)
