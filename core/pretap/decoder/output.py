"""Results of decoders that follow a stream: decisions, and the addresses of their functions for C code."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray


class Output(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A decision: `n_end` samples had been processed since the reset when its window was full."""

    n_end: int
    probs: NDArray[np.float64]  # (n_classes,)


class Native(msgspec.Struct, frozen=True, gc=False):
    """A decoder for C code, see lanes.c: the addresses of its functions, and their first argument.

    Code that holds the address `engine` must hold `owner` too: the memory is freed with it.
    """

    process: int
    catch_up: int
    engine: int
    owner: object
