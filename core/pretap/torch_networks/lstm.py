"""`LstmSpec` in torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretap.networks import LstmSpec, Tensors


class LstmNetwork(nn.Module):
    """`LstmSpec` in torch. ``forward`` maps scaled windows (batch, n_steps, n_inputs) to logits (batch, n_classes).

    Initialised as in Keras: Glorot-uniform input and dense weights, orthogonal recurrent weights, and zero biases
    except 1 for the forget gate (Jozefowicz et al. 2015). Keras has one bias per gate and torch two, so the second one
    is frozen at 0. The gates use the exact sigmoid; Keras before 2.3 used a piecewise-linear "hard" one.
    """

    def __init__(self, spec: LstmSpec, *, n_steps: int, n_inputs: int, n_classes: int) -> None:  # noqa: ARG002
        super().__init__()
        self.spec = spec
        sizes = (n_inputs, *spec.hidden)
        self.lstm = nn.ModuleList(
            nn.LSTM(n_in, n_out, batch_first=True) for n_in, n_out in zip(sizes, spec.hidden, strict=False)
        )
        self.dense = nn.Linear(sizes[-1], n_classes)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for layer, n_hidden in enumerate(self.spec.hidden):
            weights = self.bundle_parameters()
            nn.init.xavier_uniform_(weights[f"lstm.{layer}.weight_ih"])  # (4 * n_hidden, n_in)
            nn.init.orthogonal_(weights[f"lstm.{layer}.weight_hh"])  # (4 * n_hidden, n_hidden)
            bias = weights[f"lstm.{layer}.bias"].zero_()
            bias[n_hidden : 2 * n_hidden] = 1.0  # so that the forget gate is open at first
            second_bias = self.lstm[layer].get_parameter("bias_hh_l0")
            second_bias.zero_().requires_grad_(False)  # noqa: FBT003 - torch's own signature
        nn.init.xavier_uniform_(self.dense.weight)
        self.dense.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_steps, n_inputs) to logits (batch, n_classes)."""
        return self.dense(self.last_hidden(x))  # type: ignore[no-any-return]  # (batch, n_classes)

    def last_hidden(self, x: Tensor) -> Tensor:
        """Map (batch, n_steps, n_inputs) to the last hidden state of the last layer, (batch, n_hidden)."""
        x = x.float()
        for layer in self.lstm:
            x, _ = layer(x)  # (batch, n_steps, n_hidden)
        return x[:, -1]

    def bundle_parameters(self) -> dict[str, Tensor]:
        """Map the names of `LstmSpec.tensors` to the parameters, without torch's frozen second bias."""
        parameters = {"dense.weight": self.dense.weight, "dense.bias": self.dense.bias}
        for i, layer in enumerate(self.lstm):
            parameters[f"lstm.{i}.weight_ih"] = layer.get_parameter("weight_ih_l0")
            parameters[f"lstm.{i}.weight_hh"] = layer.get_parameter("weight_hh_l0")
            parameters[f"lstm.{i}.bias"] = layer.get_parameter("bias_ih_l0")
        return parameters

    def export(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of the weights under the names of `LstmSpec.tensors`."""
        return {
            name: np.array(parameter.detach().cpu().numpy(), np.float32)
            for name, parameter in self.bundle_parameters().items()
        }

    @classmethod
    def from_tensors(cls, spec: LstmSpec, tensors: Tensors) -> LstmNetwork:
        """Build a module with the weights in `tensors`, for windows of any length."""
        n_inputs, n_classes = tensors["lstm.0.weight_ih"].shape[1], len(tensors["dense.bias"])
        with torch.random.fork_rng(devices=[]):  # the initialisation must not advance the caller's generator
            network = cls(spec, n_steps=1, n_inputs=n_inputs, n_classes=n_classes)
        with torch.no_grad():
            for name, parameter in network.bundle_parameters().items():
                parameter.copy_(torch.from_numpy(np.array(tensors[name], np.float32)))  # torch needs a writable copy
        return network.eval()
