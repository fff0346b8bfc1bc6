"""Two branches, for the lateralised readiness potential and for desynchronised rhythms, into one LSTM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

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
from pretap.networks.kind import Cells, Engine, Layout, Tensors
from pretap.networks.lstm import LstmSpec


class LrpErdLstmSpec(BandpassKind, frozen=True, tag="lrp-erd-lstm"):
    """Two branches with their own spatial filters over equal blocks of time; an LSTM reads both.

    LRP: the mean of the block minus that of the first block, spatially filtered. ERD: the log power of each filter in
    the band and block. Both adapt to the amplitude of the training windows, so any `scaling.divide_uv` will do.

    Attributes
    ----------
    blocks
        The number of equal blocks, which are the steps of the LSTM. The last one ends with the window.
    lrp_filters, erd_filters
        The number of spatial filters of each branch; ``lrp_filters = 0`` leaves the LRP branch out.
    band_hz, order
        The band-pass of the ERD branch.
    start
        Where the training of the ERD filters starts: ``csp`` at the common spatial patterns of the training windows,
        ``random`` at random directions. CSP helps if trials are few.
    hidden
        Units of the LSTM.
    dropout
        Share of the inputs (the same ones in all blocks) and of the last hidden values set to 0 in training.
    """

    engines: ClassVar[tuple[str, ...]] = ("numpy", "torch")
    removes_offsets: ClassVar[bool] = True

    blocks: Annotated[int, Meta(ge=2, le=1000)] = 10
    lrp_filters: Annotated[int, Meta(ge=0, le=256)] = 8
    erd_filters: Annotated[int, Meta(ge=1, le=256)] = 8
    band_hz: BandHz = (14.0, 40.0)
    start: Literal["csp", "random"] = "random"
    hidden: Annotated[int, Meta(ge=1, le=1024)] = 16
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.3

    @property
    def lstm(self) -> LstmSpec:
        """The LSTM that reads the branches, with its dense layer."""
        return LstmSpec(hidden=(self.hidden,))

    def refusal(self, *, n_steps: int, n_members: int) -> str:
        """Require a step in each block, and limit the matrices of the filter."""
        if self.blocks > n_steps:
            return f"network.blocks = {self.blocks}: expected at most the {n_steps} steps of the scaled window."
        return super().refusal(n_steps=n_steps, n_members=n_members)

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Return the layout: the band-pass, the spatial filters and the LSTM."""
        n_features = self.lrp_filters + self.erd_filters
        return {
            BANDPASS: ("F64", (n_steps,)),
            "lrp.filters": ("F32", (self.lrp_filters, n_inputs)),
            "erd.filters": ("F32", (self.erd_filters, n_inputs)),
            **self.lstm.tensors(n_steps=self.blocks, n_inputs=n_features, n_classes=n_classes),
        }

    def engine(self, tensors: Tensors) -> Engine:
        """Build the matrix of the band-pass and the LSTM."""
        matrix, lstm = toeplitz(tensors[BANDPASS]), self.lstm.engine(tensors)
        lrp, erd = tensors["lrp.filters"].T, tensors["erd.filters"].T  # (n_inputs, n_filters)

        def logits(x: NDArray[np.float64]) -> NDArray[Any]:
            slow = blocked(x, self.blocks).mean(axis=1)  # (blocks, n_inputs)
            slow = (slow - slow[0]).astype(lrp.dtype) @ lrp  # (blocks, lrp_filters)
            fast = bandpassed(x, matrix).astype(erd.dtype) @ erd  # (n_steps, erd_filters)
            power = blocked(fast * fast, self.blocks).mean(axis=1)  # (blocks, erd_filters)
            return lstm(np.concatenate([slow, np.log(power + FLOOR)], axis=1))

        return logits

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:
        """Build the band-pass, the block sums and the LSTM states of each lane."""
        sections = second_order_sections(tensors[BANDPASS], self.band_hz, order=self.order, sfreq_hz=sfreq_hz)
        lstm = self.lstm.cells(tensors, n_steps=self.blocks, n_lanes=n_lanes, sfreq_hz=sfreq_hz)
        return _LrpErdCells(self, tensors, sections, lstm, n_steps=n_steps, n_lanes=n_lanes)

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count the band-pass, the spatial filters, the squares and the LSTM."""
        filters = self.blocks * self.lrp_filters * n_inputs + n_steps * self.erd_filters * (n_inputs + 1)
        n_features = self.lrp_filters + self.erd_filters
        lstm = self.lstm.multiply_adds(n_steps=self.blocks, n_inputs=n_features, n_classes=n_classes)
        return bandpass_macs(n_steps=n_steps, n_inputs=n_inputs) + filters + lstm

    def describe(self, *, n_classes: int) -> str:
        """Describe the branches and the LSTM."""
        low, high = self.band_hz
        lrp = f"LRP ({self.lrp_filters} filters) and " if self.lrp_filters else ""
        return (
            f"{lrp}ERD {low:g} to {high:g} Hz ({self.erd_filters} filters) over {self.blocks} blocks -> "
            f"LSTM {self.hidden} -> {n_classes}"
        )


FLOOR = 0.1  # added to each power before the logarithm; the filters start with a mean power of 1


def blocked(x: NDArray[Any], n_blocks: int) -> NDArray[Any]:
    """Cut a window (n_steps, n) into equal blocks (n_blocks, n_each, n); the last one ends with the window."""
    n_each = len(x) // n_blocks
    return x[len(x) - n_blocks * n_each :].reshape(n_blocks, n_each, x.shape[1])


@dataclass(frozen=True, eq=False)
class _BranchState:
    """The state of both branches in many lanes."""

    first: NDArray[np.float64]  # (n_lanes, n_inputs), the window's first step
    slow: NDArray[np.float64]  # (n_lanes, n_inputs), sum over the block
    slow_first: NDArray[np.float64]  # (n_lanes, n_inputs), mean of the first block
    power: NDArray[np.float64]  # (n_lanes, n_filters), sum of squares over the block


class _LrpErdCells:
    """Both branches and the LSTM in many lanes."""

    def __init__(
        self,
        spec: LrpErdLstmSpec,
        tensors: Tensors,
        sections: NDArray[np.float64],
        lstm: Cells,
        *,
        n_steps: int,
        n_lanes: int,
    ) -> None:
        self._lstm = lstm
        self._lrp, self._erd = tensors["lrp.filters"].T, tensors["erd.filters"].T  # (n_inputs, n_filters)
        self._n_each = n_steps // spec.blocks
        self._n_lead = n_steps - spec.blocks * self._n_each  # steps before the first block
        n_inputs, n_erd = self._erd.shape
        self._bandpass = RunningBandpass(sections, n_lanes=n_lanes, n_inputs=n_erd)
        self._state = _BranchState(*(np.zeros((n_lanes, n)) for n in (n_inputs, n_inputs, n_inputs, n_erd)))

    def advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        state, (block, position) = self._state, np.divmod(t - self._n_lead, self._n_each)
        state.first[lanes[t == 0]] = x[t == 0]
        self._bandpass.reset(lanes[t == 0])
        at_start = lanes[position == 0]
        state.slow[at_start] = 0.0
        state.power[at_start] = 0.0
        state.slow[lanes] += x
        # Filters in time and in space commute, and there are fewer spatial filters than inputs.
        fast = self._bandpass.step(lanes, (x - state.first[lanes]) @ self._erd)  # (n, erd_filters)
        state.power[lanes] += fast * fast
        ends = (position == self._n_each - 1) & (block >= 0)
        if ends.any():
            self._end_block(lanes[ends], block[ends])

    def _end_block(self, lanes: NDArray[np.intp], block: NDArray[np.int64]) -> None:
        state = self._state
        mean = state.slow[lanes] / self._n_each  # (n, n_inputs)
        is_first = block == 0
        state.slow_first[lanes[is_first]] = mean[is_first]
        slow = (mean - state.slow_first[lanes]).astype(self._lrp.dtype) @ self._lrp
        power = state.power[lanes] / self._n_each
        self._lstm.advance(lanes, block, np.concatenate([slow, np.log(power + FLOOR)], axis=1))

    def logits(self, lane: int) -> NDArray[Any]:
        return self._lstm.logits(lane)
