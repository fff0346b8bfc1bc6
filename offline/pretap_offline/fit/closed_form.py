"""The kind `closed-form`: two linear scores of a window, combined by logistic regression. Used by `estimator`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pretap.errors import DataError
from pretap.networks import ClosedFormSpec
from pretap.networks.bandpass import BANDPASS, bandpassed, toeplitz
from pretap.networks.closed_form import MEAN, log_covariance, window_means
from pretap.networks.covariance import oas_covariance
from pretap_offline.fit.baselines import linear_map
from pretap_offline.fit.riemannian import riemannian_mean

_MAX_FOLDS = 10
_MIN_TRIALS = 3  # per class: LDA without a third of them still has more trials than classes


class ClosedFormClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """scikit-learn classifier of `ClosedFormSpec` for scaled windows (n_epochs, n_steps, n_channels).

    A logistic regression weights the two scores. It is fitted on scores of trials that were held out of the branches.
    """

    def __init__(self, spec: ClosedFormSpec, impulse: NDArray[np.float64], random_state: int = 0) -> None:
        self.spec, self.impulse, self.random_state = spec, impulse, random_state

    def fit(
        self,
        X: NDArray[Any],  # noqa: N803
        y: NDArray[np.int64],
        groups: NDArray[np.intp] | None = None,
    ) -> ClosedFormClassifier:
        """Fit both branches, and then their weights on cross-fitted scores of the same trials.

        Windows of one of the `groups` (n_epochs,) show the same trial, and are held out together.
        """
        self.classes_ = np.unique(y)
        shown = y if groups is None else y[np.unique(groups, return_index=True)[1]]  # (n_trials,)
        n_smallest = int(np.bincount(shown)[self.classes_].min())
        if n_smallest < _MIN_TRIALS:
            raise DataError(
                f"A network of kind 'closed-form' weights its scores on held-out trials: expected at least "
                f"{_MIN_TRIALS} trials of each class to fit on, got {n_smallest}. Record more trials, or fit on more "
                "of them with evaluation.learning_curve = false or more evaluation.folds."
            )
        self.mean_ = riemannian_mean(np.stack([oas_covariance(window) for window in self._filtered(X)]))
        features = self._features(X)
        n_folds = min(_MAX_FOLDS, n_smallest)
        splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
        folds = splitter(n_folds, shuffle=True, random_state=self.random_state)
        branches = [
            make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.array(self.spec.ridge))),
            make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=self.spec.shrinkage)),
        ]
        scores = [
            cross_val_predict(branch, x, y, cv=folds, groups=groups, method="decision_function").reshape(len(y), -1)
            for branch, x in zip(branches, features, strict=True)
        ]  # (n_epochs, 1 or n_classes) each
        self.branches_ = [branch.fit(x, y) for branch, x in zip(branches, features, strict=True)]
        self.weigher_ = LogisticRegression().fit(np.concatenate(scores, axis=1), y)
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:  # noqa: N803
        """Return the class probabilities (n_epochs, n_classes)."""
        scores = [
            branch.decision_function(x).reshape(len(x), -1)
            for branch, x in zip(self.branches_, self._features(X), strict=True)
        ]
        return np.asarray(self.weigher_.predict_proba(np.concatenate(scores, axis=1)))

    def export(self) -> list[dict[str, NDArray[np.float64]]]:
        """Return the tensors of a bundle: standardisation, branches and weights multiplied into one dense layer."""
        maps = [_multiplied(branch) for branch in self.branches_]
        weigher = linear_map(self.weigher_)
        split = np.split(weigher["dense.weight"], [len(maps[0][1])], axis=1)  # (n_classes, n_scores) each
        weight = np.concatenate([w @ m for w, (m, _) in zip(split, maps, strict=True)], axis=1)
        bias = weigher["dense.bias"] + sum(w @ b for w, (_, b) in zip(split, maps, strict=True))
        return [{BANDPASS: self.impulse, MEAN: self.mean_, "dense.weight": weight, "dense.bias": bias}]

    def _filtered(self, x: NDArray[Any]) -> NDArray[np.float64]:
        return bandpassed(x, toeplitz(self.impulse))  # (n_epochs, n_steps, n_channels)

    def _features(self, x: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        erd = np.stack([log_covariance(window) for window in self._filtered(x)])
        return erd, window_means(x, self.spec.means)


def _multiplied(branch: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a standardised linear score as weights (n_scores, n_features) and bias (n_scores,)."""
    scaler, model = branch[0], branch[-1]
    weight = np.atleast_2d(model.coef_) / scaler.scale_  # with two classes, ridge has (n_features,), LDA has a row
    return weight, np.atleast_1d(model.intercept_) - weight @ scaler.mean_
