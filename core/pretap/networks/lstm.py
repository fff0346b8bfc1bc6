"""Stacked LSTM layers: the network of the tutorial."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.kind import Cells, Engine, Kind, Layout, Tensors

_MAX_TURNS = 2**17  # at about 10 us each


class LstmSpec(Kind, frozen=True, tag="lstm"):
    """Stacked LSTM layers, then a dense layer on the last hidden state.

    Attributes
    ----------
    hidden
        Units of each layer, from first to last.
    """

    engines: ClassVar[tuple[str, ...]] = ("numpy", "torch")

    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=1024)], ...], Meta(min_length=1, max_length=8)]

    def refusal(self, *, n_steps: int, n_members: int) -> str:
        """Limit the number of sequential steps."""
        n_turns = n_members * len(self.hidden) * n_steps
        if n_turns <= _MAX_TURNS:
            return ""
        return (
            f"LSTM of {len(self.hidden)} layer(s) over {n_steps} steps in {n_members} member(s): a decision takes "
            f"{n_turns} sequential steps, expected at most {_MAX_TURNS}. Use a lower rate (scaling.decimate_to_hz)."
        )

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:  # noqa: ARG002 - any length
        """Return the layout; gates are in torch's order: input, forget, cell, output."""
        layout: Layout = {}
        for layer, n_hidden in enumerate(self.hidden):
            layout[f"lstm.{layer}.weight_ih"] = ("F32", (4 * n_hidden, n_inputs))
            layout[f"lstm.{layer}.weight_hh"] = ("F32", (4 * n_hidden, n_hidden))
            layout[f"lstm.{layer}.bias"] = ("F32", (4 * n_hidden,))
            n_inputs = n_hidden
        layout["dense.weight"] = ("F32", (n_classes, n_inputs))
        layout["dense.bias"] = ("F32", (n_classes,))
        return layout

    def engine(self, tensors: Tensors) -> Engine:
        """Build the network in numpy.

        The cell is that of Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000), see
        docs/tutorial-network.md.
        """
        layers = self._layers(tensors)
        weight, bias = tensors["dense.weight"], tensors["dense.bias"]

        def logits(x: NDArray[Any]) -> NDArray[Any]:
            for layer in layers:
                x = layer(x)  # (n_steps, n_hidden)
            return np.asarray(weight @ x[-1] + bias)  # (n_classes,)

        return logits

    def _layers(self, tensors: Tensors) -> list[_Layer]:
        names = ("weight_ih", "weight_hh", "bias")
        return [_Layer(*(tensors[f"lstm.{layer}.{name}"] for name in names)) for layer in range(len(self.hidden))]

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:  # noqa: ARG002
        """Build the hidden and cell states of each lane."""
        return _LstmCells(self._layers(tensors), tensors["dense.weight"], tensors["dense.bias"], n_lanes=n_lanes)

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count the four gates of each unit, over inputs and hidden states, and the few products of the cell."""
        n = 0
        for n_hidden in self.hidden:
            n += n_steps * n_hidden * (4 * (n_inputs + n_hidden) + 8)
            n_inputs = n_hidden
        return n + n_classes * n_inputs

    def describe(self, *, n_classes: int) -> str:
        """Describe the sizes of the layers."""
        return f"LSTM {' -> '.join(map(str, self.hidden))} -> {n_classes}"


class _Layer:
    """One layer; maps (n_steps, n_in) to hidden states (n_steps, n_hidden)."""

    def __init__(self, weight_ih: NDArray[Any], weight_hh: NDArray[Any], bias: NDArray[Any]) -> None:
        self._dtype, self._n_hidden = weight_ih.dtype, weight_hh.shape[1]
        n_hidden = self._n_hidden
        # sigmoid(z) = tanh(z / 2) / 2 + 1/2: halving the rows of the three sigmoid gates makes all four gates one tanh.
        # Halving is exact in binary floating point.
        self._half = np.full(4 * n_hidden, 0.5, self._dtype)
        self._half[2 * n_hidden : 3 * n_hidden] = 1.0  # the cell gate is a tanh already
        self._offset = np.where(self._half == 0.5, self._dtype.type(0.5), self._dtype.type(0.0))
        self._inputs, self._bias = weight_ih.T, bias
        self._recurrent = np.ascontiguousarray((weight_hh * self._half[:, None]).T)  # (n_hidden, 4 * n_hidden)

    def zeros(self, *shape: int) -> NDArray[Any]:
        return np.zeros((*shape, self._n_hidden), self._dtype)

    def inputs(self, x: NDArray[Any]) -> NDArray[Any]:
        """Compute the contribution of the inputs (n, n_in) to the gates, (n, 4 * n_hidden)."""
        return np.asarray((x.astype(self._dtype, copy=False) @ self._inputs + self._bias) * self._half)

    def step(self, z: NDArray[Any], h: NDArray[Any], c: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Advance states (..., n_hidden) by one step of `inputs`, (..., 4 * n_hidden)."""
        n_hidden = self._n_hidden
        gates = np.tanh(z + h @ self._recurrent) * self._half + self._offset  # (..., 4 * n_hidden) i, f, g, o
        i, f = gates[..., :n_hidden], gates[..., n_hidden : 2 * n_hidden]
        g, o = gates[..., 2 * n_hidden : 3 * n_hidden], gates[..., 3 * n_hidden :]
        c = f * c + i * g  # the cell state: forget some of the old, add some of the new
        return o * np.tanh(c), c  # the hidden state

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        hidden = self.zeros(len(x))
        h = c = self.zeros()
        for step, z in enumerate(self.inputs(x)):
            h, c = self.step(z, h, c)
            hidden[step] = h
        return hidden  # (n_steps, n_hidden)


class _LstmCells:
    """The stacked layers in many lanes."""

    def __init__(self, layers: list[_Layer], weight: NDArray[Any], bias: NDArray[Any], *, n_lanes: int) -> None:
        self._layers, self._weight, self._bias = layers, weight, bias
        self._states = [(layer.zeros(n_lanes), layer.zeros(n_lanes)) for layer in layers]

    def advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: NDArray[Any]) -> None:
        running = (t > 0)[:, None]  # (n, 1), the others start from zero
        for layer, (h, c) in zip(self._layers, self._states, strict=True):
            x, c[lanes] = layer.step(layer.inputs(x), h[lanes] * running, c[lanes] * running)
            h[lanes] = x

    def logits(self, lane: int) -> NDArray[Any]:
        return np.asarray(self._weight @ self._states[-1][0][lane] + self._bias)  # (n_classes,)
