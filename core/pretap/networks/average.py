"""A weighted average of the logits of networks of different kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pretap.networks.closed_form import ClosedFormSpec
from pretap.networks.csp import CspSpec
from pretap.networks.eegnet import EegNetSpec
from pretap.networks.kind import (
    AdaptiveEngine,
    Cells,
    Engine,
    Kind,
    Layout,
    RecomputeError,
    Tensors,
    mean_of,
    member_prefixes,
    under,
)
from pretap.networks.lda import LdaSpec
from pretap.networks.lrp_erd_lstm import LrpErdLstmSpec
from pretap.networks.lstm import LstmSpec
from pretap.networks.tangent_space import TangentSpaceSpec

if TYPE_CHECKING:
    from pretap.networks.recentring import Memory, RunningMean

SingleNetwork = LstmSpec | LrpErdLstmSpec | EegNetSpec | LdaSpec | CspSpec | TangentSpaceSpec | ClosedFormSpec
"""Any kind of network except an average."""
_SUM_TOLERANCE = 1e-6  # so that thirds can be written with seven digits


class WeightedNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One network of an average.

    Attributes
    ----------
    weight
        Its share of the average.
    members
        How many networks of this kind were fitted, each from its own seed. Their logits are averaged first.
    temperature
        Divides its logits before they are weighted, because logits of different kinds differ in scale.
    """

    network: SingleNetwork
    weight: Annotated[float, Meta(gt=0, lt=1)]
    members: Annotated[int, Meta(ge=1, le=64)] = 1
    temperature: Annotated[float, Meta(ge=1e-3, le=1e3)] = 1.0

    def tensor_prefixes(self, index: int) -> list[str]:
        """Return the prefix of each member's tensors, if this is network `index` of its average."""
        return [f"networks.{index}.{prefix}" for prefix in member_prefixes(self.members)]

    def describe(self, *, n_classes: int) -> str:
        """Describe the network with its weight and temperature."""
        divided = "" if self.temperature == 1.0 else f" / {self.temperature:.3g}"
        return f"{self.weight:.3g} x ({mean_of(self.members, self.network.describe(n_classes=n_classes))}){divided}"


