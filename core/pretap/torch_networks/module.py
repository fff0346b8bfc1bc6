"""What every torch module of a network offers."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor, nn

from pretap.networks import Cells, Tensors

__all__ = ["FromData", "Module", "Streams"]


class Module(Protocol):
    """A torch module that maps scaled windows (batch, n_steps, n_inputs) float64 to logits (batch, n_classes).

    It is built from the struct of its kind: ``Module(spec, n_steps=..., n_inputs=..., n_classes=...)``.
    """

    def __init__(self, spec: Any, *, n_steps: int, n_inputs: int, n_classes: int) -> None: ...

    def __call__(self, x: Tensor) -> Tensor: ...

    def export(self) -> dict[str, NDArray[Any]]:
        """Return copies of the tensors of its kind's `tensors`."""
        ...

    @classmethod
    def from_tensors(cls, spec: Any, tensors: Tensors, *, n_steps: int, n_inputs: int, n_classes: int) -> nn.Module:
        """Build the module that computes what `tensors` say, ready to be used and no more trained."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A module whose state can be carried from step to step."""

    def cells(self, n_lanes: int) -> Cells:
        """Prepare the same computation step by step, with this module's own layers."""
        ...


@runtime_checkable
class FromData(Protocol):
    """A module whose first weights depend on the training windows."""

    def initialise_from(self, x: Tensor) -> None:
        """Set weights in place from the scaled training windows (n_epochs, n_steps, n_inputs), before any step."""
        ...
