"""EEGNet: a compact convolutional network for EEG."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.kind import Cells, Engine, Kind, Layout, RecomputeError, Tensors

_MAX_VALUES = 2**22  # n_steps * n_maps of a layer: 16 MiB
_Count = Annotated[int, Meta(ge=1, le=256)]


class EegNetSpec(Kind, frozen=True, tag="eegnet"):
    """EEGNet (Lawhern et al., J. Neural Eng. 15, 2018), with the last pooling over all remaining steps.

    Attributes
    ----------
    temporal
        Temporal filters, F1 in the paper.
    spatial
        Spatial filters for each temporal filter, D in the paper.
    kernel, separable_kernel
        Lengths of the two temporal convolutions, in steps.
    pool
        Steps averaged between these convolutions.
    dropout
        Share of the values that are set to 0 in training.
    """

    engines: ClassVar[tuple[str, ...]] = ("numpy", "torch")
    forward_only: ClassVar[bool] = False

    temporal: _Count = 8
    spatial: _Count = 2
    kernel: _Count = 25
    separable_kernel: _Count = 15
    pool: _Count = 4
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.25

    @property
    def n_maps(self) -> int:
        """Maps after the spatial filters, F1 * D, and after the second convolution, F2."""
        return self.temporal * self.spatial

    def refusal(self, *, n_steps: int, n_members: int) -> str:  # noqa: ARG002 - members run one after another
        """Limit the values between the layers."""
        n_values = n_steps * self.n_maps
        if n_values <= _MAX_VALUES:
            return ""
        return (
            f"EEGNet of {self.n_maps} maps over {n_steps} steps: expected at most {_MAX_VALUES // self.n_maps} steps. "
            "Use a lower rate (scaling.decimate_to_hz)."
        )

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:  # noqa: ARG002 - any length
        """Return the layout, with each batch normalisation folded into the layer before it."""
        n_maps = self.n_maps
        return {
            "temporal.weight": ("F32", (self.temporal, self.kernel)),
            "spatial.weight": ("F32", (n_maps, n_inputs)),
            "spatial.bias": ("F32", (n_maps,)),
            "depthwise.weight": ("F32", (n_maps, self.separable_kernel)),
            "pointwise.weight": ("F32", (n_maps, n_maps)),
            "pointwise.bias": ("F32", (n_maps,)),
            "dense.weight": ("F32", (n_classes, n_maps)),
            "dense.bias": ("F32", (n_classes,)),
        }

    def engine(self, tensors: Tensors) -> Engine:
        """Build the network in numpy. Spatial filters come first, since they commute with the temporal ones."""
        temporal = np.repeat(tensors["temporal.weight"], self.spatial, axis=0)  # (n_maps, kernel)
        depthwise, dtype = tensors["depthwise.weight"], temporal.dtype

        def logits(x: NDArray[np.float64]) -> NDArray[Any]:
            z = x.astype(dtype, copy=False) @ tensors["spatial.weight"].T  # (n_steps, n_maps)
            z = _elu(_convolve(z, temporal) + tensors["spatial.bias"])
            z = _pooled(z, self.pool)  # (n_steps // pool, n_maps)
            z = _elu(_convolve(z, depthwise) @ tensors["pointwise.weight"].T + tensors["pointwise.bias"])
            return np.asarray(tensors["dense.weight"] @ z.mean(axis=0) + tensors["dense.bias"])  # (n_classes,)

        return logits

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:  # noqa: ARG002
        """Refuse: most of the work follows the last sample."""
        raise RecomputeError("its convolutions read later samples of the window")

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count both stages."""
        n_maps, n_pooled = self.n_maps, max(1, n_steps // self.pool)
        first = n_steps * n_maps * (n_inputs + self.kernel + 2)
        second = n_pooled * n_maps * (self.separable_kernel + n_maps + 2)
        return first + second + n_maps * n_classes

    def describe(self, *, n_classes: int) -> str:
        """Describe the filters of both stages."""
        return f"EEGNet-{self.temporal},{self.spatial} -> {n_classes}"


def _elu(z: NDArray[Any]) -> NDArray[Any]:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def _convolve(z: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Convolve each map of (n_steps, n_maps) with its kernel (n_maps, kernel), zero-padded to keep the length."""
    kernel = weight.shape[1]
    padded = np.pad(z, (((kernel - 1) // 2, kernel // 2), (0, 0)))
    spans = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=0)  # (n_steps, n_maps, kernel)
    return np.asarray(np.einsum("tmk,mk->tm", spans, weight))  # (n_steps, n_maps)


def _pooled(z: NDArray[Any], pool: int) -> NDArray[Any]:
    """Average blocks of `pool` steps of (n_steps, n_maps); an incomplete block at the end is dropped."""
    pool = min(pool, len(z))
    n_blocks = len(z) // pool
    return np.asarray(z[: n_blocks * pool].reshape(n_blocks, pool, -1).mean(axis=1))
