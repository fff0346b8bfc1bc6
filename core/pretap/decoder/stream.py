"""A decoder that follows a stream on lanes, and is audited while it runs. Made by `Decoder.stream`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.compiled import CompiledLanes
from pretap.decoder.output import Native, Output
from pretap.decoder.python import PythonLanes
from pretap.decoder.recompute import Recompute
from pretap.errors import DataError
from pretap.signal.ring import Ring

Lanes = CompiledLanes | PythonLanes
"""All windows that are open, advanced together; both classes have the same methods and return the same decisions."""


@dataclass(frozen=True)
class Reference:
    """Another way to decode a window, and how far probabilities may lie from its result."""

    decode: Callable[[NDArray[Any]], NDArray[np.float64]]
    tolerance: float

    def find_error(self, window_uv: NDArray[np.float32], probs: NDArray[np.float64]) -> str:
        """Return how the probabilities (n_classes,) of a window differ from the reference's; empty if they do not."""
        error = float(np.abs(probs - self.decode(window_uv)).max())
        if error <= self.tolerance:  # False for NaN
            return ""
        return (
            f"the self-audit failed: probabilities differ by {error:.2g} from the reference's, "
            f"{self.tolerance:.2g} is allowed"
        )


class LaneStream:
    """A stream of decisions on lanes. If an audit fails, it recomputes all windows from then on.

    Parameters
    ----------
    reference
        For `audit`, and for what follows if that fails.
    ring
        Holds the newest decision's window until the next.
    """

    def __init__(
        self, lanes: Lanes, ring: Ring, *, hop: int, n_window: int, description: str, reference: Reference
    ) -> None:
        self._lanes, self._ring, self._hop, self._n_window = lanes, ring, hop, n_window
        self._description, self._reference = description, reference
        self._newest: Output | None = None
        self._unkept: list[NDArray[np.float32]] = []  # samples that are not in the ring yet
        self._n_seen = 0
        self._fallback: Recompute | None = None

    @property
    def native(self) -> Native | None:
        """The functions that C code may call instead of `process`, reporting to `accept`; None if there are none."""
        return self._lanes.native if self._fallback is None else None

    def reset(self) -> None:
        """Forget all samples; a failed audit is not forgotten."""
        self._newest, self._unkept = None, []
        self._n_seen = 0
        self._ring.reset()
        if self._fallback is None:
            self._lanes.reset()

    def process(self, x_uv: NDArray[np.float32]) -> list[Output]:
        """Return every decision that finite samples (n_new, n_channels) in microvolts complete, in order.

        The array must not change before `catch_up` or the next samples.
        """
        self._keep()
        if self._fallback is not None:
            return self._fallback.process(x_uv)
        self._ring.check(x_uv)
        try:
            ends, probs = self._lanes.process(x_uv)
        except FloatingPointError:
            raise DataError(
                "A sample is NaN or infinite: reset the stream there, and pass only finite samples."
            ) from None
        return self.accept(x_uv, ends, probs)

    def accept(self, x_uv: NDArray[np.float32], ends: Sequence[int], probs: NDArray[np.float64]) -> list[Output]:
        """Return as decisions what C code found in samples that it passed to `native`."""
        self._unkept.append(x_uv)
        self._n_seen += len(x_uv)
        if not ends:
            return []
        outputs = list(map(Output, ends, probs))
        self._newest = outputs[-1]
        return outputs

    def _keep(self) -> None:
        """Put the newest samples into the ring: only an audit looks at them there."""
        if self._unkept:
            self._ring.append(self._unkept[0] if len(self._unkept) == 1 else np.concatenate(self._unkept))
            self._unkept = []

    def process_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        """Return only the newest decision that the samples complete, and how many were skipped (overload)."""
        if self._fallback is not None:
            self._keep()
            return self._fallback.process_newest(x_uv)
        outputs = self.process(x_uv)
        return outputs[-1:], max(0, len(outputs) - 1)

    def catch_up(self) -> None:
        """Do what `process` left for later; call it when its decisions were sent, or the next `process` does it."""
        self._keep()
        if self._fallback is None:
            self._lanes.catch_up()

    @property
    def n_to_next(self) -> int:
        """How many samples the next decision still needs."""
        if self._fallback is not None:
            return self._fallback.n_to_next
        seen = self._n_seen
        return self._n_window - seen if seen < self._n_window else self._hop - (seen - self._n_window) % self._hop

    def describe(self) -> str:
        """Return how decisions are made, and why so, for a log."""
        return self._description if self._fallback is None else self._fallback.describe()

    def audit(self) -> str:
        """Compare the newest decision with the reference; return what is wrong, and recompute windows from then on."""
        if self._newest is None or self._fallback is not None:
            return ""
        self._keep()
        window_uv = self._ring.window(self._newest.n_end, self._n_window)
        fault = self._reference.find_error(window_uv, self._newest.probs)
        if not fault:
            return ""
        self._fallback = Recompute(
            self._reference.decode,
            self._ring,
            hop=self._hop,
            n_window=self._n_window,
            description=f"numpy: every window is recomputed, {fault}",
        )
        return f"{fault}; every window is recomputed from now on"


DecoderStream = LaneStream | Recompute
"""A decoder that follows a stream sample by sample."""
