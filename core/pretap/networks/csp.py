"""Common spatial patterns: the log power of a few spatial filters in one band."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.bandpass import (
    BANDPASS,
    BandHz,
    BandpassKind,
    RunningBandpass,
    bandpass_macs,
    bandpassed,
    second_order_sections,
    toeplitz,
)
from pretap.networks.dense import dense, dense_layout
from pretap.networks.kind import Cells, Engine, Layout, Tensors


class CspSpec(BandpassKind, frozen=True, tag="csp"):
    """Band-pass, common spatial patterns, log power, LDA (Blankertz et al., IEEE Signal Proc. Mag. 25, 2008).

    Attributes
    ----------
    filters
        The number of spatial filters.
    regularisation
        Share of the mean variance in the covariance of each class.
    """

    removes_offsets: ClassVar[bool] = True

    band_hz: BandHz = (14.0, 30.0)
    filters: Annotated[int, Meta(ge=1, le=64)] = 6
    regularisation: Annotated[float, Meta(ge=0, le=1)] = 0.1

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Return the layout: the band-pass, the spatial filters and the linear map."""
        return {
            BANDPASS: ("F64", (n_steps,)),
            "csp.filters": ("F64", (self.filters, n_inputs)),
            **dense_layout(n_features=self.filters, n_classes=n_classes),
        }

    def engine(self, tensors: Tensors) -> Engine:
        """Build the filter's matrix and the linear map."""
        matrix, filters = toeplitz(tensors[BANDPASS]), tensors["csp.filters"]
        return dense(tensors, lambda x: log_power(bandpassed(x, matrix), filters))

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:
        """Build the band-pass and the power of each lane."""
        sections = second_order_sections(tensors[BANDPASS], self.band_hz, order=self.order, sfreq_hz=sfreq_hz)
        return _CspCells(tensors, sections, n_steps=n_steps, n_lanes=n_lanes)

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count the band-pass, the spatial filters, the squares and the linear map."""
        per_step = self.filters * (n_inputs + 1)
        return bandpass_macs(n_steps=n_steps, n_inputs=n_inputs) + n_steps * per_step + self.filters * (n_classes + 1)

    def describe(self, *, n_classes: int) -> str:
        """Describe the band and the filters."""
        low, high = self.band_hz
        return f"CSP {low:g} to {high:g} Hz, {self.filters} filters, LDA -> {n_classes}"


def log_power(x: NDArray[np.float64], filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the log power (..., n_filters) of windows (..., n_steps, n_inputs) after each spatial filter."""
    power = np.mean((x @ filters.T) ** 2, axis=-2)  # (..., n_filters)
    return np.asarray(np.log(np.maximum(power, 1e-300)))


class _CspCells:
    """The filters and their power in many lanes."""

    def __init__(self, tensors: Tensors, sections: NDArray[np.float64], *, n_steps: int, n_lanes: int) -> None:
        self._filters = tensors["csp.filters"].T  # (n_inputs, n_filters)
        self._weight, self._bias, self._n_steps = tensors["dense.weight"], tensors["dense.bias"], n_steps
        n_inputs, n_filters = self._filters.shape
        self._bandpass = RunningBandpass(sections, n_lanes=n_lanes, n_inputs=n_filters)
        self._first = np.zeros((n_lanes, n_inputs))
        self._power = np.zeros((n_lanes, n_filters))

    def advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        starting = lanes[t == 0]
        self._first[starting] = x[t == 0]
        self._bandpass.reset(starting)
        self._power[starting] = 0.0
        fast = self._bandpass.step(lanes, (x - self._first[lanes]) @ self._filters)  # (n, n_filters)
        self._power[lanes] += fast * fast

    def logits(self, lane: int) -> NDArray[Any]:
        power = np.maximum(self._power[lane] / self._n_steps, 1e-300)
        return np.asarray(self._weight @ np.log(power) + self._bias)
