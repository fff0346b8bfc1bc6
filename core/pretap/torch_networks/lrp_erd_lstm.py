"""`LrpErdLstmSpec` in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pretap.networks import LrpErdLstmSpec, Tensors
from pretap.networks.bandpass import BANDPASS, toeplitz
from pretap.networks.lrp_erd_lstm import FLOOR
from pretap.torch_networks.lstm import LstmNetwork

_SHRINKAGE = 0.02  # of the covariance that the first ERD filters whiten; the average reference makes it singular


class LrpErdLstmNetwork(nn.Module):
    """Maps windows (batch, n_steps, n_inputs) to logits (batch, n_classes).

    Both branches need little of a window: the mean of each block, and the covariance of each block in the band.
    Training computes them once (`condense`), and then only `logits` in each epoch.

    The LRP filters are initialised Glorot-uniform and read slow potentials in units of their spread in the training
    windows. The ERD filters start at directions in whitened space (`initialise_from`), the LSTM as in `LstmNetwork`.
    The band-pass is fixed. It and the block means run in float64.
    """

    spread: Tensor

    def __init__(
        self, spec: LrpErdLstmSpec, *, n_steps: int, n_inputs: int, n_classes: int, impulse: NDArray[np.float64]
    ) -> None:
        super().__init__()
        self.spec, self.n_each = spec, n_steps // spec.blocks
        self.impulse = np.array(impulse)  # (n_steps,)
        self.register_buffer("bandpass", torch.from_numpy(toeplitz(self.impulse)))  # (n_steps, n_steps) float64
        self.register_buffer("spread", torch.ones(()))  # of the slow potential
        self.lrp = nn.Parameter(torch.empty(spec.lrp_filters, n_inputs))
        self.erd = nn.Parameter(torch.empty(spec.erd_filters, n_inputs))
        self.dropout = nn.Dropout(spec.dropout)
        n_features = spec.lrp_filters + spec.erd_filters
        self.network = LstmNetwork(spec.lstm, n_steps=spec.blocks, n_inputs=n_features, n_classes=n_classes)
        nn.init.xavier_uniform_(self.lrp)
        nn.init.orthogonal_(self.erd)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_steps, n_inputs) to logits (batch, n_classes)."""
        return self.logits(self.condense(x))

    def condense(self, x: Tensor) -> Tensor:
        """Condense windows (batch, n_steps, n_inputs) to what `logits` reads, (batch, blocks, 1 + n_rows, n_inputs).

        The first row of a block is its mean less that of the first block. The other rows R, at most n_inputs, hold the
        covariance of the block in the band: R' R is the mean of x x' over its steps.
        """
        slow = self._blocked(x.double()).mean(dim=2, keepdim=True)  # (batch, blocks, 1, n_inputs)
        fast = self._blocked(self.get_buffer("bandpass") @ (x - x[:, :1]).double())  # (batch, blocks, n_each, n_inputs)
        if self.n_each > x.shape[2]:
            fast = torch.linalg.qr(fast, mode="r").R  # (batch, blocks, n_inputs, n_inputs)
        return torch.cat([slow - slow[:, :1], fast / self.n_each**0.5], dim=2).float()

    def _blocked(self, x: Tensor) -> Tensor:
        """Cut (batch, n_steps, n) into blocks (batch, blocks, n_each, n); the last one ends with the window."""
        blocks, n_each = self.spec.blocks, self.n_each
        return x[:, x.shape[1] - blocks * n_each :].reshape(len(x), blocks, n_each, x.shape[2])

    def logits(self, condensed: Tensor) -> Tensor:
        """Map condensed windows (batch, blocks, 1 + n_rows, n_inputs) to logits (batch, n_classes)."""
        slow = functional.linear(condensed[:, :, 0] / self.spread, self.lrp)  # (batch, blocks, lrp_filters)
        power = functional.linear(condensed[:, :, 1:], self.erd).square().sum(dim=2)  # (batch, blocks, erd_filters)
        features = torch.cat([slow, torch.log(power + FLOOR)], dim=2)  # (batch, blocks, n_features)
        features = features * self.dropout(torch.ones_like(features[:, :1]))  # the same filters in all blocks
        return self.network.dense(self.dropout(self.network.last_hidden(features)))  # type: ignore[no-any-return]

    @torch.no_grad()
    def initialise_from(self, condensed: Tensor, labels: Tensor) -> None:
        """Initialise what depends on the training windows: condensed, with their classes (n_epochs,).

        The ERD filters get unit power in these windows. With ``start = "csp"`` their directions are the common spatial
        patterns of the classes in turn, each against all classes (Blankertz et al., IEEE Signal Proc. Mag. 25, 2008);
        further filters than inputs start at random directions.
        """
        slow = condensed[:, 1:, 0]  # (n_epochs, blocks - 1, n_inputs), without the first block's zeros
        self.spread.copy_(slow.square().mean().sqrt().clamp(min=1e-6))
        classes = [_covariance(condensed[labels == label, :, 1:]) for label in labels.bincount().nonzero()]
        covariance = torch.stack(classes).mean(dim=0)  # (n_inputs, n_inputs) float64
        n_inputs, n_filters = len(covariance), len(self.erd)
        ridge = _SHRINKAGE * covariance.trace() / n_inputs * torch.eye(n_inputs)
        eigenvalues, eigenvectors = torch.linalg.eigh((1 - _SHRINKAGE) * covariance + ridge)
        whitening = (eigenvectors / eigenvalues.sqrt()) @ eigenvectors.T
        directions = self.erd.double()  # (n_filters, n_inputs), random
        if self.spec.start == "csp":
            whitened = torch.stack([whitening @ each @ whitening for each in classes])
            ranked = torch.linalg.eigh(whitened).eigenvectors.flip(2)  # columns from the highest power down
            for k in range(min(n_filters, n_inputs)):
                directions[k] = ranked[k % len(classes), :, k // len(classes)]
        self.erd.copy_(functional.normalize(directions, dim=1) @ whitening)

    def export(self) -> dict[str, NDArray[Any]]:
        """Return copies of the tensors of `LrpErdLstmSpec.tensors`."""
        filters = {"lrp.filters": self.lrp / self.spread, "erd.filters": self.erd}
        arrays = {name: np.array(tensor.detach().numpy(), np.float32) for name, tensor in filters.items()}
        return {BANDPASS: self.impulse.copy(), **arrays, **self.network.export()}

    @classmethod
    def from_tensors(cls, spec: LrpErdLstmSpec, tensors: Tensors) -> LrpErdLstmNetwork:
        """Build a module with the weights in `tensors`."""
        n_inputs, n_classes, impulse = tensors["lrp.filters"].shape[1], len(tensors["dense.bias"]), tensors[BANDPASS]
        with torch.random.fork_rng(devices=[]):  # the initialisation must not advance the caller's generator
            module = cls(spec, n_steps=len(impulse), n_inputs=n_inputs, n_classes=n_classes, impulse=impulse)
        module.network = LstmNetwork.from_tensors(spec.lstm, tensors)
        with torch.no_grad():
            module.lrp.copy_(torch.from_numpy(np.array(tensors["lrp.filters"], np.float32)))
            module.erd.copy_(torch.from_numpy(np.array(tensors["erd.filters"], np.float32)))
        return module.eval()


def _covariance(rows: Tensor) -> Tensor:
    """Return the mean covariance (n_inputs, n_inputs) of condensed blocks (n, blocks, n_rows, n_inputs), in float64."""
    flat = rows.flatten(0, 2).double()
    return flat.T @ flat / (rows.shape[0] * rows.shape[1])
