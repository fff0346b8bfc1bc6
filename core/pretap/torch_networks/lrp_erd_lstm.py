"""`LrpErdLstmSpec` in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretap.networks import LrpErdLstmSpec, Tensors
from pretap.networks.bandpass import BANDPASS, toeplitz
from pretap.networks.lrp_erd_lstm import FLOOR
from pretap.torch_networks.lstm import LstmNetwork

_SHRINKAGE = 0.02  # of the covariance that the first ERD filters whiten; the average reference makes it singular


class LrpErdLstmNetwork(nn.Module):
    """Maps windows (batch, n_steps, n_inputs) in microvolts to logits (batch, n_classes).

    The LRP filters are initialised Glorot-uniform, the ERD filters as random orthonormal directions in whitened space
    (`initialise_from`), the LSTM as in `LstmNetwork`. The band-pass is fixed. It and the baseline run in float64.
    """

    def __init__(
        self, spec: LrpErdLstmSpec, *, n_steps: int, n_inputs: int, n_classes: int, impulse: NDArray[np.float64]
    ) -> None:
        super().__init__()
        self.spec, self.n_each = spec, n_steps // spec.blocks
        self.impulse = np.array(impulse)  # (n_steps,)
        self.register_buffer("bandpass", torch.from_numpy(toeplitz(self.impulse)))  # (n_steps, n_steps) float64
        self.lrp = nn.Linear(n_inputs, spec.lrp_filters, bias=False)
        self.erd = nn.Linear(n_inputs, spec.erd_filters, bias=False)
        self.dropout = nn.Dropout(spec.dropout)
        n_features = spec.lrp_filters + spec.erd_filters
        self.network = LstmNetwork(spec.lstm, n_steps=spec.blocks, n_inputs=n_features, n_classes=n_classes)
        nn.init.xavier_uniform_(self.lrp.weight)  # (lrp_filters, n_inputs)

    @torch.no_grad()
    def initialise_from(self, x: Tensor) -> None:
        """Initialise the ERD filters for unit power in the training windows (n_epochs, n_steps, n_inputs)."""
        fast = self._bandpassed(x).flatten(0, 1)  # (n_epochs * n_steps, n_inputs) float64
        covariance = fast.T @ fast / len(fast)  # (n_inputs, n_inputs)
        n_inputs = len(covariance)
        mean_power = covariance.trace() / n_inputs
        covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * mean_power * torch.eye(n_inputs)
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        whitening = (eigenvectors / eigenvalues.sqrt()) @ eigenvectors.T  # (n_inputs, n_inputs)
        directions = nn.init.orthogonal_(torch.empty_like(self.erd.weight))  # (erd_filters, n_inputs)
        self.erd.weight.copy_(directions.double() @ whitening)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_steps, n_inputs) to logits (batch, n_classes)."""
        slow = self._blocked(x.double()).mean(dim=2)  # (batch, blocks, n_inputs)
        slow = self.lrp(((slow - slow[:, :1]) / self.spec.lrp_uv).float())  # (batch, blocks, lrp_filters)
        fast = self._blocked(self._bandpassed(x))  # (batch, blocks, n_each, n_inputs)
        power = self.erd(fast.float()).square().mean(dim=2)  # (batch, blocks, erd_filters)
        features = torch.cat([slow, torch.log(power + FLOOR)], dim=2)  # (batch, blocks, n_features)
        features = features * self.dropout(torch.ones_like(features[:, :1]))  # the same filters in all blocks
        return self.network.dense(self.dropout(self.network.last_hidden(features)))  # type: ignore[no-any-return]

    def _bandpassed(self, x: Tensor) -> Tensor:
        """Filter (batch, n_steps, n_inputs) minus its first sample, from rest, in float64."""
        matrix = self.get_buffer("bandpass")
        return matrix @ (x - x[:, :1]).double()

    def _blocked(self, x: Tensor) -> Tensor:
        """Cut (batch, n_steps, n) into blocks (batch, blocks, n_each, n); the last one ends with the window."""
        blocks, n_each = self.spec.blocks, self.n_each
        return x[:, x.shape[1] - blocks * n_each :].reshape(len(x), blocks, n_each, x.shape[2])

    def export(self) -> dict[str, NDArray[Any]]:
        """Return copies of the tensors of `LrpErdLstmSpec.tensors`."""
        filters = {
            name: np.array(layer.weight.detach().numpy(), np.float32)
            for name, layer in (("lrp.filters", self.lrp), ("erd.filters", self.erd))
        }
        return {BANDPASS: self.impulse.copy(), **filters, **self.network.export()}

    @classmethod
    def from_tensors(cls, spec: LrpErdLstmSpec, tensors: Tensors) -> LrpErdLstmNetwork:
        """Build a module with the weights in `tensors`."""
        n_inputs, n_classes, impulse = tensors["lrp.filters"].shape[1], len(tensors["dense.bias"]), tensors[BANDPASS]
        with torch.random.fork_rng(devices=[]):  # the initialisation must not advance the caller's generator
            module = cls(spec, n_steps=len(impulse), n_inputs=n_inputs, n_classes=n_classes, impulse=impulse)
        module.network = LstmNetwork.from_tensors(spec.lstm, tensors)
        with torch.no_grad():
            module.lrp.weight.copy_(torch.from_numpy(np.array(tensors["lrp.filters"], np.float32)))
            module.erd.weight.copy_(torch.from_numpy(np.array(tensors["erd.filters"], np.float32)))
        return module.eval()
