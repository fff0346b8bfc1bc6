"""What every kind of network offers, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Engine", "Kind", "Layout", "Tensors", "softmax"]

Tensors = Mapping[str, NDArray[Any]]
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype of each tensor, as safetensors names it (``F32``, ``F64``), and its shape."""
Engine = Callable[[NDArray[np.float64]], NDArray[Any]]
"""Maps one scaled window (n_steps, n_inputs) to logits (n_classes,)."""


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
