"""Types and softmax that all kinds of networks share. Used by bundles and the decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

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
    """The hyper-parameters of one kind of network; `pretap.networks` lists the methods of every kind.

    Attributes
    ----------
    engines
        The engines that can compute it: always ``numpy``, and ``torch`` if torch trains it.
    forward_only
        Whether its state can be advanced sample by sample from the window's start.
    removes_offsets
        Whether a constant offset of an input does not change the logits.
    """

    engines: ClassVar[tuple[str, ...]] = ("numpy",)
    forward_only: ClassVar[bool] = True
    removes_offsets: ClassVar[bool] = False

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
