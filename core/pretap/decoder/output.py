"""What a stream's decoder says, and what every such stream offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["DecoderStream", "Native", "Output"]


class Output(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A decision: `n_end` samples had been pushed since the reset when its window was full."""

    n_end: int
    probs: NDArray[np.float64]  # (n_classes,)


class Native(msgspec.Struct, frozen=True, gc=False):
    """A decoder for C code, see lanes.c: the addresses of its functions, and their first argument."""

    push: int
    settle: int
    engine: int


class DecoderStream(Protocol):
    """A decoder that follows a stream sample by sample.

    Attributes
    ----------
    words
        How decisions are made, and why that way, for a log.
    """

    words: str

    @property
    def native(self) -> Native | None:
        """What C code may call instead of `push`, and tell with `took`; None where there is no such thing."""
        ...

    def took(self, x_uv: NDArray[np.float32], ends: Sequence[int], probs: NDArray[np.float64]) -> list[Output]:
        """Take over what `native` did: the samples it took, and what it found. Else like `push`.

        The array must not change before the next `push` or `settle`, whatever is taken over meanwhile.
        """
        ...

    def push(self, x_uv: NDArray[np.float32]) -> list[Output]:
        """Take finite samples (n_new, n_channels) in microvolts; give every decision that they complete, in order.

        The array must not change before the next `push` or `settle`.
        """
        ...

    def push_newest(self, x_uv: NDArray[np.float32]) -> tuple[list[Output], int]:
        """Take samples, give only the newest decision they complete, and say how many were skipped (overload)."""
        ...

    def settle(self) -> None:
        """Do what `push` left for later; call it when its decisions are out. The next `push` would do it else."""
        ...

    @property
    def n_to_next(self) -> int:
        """How many samples the next decision still needs."""
        ...

    def reset(self) -> None:
        """Forget all samples: the next decision comes `n_window` samples later."""
        ...

    def audit(self) -> str:
        """Compare the newest decision with the reference's; says what is wrong, and that windows are recomputed now."""
        ...
