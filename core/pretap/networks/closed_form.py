"""A closed-form classifier of two views of a window: the log-covariance of a band, and means of the slow potential."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.bandpass import BANDPASS, BandHz, BandpassKind, bandpass_macs, bandpassed, toeplitz
from pretap.networks.covariance import n_triangle, oas_covariance, tangent
from pretap.networks.dense import dense, dense_layout
from pretap.networks.kind import AdaptiveEngine, Cells, Engine, Layout, RecomputeError, Tensors
from pretap.networks.recentring import Memory, Recentred, RunningMean

MEAN = "covariance.mean"  # the tensor's name: the Riemannian mean of the training's covariances


class ClosedFormSpec(BandpassKind, frozen=True, tag="closed-form"):
    """Ridge regression on the log-covariance (ERD), LDA on window means (LRP), and a weighted sum of the two scores.

    All three maps are linear in the features, so a bundle has their product, one dense layer.

    Attributes
    ----------
    band_hz, order
        The band-pass of the covariance.
    ridge
        Candidate penalties of the ridge regression; generalised cross-validation on the training trials selects one.
    means
        The number of equal stretches of the window whose means the LDA uses.
    shrinkage
        Shrinkage of the LDA, see `LdaSpec`.
    """

    band_hz: BandHz = (12.0, 35.0)
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
        """Require a step for each mean, and limit the matrices of the filter."""
        if self.means > n_steps:
            return f"network.means = {self.means}: expected at most the window's {n_steps} steps."
        return super().refusal(n_steps=n_steps, n_members=n_members)

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Return the layout: the filter, the mean covariance of the training and the map of both sets of features."""
        n_features = n_triangle(n_inputs) + self.means * n_inputs
        return {
            BANDPASS: ("F64", (n_steps,)),
            MEAN: ("F64", (n_inputs, n_inputs)),
            **dense_layout(n_features=n_features, n_classes=n_classes),
        }

    def engine(self, tensors: Tensors) -> Engine:
        """Build the filter's matrix and the linear map."""
        matrix = toeplitz(tensors[BANDPASS])
        return dense(
            tensors, lambda x: np.concatenate([log_covariance(bandpassed(x, matrix)), window_means(x, self.means)])
        )

    def adaptive(self, tensors: Tensors, memory: Memory) -> AdaptiveEngine:
        """Build the engine that moves each covariance as the running mean must move to the mean of the training."""
        matrix = toeplitz(tensors[BANDPASS])
        mean = RunningMean(tensors[MEAN], memory)

        def covariance(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return oas_covariance(bandpassed(x, matrix))

        def features(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.concatenate([tangent(covariance(x), mean.transport), window_means(x, self.means)])

        return Recentred(mean, covariance, dense(tensors, features))

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:  # noqa: ARG002
        """Refuse: most of the work follows the last sample."""
        raise RecomputeError("the logarithm of its covariance needs the whole window")

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count the band-pass, the covariance, about 10 products of that size for the logarithm, and the linear map."""
        covariance = n_steps * n_inputs**2 + 10 * n_inputs**3
        features = n_triangle(n_inputs) + self.means * n_inputs
        return bandpass_macs(n_steps=n_steps, n_inputs=n_inputs) + covariance + features * n_classes

    def describe(self, *, n_classes: int) -> str:
        """Describe the band and the means."""
        low, high = self.band_hz
        return f"log-covariance {low:g} to {high:g} Hz (ridge) and {self.means} means (LDA) -> {n_classes}"


def log_covariance(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the logarithm of the shrunk covariance of a window (n_steps, n_inputs) as a vector (n_triangle,)."""
    return tangent(oas_covariance(x), np.eye(x.shape[1]))


def window_means(x: NDArray[np.float64], n_means: int) -> NDArray[np.float64]:
    """Compute the means (..., n_means * n_inputs) of equal stretches of windows (..., n_steps, n_inputs).

    The last stretch ends with the window.
    """
    n_each = x.shape[-2] // n_means
    x = x[..., x.shape[-2] - n_means * n_each :, :]
    means = x.reshape(*x.shape[:-2], n_means, n_each, x.shape[-1]).mean(axis=-2)  # (..., n_means, n_inputs)
    return np.asarray(means.reshape(*means.shape[:-2], -1))
