"""LSTM layers of several small networks at once, with their gradient. Used by `lrp_erd_lstm`.

Networks of 16 units are too small for torch and its autograd, which would spend most of the time between operations.
Here a step is one numpy operation for all networks, and its gradient is written out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_GATES = 4  # input, forget, cell, output, as in `torch.nn.LSTM`
# sigmoid(z) = tanh(z / 2) / 2 + 1/2, so all four gates are one tanh; the cell gate is a tanh already.
_HALF = np.array([0.5, 0.5, 1.0, 0.5], np.float32).reshape(_GATES, 1, 1, 1)
_OFFSET = np.array([0.5, 0.5, 0.0, 0.5], np.float32).reshape(_GATES, 1, 1, 1)


def last_hidden(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    """Run one LSTM layer for each network, from states of zero, and return the last hidden states.

    Parameters
    ----------
    x
        The inputs, (n_networks, batch, n_steps, n_inputs) float32.
    weight_ih, weight_hh, bias
        As in `torch.nn.LSTM`, stacked: (n_networks, 4 * n_hidden, n_inputs or n_hidden), (n_networks, 4 * n_hidden).

    Returns
    -------
    (n_networks, batch, n_hidden)
    """
    n_networks, n_batch, n_steps, _ = x.shape
    gates = torch.baddbmm(bias[:, None], x.flatten(1, 2), weight_ih.transpose(1, 2))
    gates = gates.reshape(n_networks, n_batch, n_steps, _GATES, -1).permute(2, 3, 0, 1, 4)
    n_hidden = weight_hh.shape[2]
    recurrent = weight_hh.reshape(n_networks, _GATES, n_hidden, n_hidden).permute(1, 0, 3, 2)
    return _Recurrence.apply(gates, recurrent)  # type: ignore[no-any-return, no-untyped-call]


class _Recurrence(torch.autograd.Function):
    """Maps the inputs' parts of the gates (n_steps, 4, n_networks, batch, n_hidden) to the last hidden states.

    The recurrent weights are (4, n_networks, n_hidden before, n_hidden after).
    The cell is that of Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000).
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, recurrent: Tensor) -> Tensor:
        gates = np.multiply(given.numpy(), _HALF, order="C")  # (n_steps, 4, n_networks, batch, n_hidden)
        weights = np.ascontiguousarray(recurrent.numpy() * _HALF)
        n_steps, _, *shape = gates.shape
        cells, hidden = np.zeros((2, n_steps + 1, *shape), np.float32)  # before each step and after the last
        squashed = np.empty((n_steps, *shape), np.float32)
        for t in range(n_steps):
            gates[t] += hidden[t] @ weights
            np.tanh(gates[t], out=gates[t])
            gates[t] *= _HALF
            gates[t] += _OFFSET
            i, f, g, o = gates[t]
            cells[t + 1] = f * cells[t] + i * g
            np.tanh(cells[t + 1], out=squashed[t])
            np.multiply(o, squashed[t], out=hidden[t + 1])
        ctx.steps = recurrent, gates, cells, hidden, squashed
        return torch.from_numpy(hidden[-1])

    @staticmethod
    def backward(ctx: Any, d_last: Tensor) -> tuple[Tensor, Tensor]:
        recurrent, gates, cells, hidden, squashed = ctx.steps
        d_gates = gates * (1 - gates)  # the slopes of the sigmoids, then the gradient
        d_gates[:, 2] = 1 - gates[:, 2] ** 2  # of tanh
        through = gates[:, 3] * (1 - squashed**2)  # from a hidden state to its cell
        back = np.ascontiguousarray(recurrent.numpy().swapaxes(2, 3))
        d_hidden, d_cell = d_last.numpy(), np.zeros(d_last.shape, np.float32)
        for t in reversed(range(len(gates))):
            i, f, g, _ = gates[t]
            d_cell += d_hidden * through[t]
            d_gates[t, 0] *= d_cell * g
            d_gates[t, 1] *= d_cell * cells[t]
            d_gates[t, 2] *= d_cell * i
            d_gates[t, 3] *= d_hidden * squashed[t]
            d_cell *= f
            d_hidden = (d_gates[t] @ back).sum(axis=0)
        given = torch.from_numpy(d_gates)
        return given, torch.einsum("tnbh,tgnbk->gnhk", torch.from_numpy(hidden[:-1]), given)
