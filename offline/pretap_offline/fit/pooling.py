"""Pooling: fits a decoder on few own trials and on those of other sessions or heads. Used by `fitting`.

Each session is moved so that its own mean covariance is the identity, without labels (Zanini et al., IEEE Trans.
Biomed. Eng. 65, 2018). The decoder keeps the mean of the own trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from pretap.errors import UsageError
from pretap.networks import Network, TangentSpaceSpec
from pretap.networks.covariance import power
from pretap.recordings.epochs import Epochs
from pretap_offline.fit.riemannian import riemannian_mean


def check_pooling(network: Network) -> None:
    """Refuse a kind of network that cannot be fitted with the trials of others."""
    if not isinstance(network, TangentSpaceSpec):
        raise UsageError(
            f"--with: a network of kind {network.__struct_config__.tag!r} cannot be fitted with the trials of others. "
            "Use a recipe of kind 'tangent-space', or leave out --with."
        )


def fit_pooled(estimator: Pipeline, own: Epochs, others: Sequence[Epochs]) -> None:
    """Fit the estimator of a tangent space, see `make_estimator`, on own trials and those of other sessions.

    The own trials together weigh as much as all others together: studies/heads/few_trials.py has the other weights that
    were tried.
    """
    assert own.labels is not None
    network = estimator.named_steps["network"]
    tangent = network.named_steps["tangent"]
    own_covariances = _covariances(estimator, own)
    features = [tangent.fit_transform(own_covariances)]  # (n_epochs, n_features)
    to_own = power(tangent.reference_, 0.5)
    for other in others:
        covariances = _covariances(estimator, other)
        moved = to_own @ power(riemannian_mean(covariances), -0.5)  # moves the mean of the other session to the own one
        features.append(tangent.transform(moved @ covariances @ moved.T))
    labels = np.concatenate([own.labels, *(each.labels for each in others if each.labels is not None)])
    n_others = len(labels) - len(own)
    weights = np.concatenate([np.full(len(own), n_others / len(own)), np.ones(n_others)])
    network.named_steps["linear"].fit(np.concatenate(features), labels, sample_weight=weights)


def _covariances(estimator: Pipeline, epochs: Epochs) -> NDArray[np.float64]:
    """Return the covariances (n_epochs, n_channels, n_channels) from which the tangent space starts."""
    x: Any = estimator.named_steps["scaling"].transform(epochs.x_uv)
    network = estimator.named_steps["network"]
    return np.asarray(network.named_steps["covariance"].transform(network.named_steps["band"].transform(x)))
