"""`LrpErdLstmSpec` in torch: the members of an ensemble at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretap.networks import LrpErdLstmSpec, Tensors
from pretap.networks.bandpass import BANDPASS, toeplitz
from pretap.networks.lrp_erd_lstm import FLOOR
from pretap.torch_networks.lstm import LstmNetwork
from pretap.torch_networks.lstm_stack import last_hidden

_SHRINKAGE = 0.02  # of the covariance that the first ERD filters whiten; the average reference makes it singular
_LSTM = ("lstm.0.weight_ih", "lstm.0.weight_hh", "lstm.0.bias", "dense.weight", "dense.bias")


class LrpErdLstmNetwork(nn.Module):
    """Maps windows (batch, n_steps, n_inputs) to the mean logits (batch, n_classes) of its members.

    There is a member for each of `seeds`, which draw its first weights and its dropout: a member becomes the network
    that it would be alone. The networks are small, so computing all of them in one operation saves most of the time.

    Both branches need little of a window: the mean of each block, and the covariance of each block in the band.
    Training computes them once (`condense`), and then only `logits` in each epoch.

    The LRP filters are initialised Glorot-uniform and read slow potentials in units of their spread in the training
    windows. The ERD filters start at directions in whitened space (`initialise_from`), the LSTM as in `LstmNetwork`.
    The band-pass is fixed. It and the block means run in float64.
    """

    def __init__(
        self,
        spec: LrpErdLstmSpec,
        *,
        n_steps: int,
        n_inputs: int,
        n_classes: int,
        impulse: NDArray[np.float64],
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__()
        self.spec, self.n_each = spec, n_steps // spec.blocks
        self.impulse = np.array(impulse)  # (n_steps,)
        self.bandpass = torch.from_numpy(toeplitz(self.impulse))  # (n_steps, n_steps)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.spread = torch.ones(())  # of the slow potential
        sizes = {"n_steps": spec.blocks, "n_inputs": spec.lrp_filters + spec.erd_filters, "n_classes": n_classes}
        members = []
        for generator in self.generators:
            with torch.random.fork_rng(devices=[]):  # the initialisation must not advance the caller's generator
                torch.random.set_rng_state(generator.get_state())
                lrp = nn.init.xavier_uniform_(torch.empty(spec.lrp_filters, n_inputs))
                erd = nn.init.orthogonal_(torch.empty(spec.erd_filters, n_inputs))
                own = LstmNetwork(spec.lstm, **sizes).bundle_parameters()
                generator.set_state(torch.random.get_rng_state())
            members.append([lrp, erd, *(own[name].detach() for name in _LSTM)])
        self.lrp, self.erd, *weights = (nn.Parameter(torch.stack(each)) for each in zip(*members, strict=True))
        self.weights = nn.ParameterList(weights)  # (n_members, ...) each, in the order of _LSTM

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_steps, n_inputs) to mean logits (batch, n_classes)."""
        return self.logits(self.condense(x).expand(len(self.generators), -1, -1, -1, -1)).mean(dim=0)

    def condense(self, x: Tensor) -> Tensor:
        """Condense windows (batch, n_steps, n_inputs) to what `logits` reads, (batch, blocks, 1 + n_rows, n_inputs).

        The first row of a block is its mean less that of the first block. The other rows R, at most n_inputs, hold the
        covariance of the block in the band: R' R is the mean of x x' over its steps.
        """
        slow = self._blocked(x.double()).mean(dim=2, keepdim=True)  # (batch, blocks, 1, n_inputs)
        fast = self._blocked(self.bandpass @ (x - x[:, :1]).double())  # (batch, blocks, n_each, n_inputs)
        if self.n_each > x.shape[2]:
            fast = torch.linalg.qr(fast, mode="r").R  # (batch, blocks, n_inputs, n_inputs)
        return torch.cat([slow - slow[:, :1], fast / self.n_each**0.5], dim=2).float()

    def _blocked(self, x: Tensor) -> Tensor:
        """Cut (batch, n_steps, n) into blocks (batch, blocks, n_each, n); the last one ends with the window."""
        blocks, n_each = self.spec.blocks, self.n_each
        return x[:, x.shape[1] - blocks * n_each :].reshape(len(x), blocks, n_each, x.shape[2])

    def logits(self, condensed: Tensor) -> Tensor:
        """Map each member's windows (n_members, batch, blocks, 1 + n_rows, n_inputs) to logits (..., n_classes)."""
        slow = _filtered(condensed[:, :, :, 0] / self.spread, self.lrp)  # (n_members, batch, blocks, lrp_filters)
        power = _filtered(condensed[:, :, :, 1:], self.erd).square().sum(dim=3)  # (..., blocks, erd_filters)
        features = torch.cat([slow, torch.log(power + FLOOR)], dim=3)  # (n_members, batch, blocks, n_features)
        features = features * self._kept(features[0, :, :1])  # the same filters in all blocks
        *lstm, dense_weight, dense_bias = self.weights
        h = last_hidden(features, *lstm)  # (n_members, batch, n_hidden)
        return torch.baddbmm(dense_bias[:, None], h * self._kept(h[0]), dense_weight.transpose(1, 2))

    def _kept(self, like: Tensor) -> Tensor:
        """Draw each member's factors of dropout, (n_members, *like.shape): 0, or the one that preserves the mean."""
        if not (self.training and self.spec.dropout):
            return torch.ones(())
        drawn = torch.stack([torch.rand(like.shape, generator=each) for each in self.generators])
        return (drawn >= self.spec.dropout) / (1 - self.spec.dropout)

    @torch.no_grad()
    def initialise_from(self, condensed: Tensor, labels: Tensor) -> None:
        """Initialise what depends on the training windows: condensed, with their classes (n_epochs,).

        The ERD filters get unit power in these windows. With ``start = "csp"`` their directions are the common spatial
        patterns of the classes in turn, each against all classes (Blankertz et al., IEEE Signal Proc. Mag. 25, 2008);
        further filters than inputs start at random directions.
        """
        slow = condensed[:, 1:, 0]  # (n_epochs, blocks - 1, n_inputs), without the first block's zeros
        self.spread = slow.square().mean().sqrt().clamp(min=1e-6)
        classes = [_covariance(condensed[labels == label, :, 1:]) for label in labels.bincount().nonzero()]
        covariance = torch.stack(classes).mean(dim=0)  # (n_inputs, n_inputs) float64
        n_inputs, n_filters = len(covariance), self.erd.shape[1]
        ridge = _SHRINKAGE * covariance.trace() / n_inputs * torch.eye(n_inputs)
        eigenvalues, eigenvectors = torch.linalg.eigh((1 - _SHRINKAGE) * covariance + ridge)
        whitening = (eigenvectors / eigenvalues.sqrt()) @ eigenvectors.T
        directions = self.erd.double()  # (n_members, n_filters, n_inputs), random
        if self.spec.start == "csp":
            whitened = torch.stack([whitening @ each @ whitening for each in classes])
            ranked = torch.linalg.eigh(whitened).eigenvectors.flip(2)  # columns from the highest power down
            for k in range(min(n_filters, n_inputs)):
                directions[:, k] = ranked[k % len(classes), :, k // len(classes)]
        self.erd.copy_(nn.functional.normalize(directions, dim=2) @ whitening)

    def export(self) -> list[dict[str, NDArray[Any]]]:
        """Return copies of the tensors of `LrpErdLstmSpec.tensors` for each member."""
        filters = {"lrp.filters": self.lrp / self.spread, "erd.filters": self.erd}
        stacks = filters | dict(zip(_LSTM, self.weights, strict=True))
        arrays = {name: stack.detach().numpy() for name, stack in stacks.items()}
        return [
            {BANDPASS: self.impulse.copy()} | {name: np.array(each[member]) for name, each in arrays.items()}
            for member in range(len(self.generators))
        ]

    @classmethod
    def from_tensors(cls, spec: LrpErdLstmSpec, tensors: Tensors) -> LrpErdLstmNetwork:
        """Build a module of one member with the weights in `tensors`."""
        n_inputs, n_classes, impulse = tensors["lrp.filters"].shape[1], len(tensors["dense.bias"]), tensors[BANDPASS]
        module = cls(spec, n_steps=len(impulse), n_inputs=n_inputs, n_classes=n_classes, impulse=impulse)
        with torch.no_grad():
            for name, stack in zip(("lrp.filters", "erd.filters", *_LSTM), module.parameters(), strict=True):
                stack.copy_(torch.from_numpy(np.array(tensors[name], np.float32)))
        return module.eval()


def _filtered(x: Tensor, filters: Tensor) -> Tensor:
    """Apply filters (n_members, n_filters, n_inputs) to (n_members, ..., n_inputs)."""
    return torch.bmm(x.flatten(1, -2), filters.transpose(1, 2)).reshape(*x.shape[:-1], filters.shape[1])


def _covariance(rows: Tensor) -> Tensor:
    """Return the mean covariance (n_inputs, n_inputs) of condensed blocks (n, blocks, n_rows, n_inputs), in float64."""
    flat = rows.flatten(0, 2).double()
    return flat.T @ flat / (rows.shape[0] * rows.shape[1])
