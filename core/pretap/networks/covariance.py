"""Covariance matrices and their logarithms. Used by the kinds `closed-form` and `tangent-space`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def n_triangle(n_inputs: int) -> int:
    """Count the entries of a symmetric matrix on and above its diagonal."""
    return n_inputs * (n_inputs + 1) // 2


def oas_covariance(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the covariance (n_inputs, n_inputs) of a window (n_steps, n_inputs), shrunk towards its mean variance.

    The amount of shrinkage follows from the data: the oracle approximating shrinkage of Chen et al. (IEEE Trans. Signal
    Processing 58, 2010), as in scikit-learn.
    """
    n, p = x.shape
    x = x - x.mean(axis=0)
    covariance = x.T @ x / n  # (n_inputs, n_inputs)
    mean_variance = np.trace(covariance) / p
    power, squared = np.mean(covariance**2), mean_variance**2
    denominator = (n + 1) * (power - squared / p)
    share = 1.0 if denominator == 0 else min((power + squared) / denominator, 1.0)
    return np.asarray((1 - share) * covariance + share * mean_variance * np.eye(p))


def power(covariance: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Compute a power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, 1e-300) ** exponent) @ vectors.T)


def tangent(covariance: NDArray[np.float64], whitening: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the logarithm of the whitened covariance as a vector (n_triangle,).

    Off-diagonal entries appear twice in the matrix, so they are multiplied by sqrt(2) to keep its norm (Barachant et
    al., IEEE Trans. Biomed. Eng. 59, 2012).
    """
    values, vectors = np.linalg.eigh(whitening @ covariance @ whitening.T)
    logarithm = (vectors * np.log(np.maximum(values, 1e-300))) @ vectors.T  # (n_inputs, n_inputs)
    rows, columns = np.triu_indices(len(logarithm))
    return np.asarray(logarithm[rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0)))
