"""Averages of networks on the compiled engine: every network is decoded by itself, as fast as it can be.

What comes out of a decoder is probabilities. Their logarithms are the logits less a constant, and a constant does not
change a softmax, so the sum of the logarithms is all that an average needs. Used by `Decoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.decoder.compiled import CompiledLanes
from pretap.decoder.python import PythonLanes
from pretap.networks import AverageSpec, Tensors, softmax
from pretap.networks.kind import under
from pretap.signal.scaling import FIR

_SMALLEST = 1e-300  # probabilities below it count as this: more than a difference of 690 between logits


def networks_of(manifest: Manifest, network: AverageSpec, tensors: Tensors) -> list[tuple[Manifest, Tensors]]:
    """Return each network of an average as a decoder of its own; its weight is a part of its temperature."""
    shared = {FIR: tensors[FIR]} if FIR in tensors else {}
    return [
        (
            replace(
                manifest,
                network=each.network,
                n_members=each.members,
                temperature=manifest.temperature * each.temperature / each.weight,
            ),
            {**under(tensors, f"networks.{index}."), **shared},
        )
        for index, each in enumerate(network.networks)
    ]


def combined(probs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Combine the probabilities (n_classes,) of the networks that `networks_of` returns."""
    return softmax(np.sum([np.log(np.maximum(each, _SMALLEST)) for each in probs], axis=0))


class AverageLanes:
    """The lanes of several networks, advanced together; the interface is that of `PythonLanes`."""

    def __init__(self, networks: Sequence[CompiledLanes | PythonLanes | AverageLanes]) -> None:
        self._networks = networks

    @property
    def native(self) -> None:
        """None: C code cannot call these lanes."""
        return None

    def reset(self) -> None:
        """Close all windows."""
        for each in self._networks:
            each.reset()

    def process(self, x_uv: NDArray[np.float32]) -> tuple[list[int], NDArray[np.float64]]:
        """Return where the windows that samples (n_new, n_channels) fill end, and their probabilities.

        Raises
        ------
        FloatingPointError
            If a value is not finite; then no sample was processed.
        """
        ends, probs = zip(*(each.process(x_uv) for each in self._networks), strict=True)
        decisions = [combined(of_window) for of_window in zip(*probs, strict=True)]
        return ends[0], np.array(decisions).reshape(probs[0].shape)  # (n_ends, n_classes)

    def catch_up(self) -> None:
        """Advance the windows that `process` left for later."""
        for each in self._networks:
            each.catch_up()
