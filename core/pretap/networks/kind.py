"""Types and softmax that all kinds of networks share. Used by bundles and the decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pretap.networks.recentring import Memory, RunningMean

Tensors = Mapping[str, NDArray[Any]]
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""The dtype of each tensor, as safetensors names it (``F32``, ``F64``), and its shape."""
Engine = Callable[[NDArray[np.float64]], NDArray[Any]]
"""Maps one scaled window (n_steps, n_inputs) to logits (n_classes,)."""


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """The hyper-parameters of one kind of network; `pretap.networks` lists the methods of every kind."""

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can compute it: always ``numpy``, and ``torch`` if torch trains it."""
        return ("numpy",)

    @property
    def forward_only(self) -> bool:
        """Whether its state can be advanced sample by sample from the window's start."""
        return True

    @property
    def removes_offsets(self) -> bool:
        """Whether a constant offset of an input does not change the logits."""
        return False

    def adaptive(self, tensors: Tensors, memory: Memory) -> AdaptiveEngine | None:  # noqa: ARG002
        """Return an engine that follows the signal, at its initial state; None if this kind has none.

        A kind that is made of parts returns an engine with the means of all of them.
        """
        return None


class AdaptiveEngine(Protocol):
    """An engine with a state that windows move, such as `pretap.networks.recentring.Recentred`.

    Attributes
    ----------
    means
        The state, which the caller moves.
    """

    means: Sequence[RunningMean]

    def logits(self, x: NDArray[np.float64]) -> NDArray[Any]:
        """Compute the logits (n_classes,) of a scaled window (n_steps, n_inputs) with the present state."""
        ...

    def covariances(self, x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Compute of a scaled window (n_steps, n_inputs) the covariance that moves each of the means."""
        ...


class RecomputeError(Exception):
    """A network cannot be advanced step by step, so every window must be recomputed; the message says why.

    Not a `PretapError`: the decoder catches it.
    """


class Cells(Protocol):
    """The state of one network in many lanes. Each lane is at its own step of its own window."""

    def advance(self, lanes: NDArray[np.intp], t: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        """Advance each of `lanes` (n,) by its step `t` (n,) with the scaled inputs `x` (n, n_inputs).

        Step 0 starts a new window in its lane.
        """
        ...

    def logits(self, lane: int) -> NDArray[Any]:
        """Return the logits (n_classes,) of a lane after its last step."""
        ...


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Compute probabilities from logits (..., n_classes), in float64."""
    z = np.asarray(logits, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def member_prefixes(n_members: int) -> list[str]:
    """Return the prefix of each member's tensors; the tensors of a single network have none."""
    return [f"members.{i}." for i in range(n_members)] if n_members > 1 else [""]


def under(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose names start with `prefix`, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def mean_of(n_members: int, description: str) -> str:
    """Describe the mean of `n_members` networks of the same description."""
    return description if n_members == 1 else f"mean of {n_members}: {description}"
