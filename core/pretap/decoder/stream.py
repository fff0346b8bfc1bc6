"""A decoder that follows a stream: on lanes, audited while it runs, or by recomputing each window.

Made by `Decoder.stream`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.average import AverageLanes
from pretap.decoder.compiled import CompiledLanes
from pretap.decoder.output import Native, Output
from pretap.decoder.python import PythonLanes
from pretap.errors import DataError
from pretap.signal.ring import Ring

Lanes = CompiledLanes | PythonLanes | AverageLanes
"""All windows that are open, advanced together; the classes have the same methods and return the same decisions."""


class DecoderStream:
    """A stream of decisions, one at each hop. If an audit fails, it recomputes all windows from then on.

    Parameters
    ----------
    lanes
        The open windows; None to recompute each window.
    decode_window
        Decodes one window as a whole: the reference in an audit, and every decision without lanes.
    tolerance
        How far the probabilities of lanes may be from those of `decode_window`.
    description
        How decisions are made, and why so.
    """

    def __init__(
        self,
        lanes: Lanes | None,
        decode_window: Callable[[NDArray[Any]], NDArray[np.float64]],
        *,
        n_channels: int,
        n_window: int,
        hop: int,
        tolerance: float,
        description: str,
    ) -> None:
        self._lanes, self._decode_window, self._tolerance = lanes, decode_window, tolerance
        self._n_window, self._hop, self._description = n_window, hop, description
        self._ring = Ring(n_window + hop - 1, n_channels)  # keeps a decision's window until the next decision
        self._unkept: list[NDArray[np.float32]] = []  # samples that are not in the ring yet
        self._newest: Output | None = None
        self._n_seen = 0

    @property
    def native(self) -> Native | None:
        """The functions that C code may call instead of `process`, reporting to `accept`; None if there are none."""
        return None if self._lanes is None else self._lanes.native

    def reset(self) -> None:
        """Forget all samples; a failed audit is not forgotten."""
        self._newest, self._unkept = None, []
        self._n_seen = 0
        self._ring.reset()
        if self._lanes is not None:
            self._lanes.reset()

    def process(self, x_uv: NDArray[np.float32]) -> list[Output]:
        """Return every decision that finite samples (n_new, n_channels) in microvolts complete, in order.

        The array must not change before `catch_up` or the next samples.
        """
        self._keep()
        self._ring.check(x_uv)
        if self._lanes is None:
            return self._recompute(x_uv, self._ends(len(x_uv)))
        try:
            ends, probs = self._lanes.process(x_uv)
        except FloatingPointError:
            raise _not_finite() from None
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

    def process_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        """Return only the newest decision that the samples complete, and how many were skipped (overload)."""
        ends = self._ends(len(x_uv))
        outputs = self.process(x_uv)[-1:] if self._lanes is not None else self._recompute(x_uv, ends[-1:])
        return outputs, max(0, len(ends) - 1)

    def _recompute(self, x_uv: NDArray[np.float32], ends: Sequence[int]) -> list[Output]:
        """Return the decisions on the windows that end at `ends` within these samples."""
        if not np.isfinite(x_uv).all():
            raise _not_finite()
        outputs, n_before = [], self._n_seen
        for n_end in ends:
            self._ring.append(x_uv[self._n_seen - n_before : n_end - n_before])
            self._n_seen = n_end
            outputs.append(Output(n_end, self._decode_window(self._ring.window(n_end, self._n_window))))
        self._ring.append(x_uv[self._n_seen - n_before :])
        self._n_seen = n_before + len(x_uv)
        return outputs

    def _keep(self) -> None:
        """Put the newest samples into the ring: only an audit looks at them there."""
        if self._unkept:
            self._ring.append(self._unkept[0] if len(self._unkept) == 1 else np.concatenate(self._unkept))
            self._unkept = []

    def catch_up(self) -> None:
        """Do what `process` left for later; call it when its decisions were sent, or the next `process` does it."""
        self._keep()
        if self._lanes is not None:
            self._lanes.catch_up()

    @property
    def n_to_next(self) -> int:
        """How many samples the next decision still needs."""
        return self._ends(0).start - self._n_seen

    def _ends(self, n_new: int) -> range:
        """Return where windows end within the next `n_new` samples, counted since the reset."""
        n_done = max(0, (self._n_seen - self._n_window) // self._hop + 1)
        return range(self._n_window + n_done * self._hop, self._n_seen + n_new + 1, self._hop)

    def describe(self) -> str:
        """Return how decisions are made, and why so, for a log."""
        return self._description

    def audit(self) -> str:
        """Compare the newest decision of the lanes with the reference; empty if they agree.

        Otherwise, return what is wrong, and recompute every window from then on.
        """
        if self._newest is None or self._lanes is None:
            return ""
        self._keep()
        window_uv = self._ring.window(self._newest.n_end, self._n_window)
        error = float(np.abs(self._newest.probs - self._decode_window(window_uv)).max())
        if error <= self._tolerance:  # False for NaN
            return ""
        fault = (
            f"the self-audit failed: probabilities differ by {error:.2g} from the reference's, "
            f"{self._tolerance:.2g} is allowed"
        )
        self._lanes, self._description = None, f"numpy: every window is recomputed, {fault}"
        return f"{fault}; every window is recomputed from now on"


def _not_finite() -> DataError:
    return DataError("A sample is NaN or infinite: reset the stream there, and pass only finite samples.")
