"""Linear discriminant analysis of the scaled window. With block means it reads the shape of the slow potential."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.dense import dense, dense_layout
from pretap.networks.kind import Cells, Engine, Kind, Layout, Tensors


class LdaSpec(Kind, frozen=True, tag="lda"):
    """Linear discriminant analysis of all steps and inputs (Blankertz et al., NeuroImage 56, 2011).

    Attributes
    ----------
    shrinkage
        Shrinkage of the covariance towards its mean variance; ``auto`` is that of Ledoit and Wolf.
    """

    shrinkage: Literal["auto"] | Annotated[float, Meta(ge=0, le=1)] = "auto"

    def refusal(self, *, n_steps: int, n_members: int) -> str:  # noqa: ARG002
        """Refuse nothing: the size of the weights already bounds the steps."""
        return ""

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Return the layout: one weight for each step of each input."""
        return dense_layout(n_features=n_steps * n_inputs, n_classes=n_classes)

    def engine(self, tensors: Tensors) -> Engine:
        """Build the linear map; in its weights, steps vary slowest."""
        return dense(tensors, lambda x: x.astype(tensors["dense.weight"].dtype, copy=False).reshape(-1))

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:  # noqa: ARG002
        """Build the running sum of each lane."""
        return _LdaCells(tensors["dense.weight"], tensors["dense.bias"], n_steps=n_steps, n_lanes=n_lanes)

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count one multiply-add for each weight."""
        return n_steps * n_inputs * n_classes

    def describe(self, *, n_classes: int) -> str:
        """Describe the classifier."""
        return f"shrinkage LDA -> {n_classes}"


class _LdaCells:
    """The linear map summed over the steps so far, in many lanes."""

    def __init__(self, weight: NDArray[Any], bias: NDArray[Any], *, n_steps: int, n_lanes: int) -> None:
        self._by_step = np.ascontiguousarray(weight.reshape(len(weight), n_steps, -1).transpose(1, 2, 0))
        self._bias = bias
        self._sum = np.zeros((n_lanes, len(weight)))

    def advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        added = (x[:, None] @ self._by_step[t])[:, 0]  # (n, 1, n_inputs) @ (n, n_inputs, n_classes)
        self._sum[lanes] = added + self._sum[lanes] * (t > 0)[:, None]

    def logits(self, lane: int) -> NDArray[Any]:
        return np.asarray(self._sum[lane] + self._bias)
