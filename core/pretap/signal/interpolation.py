"""Interpolates missing or flat channels from their neighbours. Used for trials and for live streams.

A bundle has one matrix, computed with MNE at training time (`pretap_offline.trials.montage`). Row k holds the weights
with which the other channels predict channel k by spherical splines (Perrin et al., Electroenceph. Clin. Neurophysiol.
72, 1989). These leave-one-out rows are enough for any set of channels. If several are missing, all their rows hold at
once, and each contains the predictions of the others. The solution of this linear system is the spline through the
remaining channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

INTERPOLATION = "channels.interpolation"  # the tensor's name in a bundle


def can_interpolate(weights: NDArray[np.float64], channel: int) -> bool:
    """Whether the matrix can predict `channel`: its row is zero if the position of the electrode is unknown."""
    return bool(weights[channel].any())


def max_interpolated(n_channels: int, share: float) -> int:
    """Return how many channels may be interpolated, rounded down."""
    return int(share * n_channels + 1e-9)


def interpolating_matrix(weights: NDArray[np.float64], missing: Sequence[int]) -> NDArray[np.float64]:
    """Compute the matrix (n_channels, n_channels) that interpolates the `missing` channels and keeps the others.

    Parameters
    ----------
    weights
        (n_channels, n_channels), the tensor ``channels.interpolation``: row k predicts channel k, the diagonal is zero.
    missing
        The channels to interpolate; `can_interpolate` must be true for each.

    Returns
    -------
    ``x @ matrix.T`` interpolates samples (n, n_channels). The values of the missing channels in `x` do not matter.
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
