"""Pooling: fits a decoder on few own trials and on those of other sessions or heads. Used by `fitting`.

Each session is moved so that its own mean covariance is the identity, without labels (Zanini et al., IEEE Trans.
Biomed. Eng. 65, 2018). The decoder keeps the mean of the own trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.networks import Network, TangentSpaceSpec
from pretap.networks.covariance import power
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap_offline.fit.riemannian import riemannian_mean


def check_pooling(network: Network) -> None:
    """Refuse a kind of network that cannot be fitted with the trials of others."""
    if not isinstance(network, TangentSpaceSpec):
        raise UsageError(
            f"--with: a network of kind {network.__struct_config__.tag!r} cannot be fitted with the trials of others. "
            "Use a recipe of kind 'tangent-space', or leave out --with."
        )


def pooled_recipe(config: TrainConfig) -> TrainConfig:
    """Return the recipe of the first candidate that can be fitted with the trials of others, or `config` without any.

    Raises
    ------
    UsageError
        If no candidate can.
    """
    if not config.candidates:
        return config
    for each in config.candidates.values():
        if isinstance(each.network, TangentSpaceSpec):
            return structs.replace(config, network=each.network, fit=each.fit, candidates={})
    raise UsageError(
        f"--with: none of the candidates ({', '.join(config.candidates)}) can be fitted with the trials of others. Add "
        "one of kind 'tangent-space', or leave out --with."
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


def like_own(other: Epochs, own: Epochs) -> Epochs:
    """Return the trials of another session with the channels, classes and rate of the own ones.

    Raises
    ------
    DataError
        If it lacks a channel, labels or a class, or its windows have another length.
    """
    if other.labels is None or set(other.classes) != set(own.classes):
        raise DataError(
            f"{other.source}: expected labelled trials of the classes {', '.join(own.classes)}, found "
            f"{', '.join(other.classes) if other.labels is not None else 'no labels'}. Leave it out of --with."
        )
    order = np.array([own.classes.index(name) for name in other.classes], np.int64)
    other = replace(other, labels=order[other.labels], classes=own.classes).pick(own.channels)
    other = resample_epochs(other, sfreq_hz=own.sfreq_hz)
    if other.n_samples != own.n_samples:
        raise DataError(
            f"{other.source}: expected windows of {own.n_samples} samples at {own.sfreq_hz:g} Hz, as the own trials "
            f"have, found {other.n_samples}. Cut them alike."
        )
    return other
