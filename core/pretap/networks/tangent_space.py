"""Riemannian tangent space: the covariance of a band in the tangent space at the mean of the training trials."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.bandpass import BANDPASS, BandHz, BandpassKind, bandpass_macs, bandpassed, toeplitz
from pretap.networks.covariance import n_triangle, oas_covariance, power, tangent
from pretap.networks.dense import dense, dense_layout
from pretap.networks.kind import AdaptiveEngine, Cells, Engine, Layout, RecomputeError, Tensors
from pretap.networks.recentring import Memory, Recentred, RunningMean


class TangentSpaceSpec(BandpassKind, frozen=True, tag="tangent-space"):
    """Band-pass, shrunk covariance, tangent space, logistic regression (Barachant et al., IEEE TBME 59, 2012).

    Attributes
    ----------
    c
        The inverse strength of the logistic regression's penalty.
    """

    removes_offsets: ClassVar[bool] = True

    band_hz: BandHz = (10.0, 33.0)
    c: Annotated[float, Meta(gt=0, le=1e6)] = 0.1

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Return the layout: the filter, the inverse square root of the mean and the linear map."""
        return {
            BANDPASS: ("F64", (n_steps,)),
            "tangent.whitening": ("F64", (n_inputs, n_inputs)),
            **dense_layout(n_features=n_triangle(n_inputs), n_classes=n_classes),
        }

    def engine(self, tensors: Tensors) -> Engine:
        """Build the filter's matrix and the linear map."""
        matrix, whitening = toeplitz(tensors[BANDPASS]), tensors["tangent.whitening"]
        return dense(tensors, lambda x: tangent(oas_covariance(bandpassed(x, matrix)), whitening))

    def adaptive(self, tensors: Tensors, memory: Memory) -> AdaptiveEngine:
        """Build the engine whose tangent space is at the running mean."""
        matrix = toeplitz(tensors[BANDPASS])
        mean = RunningMean(power(tensors["tangent.whitening"], -2), memory)

        def covariance(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return oas_covariance(bandpassed(x, matrix))

        return Recentred(mean, covariance, dense(tensors, lambda x: tangent(covariance(x), mean.whitening)))

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:  # noqa: ARG002
        """Refuse: most of the work follows the last sample."""
        raise RecomputeError("the logarithm of its covariance needs the whole window")

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count the band-pass, the covariance, about 12 products of that size for the logarithm, and the linear map."""
        covariance = n_steps * n_inputs**2 + 12 * n_inputs**3
        bandpass = bandpass_macs(n_steps=n_steps, n_inputs=n_inputs)
        return bandpass + covariance + n_triangle(n_inputs) * n_classes

    def describe(self, *, n_classes: int) -> str:
        """Describe the band and the classifier."""
        low, high = self.band_hz
        return f"Riemannian tangent space {low:g} to {high:g} Hz, logistic regression -> {n_classes}"
