"""From raw microvolts to what a network reads. The only place where scaling happens, offline and live alike."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

__all__ = ["Scaling"]


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to a window, in this order. It is data: it travels inside the bundle.

    Attributes
    ----------
    reference
        ``average`` subtracts the mean over channels from each sample (common average reference).
    n_baseline
        The mean of the window's first `n_baseline` samples is subtracted from each channel; 0 leaves it.
    n_block
        Successive blocks of so many samples are replaced by their mean; 1 keeps every sample.
    divide_uv
        What is left is divided by this many microvolts.
    """

    reference: Literal["none", "average"] = "none"
    n_baseline: Annotated[int, Meta(ge=0)] = 0
    n_block: Annotated[int, Meta(ge=1)] = 1
    divide_uv: Annotated[float, Meta(gt=0, le=1e6)] = 200.0

    @property
    def removes_offsets(self) -> bool:
        """Whether a constant on an electrode changes nothing."""
        return self.n_baseline > 0

    def n_steps(self, n_window: int) -> int:
        """Time steps that a network sees of a window of `n_window` samples."""
        return n_window // self.n_block

    def apply(self, x_uv: NDArray[Any]) -> NDArray[np.float64]:
        """Scale windows (..., n_window, n_channels) in microvolts to (..., n_steps, n_channels), unitless.

        In float64: a baseline taken from a signal that rides on 100 mV of electrode offset loses 1e-3 uV in float32.
        """
        x = np.asarray(x_uv, np.float64)
        if self.reference == "average":
            x = x - x.mean(axis=-1, keepdims=True)
        if self.n_baseline:
            x = x - x[..., : self.n_baseline, :].mean(axis=-2, keepdims=True)
        if self.n_block > 1:
            n_steps = self.n_steps(x.shape[-2])
            x = x[..., x.shape[-2] - n_steps * self.n_block :, :]  # blocks end where the window ends
            x = x.reshape(*x.shape[:-2], n_steps, self.n_block, x.shape[-1]).mean(axis=-2)
        return x / self.divide_uv  # (..., n_steps, n_channels)
