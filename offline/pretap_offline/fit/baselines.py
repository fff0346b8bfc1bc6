"""Classical decoders as scikit-learn pipelines on scaled windows, and their tensors. Used by `estimator`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from pretap.errors import UsageError
from pretap.extras import import_extra
from pretap.networks import CspSpec, LdaSpec, TangentSpaceSpec
from pretap.networks.bandpass import BANDPASS, bandpassed, toeplitz
from pretap.networks.covariance import oas_covariance
from pretap.networks.csp import log_power
from pretap_offline.fit.bandpass import bandpass_impulse


def make_lda(spec: LdaSpec) -> Pipeline:
    """Build shrinkage LDA on all steps and channels."""
    return Pipeline([("flatten", FunctionTransformer(_flat)), ("linear", _lda(spec.shrinkage))])


def make_csp(spec: CspSpec, *, sfreq_hz: float, n_steps: int, n_channels: int) -> Pipeline:
    """Build band-pass, common spatial patterns and LDA."""
    if spec.filters > n_channels:
        raise UsageError(f"network.filters = {spec.filters}: expected at most the {n_channels} channels.")
    band = _band(spec, sfreq_hz=sfreq_hz, n_steps=n_steps)
    patterns = _Patterns(n_filters=spec.filters, regularisation=spec.regularisation)
    return Pipeline([("band", band), ("csp", patterns), ("linear", _lda(None))])


def make_tangent_space(spec: TangentSpaceSpec, *, sfreq_hz: float, n_steps: int) -> Pipeline:
    """Build band-pass, shrunk covariance, tangent space at the Riemannian mean and logistic regression."""
    pyriemann = import_extra("pyriemann.tangentspace", needed_by="The kind 'tangent-space'", extra="lab")
    return Pipeline(
        [
            ("band", _band(spec, sfreq_hz=sfreq_hz, n_steps=n_steps)),
            ("covariance", FunctionTransformer(_covariances)),
            ("tangent", pyriemann.TangentSpace(metric="riemann")),
            ("linear", LogisticRegression(C=spec.c, max_iter=10_000)),
        ]
    )


def export_baseline(fitted: Pipeline) -> dict[str, NDArray[np.float64]]:
    """Return the tensors of a fitted pipeline under the names used in a bundle."""
    steps = fitted.named_steps
    tensors = linear_map(steps["linear"])
    if "band" in steps:
        tensors[BANDPASS] = steps["band"].kw_args["matrix"][:, 0]
    if "csp" in steps:
        tensors["csp.filters"] = steps["csp"].filters_
    if "tangent" in steps:
        values, vectors = np.linalg.eigh(steps["tangent"].reference_)
        tensors["tangent.whitening"] = (vectors / np.sqrt(values)) @ vectors.T  # inverse square root of the mean
    return tensors


def linear_map(model: Any) -> dict[str, NDArray[np.float64]]:
    """Convert a linear scikit-learn classifier to a dense layer; with two classes, each gets half the score."""
    weight, bias = model.coef_, model.intercept_  # (1 or n_classes, n_features), (1 or n_classes,)
    if len(bias) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return {"dense.weight": np.asarray(weight, np.float64), "dense.bias": np.asarray(bias, np.float64)}


class _Patterns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Common spatial patterns fitted by MNE, and the log power of each."""

    def __init__(self, n_filters: int, regularisation: float) -> None:
        self.n_filters, self.regularisation = n_filters, regularisation

    def fit(self, X: NDArray[Any], y: Any) -> _Patterns:  # noqa: N803
        import mne

        with mne.utils.use_log_level("ERROR"):
            csp = mne.decoding.CSP(n_components=self.n_filters, reg=self.regularisation or None)
            csp.fit(np.ascontiguousarray(X.transpose(0, 2, 1)), y)  # (n_epochs, n_channels, n_steps), as MNE expects
        self.filters_ = csp.filters_[: self.n_filters]  # (n_filters, n_channels)
        return self

    def transform(self, X: NDArray[Any]) -> NDArray[np.float64]:  # noqa: N803
        return log_power(X, self.filters_)  # (n_epochs, n_filters)


def _band(spec: CspSpec | TangentSpaceSpec, *, sfreq_hz: float, n_steps: int) -> FunctionTransformer:
    impulse = bandpass_impulse(spec.band_hz, order=spec.order, sfreq_hz=sfreq_hz, n_steps=n_steps)
    return FunctionTransformer(bandpassed, kw_args={"matrix": toeplitz(impulse)})


def _lda(shrinkage: float | str | None) -> LinearDiscriminantAnalysis:
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)


def _flat(x: NDArray[Any]) -> NDArray[Any]:
    return x.reshape(len(x), -1)  # (n_epochs, n_steps * n_channels)


def _covariances(x: NDArray[Any]) -> NDArray[np.float64]:
    return np.stack([oas_covariance(window) for window in x])  # (n_epochs, n_channels, n_channels)
