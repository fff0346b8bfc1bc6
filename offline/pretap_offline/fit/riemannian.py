"""The Riemannian mean of covariances. Used to fit, to pool recordings, and to re-centre a whole session."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pretap.networks.covariance import power

_MAX_STEPS = 50
_TOLERANCE = 1e-9  # of the mean logarithm


def riemannian_mean(covariances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the Riemannian mean (n, n) of covariances (n_epochs, n, n).

    Fixed-point iteration of Moakher (SIAM J. Matrix Anal. Appl. 26, 2005): in the tangent space at the mean, the
    logarithms of the covariances sum to zero.
    """
    mean = np.asarray(covariances.mean(axis=0))
    for _ in range(_MAX_STEPS):
        root, inverse = power(mean, 0.5), power(mean, -0.5)
        values, vectors = np.linalg.eigh(inverse @ covariances @ inverse)  # (n_epochs, n), (n_epochs, n, n)
        logarithm = ((vectors * np.log(values)[:, None]) @ vectors.swapaxes(1, 2)).mean(axis=0)  # (n, n)
        values, vectors = np.linalg.eigh(logarithm)
        mean = root @ (vectors * np.exp(values)) @ vectors.T @ root
        mean = (mean + mean.T) / 2
        if np.linalg.norm(logarithm) <= _TOLERANCE * np.sqrt(len(mean)):
            break
    return mean
