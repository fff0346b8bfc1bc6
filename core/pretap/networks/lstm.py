"""The networks as data and as plain numpy: what a bundle's tensors are called, and what they compute.

The torch modules that training uses compute the same and stand in `pretap.torch_networks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

__all__ = ["LstmSpec", "lstm_logits", "softmax"]

Tensors = Mapping[str, NDArray[Any]]


class LstmSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="lstm", tag_field="kind"):
    """LSTM layers one on another, then a dense layer on the last hidden state.

    Attributes
    ----------
    hidden
        Units of each layer, first to last.
    """

    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=1024)], ...], Meta(min_length=1, max_length=8)]

    def shapes(self, *, n_inputs: int, n_classes: int) -> dict[str, tuple[int, ...]]:
        """Name each tensor and give its shape; gates lie in torch's order: input, forget, cell, output."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, n_hidden in enumerate(self.hidden):
            shapes[f"lstm.{layer}.weight_ih"] = (4 * n_hidden, n_inputs)
            shapes[f"lstm.{layer}.weight_hh"] = (4 * n_hidden, n_hidden)
            shapes[f"lstm.{layer}.bias"] = (4 * n_hidden,)
            n_inputs = n_hidden
        shapes["dense.weight"] = (n_classes, n_inputs)
        shapes["dense.bias"] = (n_classes,)
        return shapes


def lstm_logits(x: NDArray[Any], tensors: Tensors, *, spec: LstmSpec) -> NDArray[Any]:
    """Run one scaled window (n_steps, n_inputs) through the network; gives logits (n_classes,).

    The dtype of the tensors decides the arithmetic. The cell is that of Hochreiter & Schmidhuber (1997) with the forget
    gate of Gers et al. (2000), see docs/tutorial-network.md.
    """
    for layer, n_hidden in enumerate(spec.hidden):
        x = _lstm_layer(
            x,
            tensors[f"lstm.{layer}.weight_ih"],
            tensors[f"lstm.{layer}.weight_hh"],
            tensors[f"lstm.{layer}.bias"],
            n_hidden=n_hidden,
        )
    return np.asarray(tensors["dense.weight"] @ x[-1] + tensors["dense.bias"])  # (n_classes,)


def _lstm_layer(
    x: NDArray[Any], weight_ih: NDArray[Any], weight_hh: NDArray[Any], bias: NDArray[Any], *, n_hidden: int
) -> NDArray[Any]:
    dtype = weight_ih.dtype
    # sigmoid(z) = tanh(z / 2) / 2 + 1/2: halving the rows of the three sigmoid gates makes all four gates one tanh.
    # Halving is exact in binary floating point.
    half = np.full(4 * n_hidden, 0.5, dtype)
    half[2 * n_hidden : 3 * n_hidden] = 1.0  # the cell gate is a tanh already
    offset = np.where(half == 0.5, dtype.type(0.5), dtype.type(0.0))
    inputs = (x.astype(dtype, copy=False) @ weight_ih.T + bias) * half  # (n_steps, 4 * n_hidden)
    recurrent = np.ascontiguousarray((weight_hh * half[:, None]).T)  # (n_hidden, 4 * n_hidden)
    hidden = np.zeros((len(x), n_hidden), dtype)
    h = np.zeros(n_hidden, dtype)
    c = np.zeros(n_hidden, dtype)
    for step, z in enumerate(inputs):
        gates = np.tanh(z + h @ recurrent) * half + offset  # (4 * n_hidden,) i, f, g, o
        i, f = gates[:n_hidden], gates[n_hidden : 2 * n_hidden]
        g, o = gates[2 * n_hidden : 3 * n_hidden], gates[3 * n_hidden :]
        c = f * c + i * g  # the cell state: forget some of the old, add some of the new
        h = o * np.tanh(c)  # what the cell shows
        hidden[step] = h
    return hidden  # (n_steps, n_hidden)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Turn logits (..., n_classes) into probabilities, in float64."""
    z = np.asarray(logits, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
