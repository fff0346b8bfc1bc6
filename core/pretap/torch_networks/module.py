"""The protocols of the torch modules. Training and the decoder's engine torch use them."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor, nn

from pretap.networks import Cells, Tensors


class Module(Protocol):
    """A torch module that maps scaled windows (batch, n_steps, n_inputs) float64 to logits (batch, n_classes).

    It is built from the struct of its kind: ``Module(spec, n_steps=..., n_inputs=..., n_classes=...)``.
    """

    def __init__(self, spec: Any, *, n_steps: int, n_inputs: int, n_classes: int) -> None: ...

    def __call__(self, x: Tensor) -> Tensor: ...

    def export(self) -> dict[str, NDArray[Any]]:
        """Return copies of the weights under the names of the kind's `tensors`."""
        ...

    @classmethod
    def from_tensors(cls, spec: Any, tensors: Tensors, *, n_steps: int, n_inputs: int, n_classes: int) -> nn.Module:
        """Build a module with the weights in `tensors`, for inference."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A module that can also be advanced step by step."""

    def cells(self, n_lanes: int) -> Cells:
        """Build the same computation step by step, with the layers of this module."""
        ...


@runtime_checkable
class FromData(Protocol):
    """A module whose initial weights depend on the training windows."""

    def initialise_from(self, x: Tensor) -> None:
        """Initialise weights from the scaled training windows (n_epochs, n_steps, n_inputs), before training."""
        ...
