"""Dropped electrodes: training windows with one electrode interpolated, as the live service masks a bad one.

Used by `fitting` and `neural`. A decoder that saw such windows loses less when an electrode fails.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pretap.signal.interpolation import can_interpolate


def with_dropped(
    x_uv: NDArray[np.float32], weights: NDArray[np.float64] | None, *, share: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Append copies of trials (n_epochs, n_samples, n_channels) in which one electrode, drawn at random, is dropped.

    Returns
    -------
    The trials and as many copies that `share` of all are copies, and for each the number of the trial that it shows,
    (n_shown,). There are no copies if no electrode can be interpolated.
    """
    droppable, n = _droppable(weights), len(x_uv)
    if weights is None or not droppable:
        return x_uv, np.arange(n)
    rng, n_copies = np.random.default_rng(seed), round(n * share / (1 - share))
    trials = np.concatenate([rng.permutation(n) for _ in range(-(-n_copies // n))])[:n_copies].astype(np.intp)
    copies = x_uv[trials]
    for copy, k in zip(copies, rng.choice(droppable, n_copies), strict=True):
        copy[:, k] = copy @ weights[k]
    return np.concatenate([x_uv, copies]), np.concatenate([np.arange(n), trials])


def dropping_maps(weights: NDArray[np.float64] | None, *, reference: Literal["none", "average"]) -> NDArray[np.float64]:
    """Compute the matrix that drops an electrode from scaled windows, for each one that can be dropped.

    ``x @ matrix.T`` has the same result as dropping the electrode before the scaling, which is linear. The weights that
    predict an electrode sum to 1, so an average reference that was subtracted before makes no difference.

    Returns
    -------
    (n_droppable, n_channels, n_channels)
    """
    droppable = _droppable(weights)
    if weights is None or not droppable:
        return np.empty((0, 0, 0))
    n = len(weights)
    maps = np.tile(np.eye(n), (len(droppable), 1, 1))
    maps[np.arange(len(droppable)), droppable] = weights[droppable]
    return maps - maps.mean(axis=1, keepdims=True) if reference == "average" else maps


def _droppable(weights: NDArray[np.float64] | None) -> list[int]:
    return [] if weights is None else [k for k in range(len(weights)) if can_interpolate(weights, k)]
