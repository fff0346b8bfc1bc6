"""`EegNetSpec` in torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pretap.networks import Tensors
from pretap.networks.eegnet import EegNetSpec

_MAX_NORM = 1.0  # of a spatial filter, as in the paper


class EegNetwork(nn.Module):
    """Maps scaled windows (batch, n_steps, n_inputs) to logits (batch, n_classes).

    Inside, time is the last axis, as torch's convolutions need it.
    """

    def __init__(self, spec: EegNetSpec, *, n_steps: int, n_inputs: int, n_classes: int) -> None:  # noqa: ARG002
        super().__init__()
        self.spec, n_maps = spec, spec.n_maps
        self.temporal = nn.Conv2d(1, spec.temporal, (1, spec.kernel), padding="same", bias=False)
        self.temporal_norm = nn.BatchNorm2d(spec.temporal)
        self.spatial = nn.Conv2d(spec.temporal, n_maps, (n_inputs, 1), groups=spec.temporal, bias=False)
        self.spatial_norm = nn.BatchNorm1d(n_maps)
        self.depthwise = nn.Conv1d(n_maps, n_maps, spec.separable_kernel, padding="same", groups=n_maps, bias=False)
        self.pointwise = nn.Conv1d(n_maps, n_maps, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm1d(n_maps)
        self.dropout = nn.Dropout(spec.dropout)
        self.dense = nn.Linear(n_maps, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_steps, n_inputs) to logits (batch, n_classes)."""
        z = self.temporal_norm(
            self.temporal(x.float().transpose(1, 2)[:, None])
        )  # (batch, temporal, n_inputs, n_steps)
        z = functional.conv2d(z, self._spatial_weight(), groups=self.spec.temporal)[:, :, 0]  # (batch, n_maps, n_steps)
        z = functional.elu(self.spatial_norm(z))
        z = self.dropout(_pooled(z, self.spec.pool))  # (batch, n_maps, n_steps // pool)
        z = functional.elu(self.pointwise_norm(self.pointwise(self.depthwise(z))))
        return self.dense(self.dropout(z.mean(dim=2)))  # type: ignore[no-any-return]  # (batch, n_classes)

    def _spatial_weight(self) -> Tensor:
        """Return the spatial filters (n_maps, 1, n_inputs, 1), with their norms limited to 1."""
        weight = self.spatial.weight
        shrink: Tensor = _MAX_NORM / weight.norm(dim=2, keepdim=True).clamp(min=_MAX_NORM)
        return weight * shrink

    @torch.no_grad()
    def export(self) -> dict[str, NDArray[np.float32]]:
        """Return the tensors of `EegNetSpec.tensors`, with the batch normalisations folded into the other layers."""
        gain, offset = _affine(self.temporal_norm)  # (temporal,)
        spatial = self._spatial_weight()[:, 0, :, 0].double()  # (n_maps, n_inputs)
        gain_2, offset_2 = _affine(self.spatial_norm)  # (n_maps,)
        gain_3, offset_3 = _affine(self.pointwise_norm)
        through = offset.repeat_interleave(self.spec.spatial) * spatial.sum(dim=1)  # the output for a constant input
        tensors = {
            "temporal.weight": self.temporal.weight[:, 0, 0].double() * gain[:, None],
            "spatial.weight": spatial * gain_2[:, None],
            "spatial.bias": through * gain_2 + offset_2,
            "depthwise.weight": self.depthwise.weight[:, 0],
            "pointwise.weight": self.pointwise.weight[:, :, 0].double() * gain_3[:, None],
            "pointwise.bias": offset_3,
            "dense.weight": self.dense.weight,
            "dense.bias": self.dense.bias,
        }
        return {name: np.array(tensor.detach().numpy(), np.float32) for name, tensor in tensors.items()}

    @classmethod
    def from_tensors(cls, spec: EegNetSpec, tensors: Tensors) -> _FoldedEegNetwork:
        """Build the folded network with the weights in `tensors`."""
        return _FoldedEegNetwork(spec, tensors)


class _FoldedEegNetwork(nn.Module):
    """EEGNet with folded batch normalisations, for inference only."""

    def __init__(self, spec: EegNetSpec, tensors: Tensors) -> None:
        super().__init__()
        self.spec = spec
        self.tensors = {name: torch.from_numpy(np.array(tensors[name], np.float32)) for name in tensors}

    def forward(self, x: Tensor) -> Tensor:
        spec, w = self.spec, self.tensors
        z = x.float().transpose(1, 2)[:, None]  # (batch, 1, n_inputs, n_steps)
        z = functional.conv2d(z, w["temporal.weight"][:, None, None], padding="same")
        z = functional.conv2d(z, w["spatial.weight"][:, None, :, None], groups=spec.temporal)[:, :, 0]
        z = functional.elu(z + w["spatial.bias"][:, None])  # (batch, n_maps, n_steps)
        z = _pooled(z, spec.pool)
        z = functional.conv1d(z, w["depthwise.weight"][:, None], padding="same", groups=spec.n_maps)
        z = functional.elu(functional.conv1d(z, w["pointwise.weight"][:, :, None], w["pointwise.bias"]))
        return functional.linear(z.mean(dim=2), w["dense.weight"], w["dense.bias"])


def _pooled(z: Tensor, pool: int) -> Tensor:
    return functional.avg_pool1d(z, min(pool, z.shape[-1]))


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the gain and offset of a trained batch normalisation, in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return gain, norm.bias.double() - norm.running_mean.double() * gain
