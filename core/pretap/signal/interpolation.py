"""Replacing electrodes that are missing or flat by what their neighbours say.

A bundle carries one matrix, made through MNE at training time (`pretap_offline.trials.montage`): row k holds the weights with
which the other channels predict channel k by spherical splines (Perrin et al., Electroenceph. Clin. Neurophysiol. 72,
1989). Leave-one-out rows are enough for any set of channels: where several are missing, each row holds at once, with
the others' predictions on its right side. Solved for the missing ones, that is the spline through the remaining
channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTERPOLATION", "can_interpolate", "interpolating_matrix", "most_replaced"]

INTERPOLATION = "channels.interpolation"  # the tensor's name in a bundle


def can_interpolate(weights: NDArray[np.float64], channel: int) -> bool:
    """Say whether the matrix knows how to predict `channel`: without a known position its row is zero."""
    return bool(weights[channel].any())


def most_replaced(n_channels: int, share: float) -> int:
    """Say how many of the channels may be replaced, rounded down."""
    return int(share * n_channels + 1e-9)


def interpolating_matrix(weights: NDArray[np.float64], missing: Sequence[int]) -> NDArray[np.float64]:
    """Give the matrix (n_channels, n_channels) that replaces the `missing` channels and keeps the others.

    Parameters
    ----------
    weights
        (n_channels, n_channels), the tensor ``channels.interpolation``: row k predicts channel k, its diagonal is zero.
    missing
        Channels to replace; each must be one that `can_interpolate`.

    Returns
    -------
    ``x @ matrix.T`` turns samples (n, n_channels) into samples without holes; what stands in the missing channels of
    `x` does not matter.
    """
    n = len(weights)
    lost = np.array(sorted(missing), np.intp)
    kept = np.setdiff1d(np.arange(n), lost)
    matrix = np.eye(n)
    matrix[lost] = 0.0
    # x_lost = W_ll x_lost + W_lk x_kept
    coupled = np.eye(len(lost)) - weights[np.ix_(lost, lost)]
    matrix[np.ix_(lost, kept)] = np.linalg.solve(coupled, weights[np.ix_(lost, kept)])
    return matrix