class AverageSpec(Kind, frozen=True, tag="average"):
    """Several networks that read the same scaled window: ``sum(weight * logits / temperature)``.

    The tensors of network i are those of its kind under the prefix ``networks.{i}.``.

    Attributes
    ----------
    networks
        The networks with their weights, whose sum is 1.
    """

    networks: Annotated[tuple[WeightedNetwork, ...], Meta(min_length=2, max_length=8)]

    def __post_init__(self) -> None:
        total = sum(each.weight for each in self.networks)
        if not math.isclose(total, 1.0, abs_tol=_SUM_TOLERANCE):
            raise ValueError(f"the weights of the networks must sum to 1, found {total:.7g}")

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can compute every network."""
        return tuple(name for name in ("numpy", "torch") if all(name in each.network.engines for each in self.networks))

    @property
    def forward_only(self) -> bool:
        """Whether every network can be advanced sample by sample."""
        return all(each.network.forward_only for each in self.networks)

    @property
    def removes_offsets(self) -> bool:
        """Whether a constant offset of an input changes the logits of no network."""
        return all(each.network.removes_offsets for each in self.networks)

    def refusal(self, *, n_steps: int, n_members: int) -> str:
        """Pass on what a network refuses, as if all members of the average were of its kind."""
        if n_members > 1:
            return f"An average in {n_members} members: expected 1, because each of its networks has its own members."
        n_all = sum(each.members for each in self.networks)
        for index, each in enumerate(self.networks):
            refused = each.network.refusal(n_steps=n_steps, n_members=n_all)
            if refused:
                return f"networks[{index}]: {refused}"
        return ""

    def tensors(self, *, n_steps: int, n_inputs: int, n_classes: int) -> Layout:
        """Return the layouts of all members of all networks, each under its prefix."""
        return {
            prefix + name: entry
            for index, each in enumerate(self.networks)
            for name, entry in each.network.tensors(n_steps=n_steps, n_inputs=n_inputs, n_classes=n_classes).items()
            for prefix in each.tensor_prefixes(index)
        }

    def engine(self, tensors: Tensors) -> Engine:
        """Build every network in numpy."""
        return self.combined(tensors, lambda network, own: network.engine(own))

    def combined(self, tensors: Tensors, build: Callable[[SingleNetwork, Tensors], Engine]) -> Engine:
        """Build every member with `build`, and combine their logits."""
        engines = [[build(each.network, own) for own in members] for each, members in _with_members(self, tensors)]
        return lambda x: self._logits([[engine(x) for engine in members] for members in engines])

    def adaptive(self, tensors: Tensors, memory: Memory) -> AdaptiveEngine | None:
        """Build the networks that can follow the signal as they do alone, and the others as they are."""
        adaptive: list[AdaptiveEngine] = []

        def build(network: SingleNetwork, own: Tensors) -> Engine:
            engine = network.adaptive(own, memory)
            if engine is None:
                return network.engine(own)
            adaptive.append(engine)
            return engine.logits

        logits = self.combined(tensors, build)
        return _AdaptiveAverage(adaptive, logits) if adaptive else None

    def cells(self, tensors: Tensors, *, n_steps: int, n_lanes: int, sfreq_hz: float) -> Cells:
        """Build the cells of every member; refuse if one network refuses."""
        cells = []
        for each, members in _with_members(self, tensors):
            size: dict[str, Any] = {"n_steps": n_steps, "n_lanes": n_lanes, "sfreq_hz": sfreq_hz}
            with naming(each.network):
                cells.append([each.network.cells(own, **size) for own in members])
        return _AverageCells(cells, self._logits)

    def multiply_adds(self, *, n_steps: int, n_inputs: int, n_classes: int) -> int:
        """Count all members of all networks, and the weights."""
        size = {"n_steps": n_steps, "n_inputs": n_inputs, "n_classes": n_classes}
        return sum(each.members * each.network.multiply_adds(**size) + n_classes for each in self.networks)

    def describe(self, *, n_classes: int) -> str:
        """Describe every network with its weight."""
        return " + ".join(each.describe(n_classes=n_classes) for each in self.networks)

    def _logits(self, logits: Sequence[Sequence[NDArray[Any]]]) -> NDArray[np.float64]:
        """Combine the logits (n_classes,) of each member of each network, in float64."""
        weighted = [
            each.weight / each.temperature * np.mean(members, axis=0, dtype=np.float64)
            for each, members in zip(self.networks, logits, strict=True)
        ]
        return np.asarray(np.sum(weighted, axis=0))


@contextmanager
def naming(network: Kind) -> Iterator[None]:
    """Name the network of an average in a `RecomputeError` of the block."""
    try:
        yield
    except RecomputeError as reason:
        kind = network.__struct_config__.tag
        raise RecomputeError(f"because of its network of kind {kind!r}: {reason}") from None


def _with_members(spec: AverageSpec, tensors: Tensors) -> list[tuple[WeightedNetwork, list[Tensors]]]:
    """Return each network with the tensors of each of its members."""
    return [
        (each, [under(tensors, prefix) for prefix in each.tensor_prefixes(index)])
        for index, each in enumerate(spec.networks)
    ]


class _AdaptiveAverage:
    """The adaptive engine of an average, see `AdaptiveEngine`: its state is that of all its adaptive networks."""

    def __init__(self, engines: Sequence[AdaptiveEngine], logits: Engine) -> None:
        self.means: Sequence[RunningMean] = [mean for engine in engines for mean in engine.means]
        self._engines, self.logits = engines, logits

    def covariances(self, x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [covariance for engine in self._engines for covariance in engine.covariances(x)]


class _AverageCells:
    """The cells of all members, advanced together."""

    def __init__(
        self, cells: list[list[Cells]], combine: Callable[[Sequence[Sequence[NDArray[Any]]]], NDArray[np.float64]]
    ) -> None:
        self._cells, self._combine = cells, combine

    def advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        for members in self._cells:
            for each in members:
                each.advance(lanes, t, x)

    def logits(self, lane: int) -> NDArray[np.float64]:
        return self._combine([[each.logits(lane) for each in members] for members in self._cells])
