"""What every kind of network offers, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "Engine", "Kind", "Layout", "RecomputeError", "Tensors", "softmax"]

Tensors = Mapping[str, NDArray[Any]]
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype of each tensor, as safetensors names it (``F32``, ``F64``), and its shape."""
Engine = Callable[[NDArray[np.float64]], NDArray[Any]]
"""Maps one scaled window (n_steps, n_inputs) to logits (n_classes,)."""


class RecomputeError(Exception):
    """Says why windows of a network cannot be advanced step by step, but must be recomputed."""


class Cells(Protocol):
    """The state of one network in many lanes, each of which is at some step of its own window."""

    def advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        """Let each of `lanes` (n,) take its step `t` (n,) with the scaled inputs `x` (n, n_inputs).

        A lane's step 0 begins a new window.
        """
        ...

    def logits(self, lane: int) -> NDArray[Any]:
        """Give the logits (n_classes,) of a lane that has taken its last step."""
        ...


class Kind(Protocol):
    """One kind of network: a frozen struct of its hyper-parameters that says what it stores, computes and costs.

    Attributes
    ----------
    engines
        What can compute it: ``numpy`` always, ``torch`` where torch trains it.
    forward_only
        Whether its state can be advanced sample by sample from the window's start.
    removes_offsets
        Whether a constant on an electrode changes nothing, whatever the scaling leaves.
    """

    engines: ClassVar[tuple[str, ...]]
    forward_only: ClassVar[bool]
    removes_offsets: ClassVar[bool]

    def refusal(self, *, n_steps: int, n_members: int) -> str:
        """Say why so many networks of this kind cannot read windows of so many steps; empty where they can."""
        ...

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Name each tensor of a bundle, with its dtype and shape."""
        ...

    def engine(self, tensors: Tensors) -> Engine:
        """Prepare the plain numpy computation. The dtype of the tensors decides the arithmetic."""
        ...

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:
        """Prepare the same computation step by step, in numpy; `sfreq_hz` is the rate of the steps.

        Raises
        ------
        RecomputeError
            Where this network cannot be advanced so.
        """
        ...

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count the multiplications of one window, each with its addition; tanh and the like count as one."""
        ...

    def words(self, *, n_classes: int) -> str:
        """Describe it in a line: the kind and its size."""
        ...


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Turn logits (..., n_classes) into probabilities, in float64."""
    z = np.asarray(logits, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
