"""Two views of a window in closed form: the log-covariance of a band, and the slow potential's means."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.bandpass import BANDPASS, BandHz, Order, bandpass_macs, bandpass_refusal, bandpassed, toeplitz
from pretap.networks.covariance import n_triangle, oas_covariance, tangent
from pretap.networks.dense import dense, dense_layout
from pretap.networks.kind import Cells, Engine, Layout, RecomputeError, Tensors

__all__ = ["ClosedFormSpec", "window_means"]


class ClosedFormSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="closed-form", tag_field="kind"):
    """Ridge regression on the log-covariance (ERD), LDA on window means (LRP), and a weighing of the two scores.

    All three maps are linear in the features, so a bundle holds their product: one dense layer.

    Attributes
    ----------
    band_hz, order
        The causal Butterworth band-pass of the covariance.
    ridge
        Penalties of the ridge regression to choose from, by generalised cross-validation on the training trials.
    means
        Means of equal stretches that the window is cut into for the LDA.
    shrinkage
        Of the LDA, see `LdaSpec`.
    """

    engines: ClassVar[tuple[str, ...]] = ("numpy",)
    forward_only: ClassVar[bool] = True
    removes_offsets: ClassVar[bool] = False

    band_hz: BandHz = (12.0, 35.0)
    order: Order = 2
    ridge: Annotated[tuple[Annotated[float, Meta(gt=0, le=1e12)], ...], Meta(min_length=1, max_length=64)] = (
        30.0,
        100.0,
        300.0,
        1000.0,
        3000.0,
    )
    means: Annotated[int, Meta(ge=1, le=1000)] = 5
    shrinkage: Literal["auto"] | Annotated[float, Meta(ge=0, le=1)] = "auto"

    def refusal(self, *, n_steps: int, n_members: int) -> str:
        """Ask for a step in each mean, and bound the filter's matrices."""
        if self.means > n_steps:
            return f"network.means = {self.means}: expected at most the window's {n_steps} steps."
        return bandpass_refusal(n_steps=n_steps, n_members=n_members)

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Name the tensors: filter, linear map of both branches' features."""
        n_features = n_triangle(n_inputs) + self.means * n_inputs
        return {BANDPASS: ("F64", (n_steps,)), **dense_layout(n_features=n_features, n_classes=n_classes)}

    def engine(self, tensors: Tensors) -> Engine:
        """Prepare the filter's matrix."""
        matrix = toeplitz(tensors[BANDPASS])
        return dense(
            tensors, lambda x: np.concatenate([log_covariance(bandpassed(x, matrix)), window_means(x, self.means)])
        )

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:  # noqa: ARG002
        """Refuse: its work comes after the last sample."""
        raise RecomputeError("the logarithm of its covariance is taken when the window is whole")

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count the band-pass, the covariance, some 10 products of that size for the logarithm, and the map."""
        covariance = n_steps * n_inputs**2 + 10 * n_inputs**3
        features = n_triangle(n_inputs) + self.means * n_inputs
        return bandpass_macs(n_steps=n_steps, n_inputs=n_inputs) + covariance + features * n_classes

    def words(self, *, n_classes: int) -> str:
        """Give the band and the means."""
        low, high = self.band_hz
        return f"log-covariance {low:g} to {high:g} Hz (ridge) and {self.means} means (LDA) -> {n_classes}"


def log_covariance(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the logarithm of a window's (n_steps, n_inputs) shrunk covariance as a vector (n_triangle,)."""
    return tangent(oas_covariance(x), np.eye(x.shape[1]))


def window_means(x: NDArray[np.float64], n_means: int) -> NDArray[np.float64]:
    """Cut windows (..., n_steps, n_inputs) into stretches, the last ending with it; means (..., n_means * n_inputs)."""
    n_each = x.shape[-2] // n_means
    x = x[..., x.shape[-2] - n_means * n_each :, :]
    means = x.reshape(*x.shape[:-2], n_means, n_each, x.shape[-1]).mean(axis=-2)  # (..., n_means, n_inputs)
    return np.asarray(means.reshape(*means.shape[:-2], -1))
