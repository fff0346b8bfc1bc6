"""Streams of decisions: what a decoder that follows a stream returns, and what every such decoder can do."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray


class Output(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A decision: `n_end` samples had been processed since the reset when its window was full."""

    n_end: int
    probs: NDArray[np.float64]  # (n_classes,)


class Native(msgspec.Struct, frozen=True, gc=False):
    """A decoder for C code, see lanes.c: the addresses of its functions, and their first argument."""

    process: int
    catch_up: int
    engine: int


class DecoderStream(Protocol):
    """A decoder that follows a stream sample by sample."""

    def process(self, x_uv: NDArray[np.float32]) -> list[Output]:
        """Return every decision that finite samples (n_new, n_channels) in microvolts complete, in order.

        The array must not change before the next `process`.
        """
        ...

    def process_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        """Return only the newest decision that the samples complete, and how many were skipped (overload)."""
        ...

    def reset(self) -> None:
        """Forget all samples: the next decision comes `n_window` samples later."""
        ...

    @property
    def n_to_next(self) -> int:
        """How many samples the next decision still needs."""
        ...

    def describe(self) -> str:
        """Return how decisions are made, and why so, for a log."""
        ...
