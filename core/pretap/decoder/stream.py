"""A stream's decoder whose windows are lanes, audited by the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.output import DecoderStream, Native, Output
from pretap.decoder.recompute import Recompute
from pretap.errors import DataError
from pretap.signal.ring import Ring

__all__ = ["LaneStream", "Lanes"]


class Lanes(Protocol):
    """All windows that are open, advanced together."""

    def push(self, x_uv: NDArray[np.float32]) -> tuple[list[int], NDArray[np.float64]]:
        """Take samples (n_new, n_channels); give where the windows that they fill end, and probabilities.

        Raises
        ------
        FloatingPointError
            For a value that is not finite; then no sample was taken.
        """
        ...

    def settle(self) -> None:
        """Advance the windows that `push` left for later."""
        ...

    def reset(self) -> None:
        """Close all windows."""
        ...

    @property
    def native(self) -> Native | None:
        """What C code calls instead of `push`; None where there is no such thing."""
        ...


class LaneStream:
    """A `DecoderStream` on lanes; it recomputes windows from the first audit on that fails.

    Parameters
    ----------
    reference
        Decodes a window another way, for `audit` and for what follows when that fails.
    ring
        Holds the newest decision's window until the next.
    tolerance
        How far probabilities may lie from the reference's.
    """

    def __init__(
        self,
        lanes: Lanes,
        ring: Ring,
        *,
        hop: int,
        n_window: int,
        words: str,
        reference: Callable[[NDArray[Any]], NDArray[np.float64]],
        tolerance: float,
    ) -> None:
        self.words = words
        self._lanes, self._ring, self._hop, self._n_window = lanes, ring, hop, n_window
        self._reference, self._tolerance = reference, tolerance
        self._newest: Output | None = None
        self._unkept: list[NDArray[np.float32]] = []  # samples that are not in the ring yet
        self._n_seen = 0
        self._fallback: DecoderStream | None = None

    @property
    def native(self) -> Native | None:
        return self._lanes.native if self._fallback is None else None

    def reset(self) -> None:
        """Forget all samples; a failed audit is not forgotten."""
        self._newest, self._unkept = None, []
        self._n_seen = 0
        self._ring.reset()
        if self._fallback is None:
            self._lanes.reset()

    def push(self, x_uv: NDArray[np.float32]) -> list[Output]:
        self._keep()
        if self._fallback is not None:
            return self._fallback.push(x_uv)
        self._ring.check(x_uv)
        try:
            ends, probs = self._lanes.push(x_uv)
        except FloatingPointError:
            raise DataError(
                "A sample is NaN or infinite: reset the stream there, and push only finite samples."
            ) from None
        return self.took(x_uv, ends, probs)

    def took(self, x_uv: NDArray[np.float32], ends: Sequence[int], probs: NDArray[np.float64]) -> list[Output]:
        self._unkept.append(x_uv)
        self._n_seen += len(x_uv)
        if not ends:
            return []
        outputs = list(map(Output, ends, probs))
        self._newest = outputs[-1]
        return outputs

    def _keep(self) -> None:
        """Put the newest samples into the ring: only an audit looks for them."""
        if self._unkept:
            self._ring.append(self._unkept[0] if len(self._unkept) == 1 else np.concatenate(self._unkept))
            self._unkept = []

    def push_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        if self._fallback is not None:
            self._keep()
            return self._fallback.push_newest(x_uv)
        outputs = self.push(x_uv)
        return outputs[-1:], max(0, len(outputs) - 1)

    def settle(self) -> None:
        self._keep()
        if self._fallback is None:
            self._lanes.settle()

    @property
    def n_to_next(self) -> int:
        if self._fallback is not None:
            return self._fallback.n_to_next
        seen = self._n_seen
        return self._n_window - seen if seen < self._n_window else self._hop - (seen - self._n_window) % self._hop

    def audit(self) -> str:
        if self._newest is None or self._fallback is not None:
            return ""
        self._keep()
        expected = self._reference(self._ring.window(self._newest.n_end, self._n_window))
        error = float(np.abs(self._newest.probs - expected).max())
        if error <= self._tolerance:  # False for NaN
            return ""
        fault = (
            f"the self-audit failed: probabilities differ by {error:.2g} from the reference's, "
            f"{self._tolerance:.2g} is allowed"
        )
        self.words = f"numpy: every window is recomputed, {fault}"
        self._fallback = Recompute(
            self._reference, self._ring, hop=self._hop, n_window=self._n_window, words=self.words
        )
        return f"{fault}; every window is recomputed from now on"
