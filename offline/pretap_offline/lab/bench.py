"""The bench: the trials at every rate, and how they are split into folds. Used by `compare` and `sweep`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.config.train import EvaluationConfig, TrainConfig
from pretap.errors import UsageError
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.cross_validation import Split, is_blockwise, splits
from pretap_offline.lab.fits import Fit, code_version, data_sha256, permuted, recipe
from pretap_offline.training import prepare

Index = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """The trials as read, the trials at each rate that a recipe asks for, and how they are split.

    `sha256` identifies the trials at each rate. If the labels of `trials` are permuted, `shuffle` is the seed.
    """

    trials: Epochs
    epochs: dict[float | None, Epochs]
    evaluation: EvaluationConfig
    seed: int
    sha256: dict[float | None, str]
    shuffle: int | None = None

    @property
    def labels(self) -> Index:
        """The class indices (n_trials,)."""
        assert self.trials.labels is not None
        return self.trials.labels

    @property
    def data(self) -> dict[str, Epochs]:
        """The trials by sha256, as `open_laboratory` takes them."""
        return {self.sha256[rate]: epochs for rate, epochs in self.epochs.items()}

    def check(self, config: TrainConfig) -> None:
        """Build the estimator of a recipe without fitting it; raises `UsageError` if that is impossible."""
        from pretap_offline.fit.estimator import make_estimator, make_fir, make_scaling

        like = self.epochs[config.signal.sfreq_hz]
        n_window, n_channels = like.n_samples, len(like.channels)
        scaling = make_scaling(config, sfreq_hz=like.sfreq_hz, n_window=n_window, n_channels=n_channels)
        fir = make_fir(config, scaling, sfreq_hz=like.sfreq_hz, n_window=n_window)
        make_estimator(config, scaling, like=like, seed=self.seed, fir=fir)

    def fits(self, config: TrainConfig, folds: Sequence[Split], *, validate: bool = False) -> Iterator[Fit]:
        """Yield the fit of each fold; the networks of repeat r start from ``seed + r``. For `validate` see `Fit`."""
        data = self.sha256[config.signal.sfreq_hz]
        for fold in folds:
            seed = self.seed + fold.repeat
            yield Fit(recipe(config), fold.fit_on, fold.score_on, seed, self.shuffle, data, code_version(), validate)

    def folds(self) -> list[Split]:
        """Draw the folds of all repeats."""
        return splits(self.trials, self.evaluation, seed=self.seed)

    def permuted(self, shuffle: int) -> Bench:
        """Return a bench with permuted labels and one repeat."""
        once = replace(self.evaluation, repeats=1)
        return dataclasses.replace(self, trials=permuted(self.trials, seed=shuffle), evaluation=once, shuffle=shuffle)


def set_up(trials: Epochs, configs: Sequence[TrainConfig], *, folds: int, repeats: int, seed: int) -> Bench:
    """Resample the trials to the rates of `configs`, and choose one way to split them for all."""
    blockwise = {is_blockwise(trials, config.evaluation) for config in configs}
    if len(blockwise) > 1:
        kinds = {config.evaluation.split for config in configs}
        raise UsageError(
            f"evaluation.split differs between the configurations ({', '.join(sorted(kinds))}), but all are compared "
            "on the same folds: set the same value in all of them."
        )
    evaluation = EvaluationConfig(folds=folds, repeats=repeats, split="blocks" if True in blockwise else "stratified")
    one_at_each_rate = {config.signal.sfreq_hz: replace(config, evaluation=evaluation) for config in configs}
    epochs = {rate: prepare(trials, config) for rate, config in one_at_each_rate.items()}
    return Bench(trials, epochs, evaluation, seed, {rate: data_sha256(each) for rate, each in epochs.items()})
