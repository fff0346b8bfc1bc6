"""The laboratory's unit of work: one recipe fitted on some trials, scored on others. It can run on any machine."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import time
from functools import cache

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap import __version__
from pretap.config.train import EvaluationConfig, TrainConfig, TrialsConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.epochs import Epochs
from pretap_offline.lab.sources import source_sha256

__all__ = ["Fit", "Fitted", "code_version", "data_sha256", "permuted", "recipe", "run_fit", "versions"]

Index = NDArray[np.int64]
_LIBRARIES = ("mne", "numpy", "pyriemann", "scikit-learn", "scipy", "skorch", "torch")


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """One fit: which recipe, on which trials, from which seed; ``key`` names its result.

    `shuffle` is the seed that permuted the labels, or None; `data` and `code` identify trials and sources.
    """

    config: TrainConfig
    fit_on: Index
    score_on: Index
    seed: int
    shuffle: int | None
    data: str
    code: str

    @property
    def key(self) -> str:
        """Identify the fit by everything that its result depends on (sha256); probabilities are calibrated later."""
        parts = (
            replace(self.config, fit=replace(self.config.fit, calibrate=True)),
            self.fit_on.tolist(),
            self.score_on.tolist(),
            self.seed,
            self.shuffle,
            self.data,
            self.code,
        )
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


class Fitted(msgspec.Struct, frozen=True):
    """What one fit gave: probabilities (n_scored, n_classes) of its `score_on`, seconds, parameters.

    `error` says why there are none: training diverged. `losses` (n_epochs,) on the training trials, the mean over an
    ensemble's members; empty in closed form.
    """

    probs: tuple[tuple[float, ...], ...]
    fit_s: float
    n_parameters: int
    error: str = ""
    losses: tuple[float, ...] = ()


def run_fit(fit: Fit, epochs: Epochs) -> Fitted:
    """Fit and score, on one thread: the same bits in whatever process on the same kind of processor.

    Raises
    ------
    UsageError
        When this process runs another version of the code than the one that planned the fit.
    """
    from threadpoolctl import threadpool_limits

    from pretap_offline.fit.fitting import fit_decoder

    if fit.code != code_version():
        raise UsageError(
            f"A worker runs pretap {code_version()}, this command {fit.code}: install the same version on every "
            "machine, and start the workers again."
        )
    if fit.shuffle is not None:
        epochs = permuted(epochs, seed=fit.shuffle)
    with threadpool_limits(1):
        losses: list[list[float]] = []  # (n_members, n_epochs)
        started_s = time.perf_counter()
        try:
            decoder, _ = fit_decoder(epochs.select(fit.fit_on), fit.config, seed=fit.seed, losses=losses)
        except DataError as error:
            return Fitted((), time.perf_counter() - started_s, 0, str(error))
        fit_s = time.perf_counter() - started_s
        probs = np.asarray(decoder.decode(epochs.x_uv[fit.score_on]), np.float64)  # (n_scored, n_classes)
    return Fitted(
        tuple(map(tuple, probs.tolist())),
        fit_s,
        decoder.manifest.streaming.n_parameters,
        losses=tuple(np.mean(losses, axis=0).tolist()) if losses else (),
    )


def permuted(epochs: Epochs, *, seed: int) -> Epochs:
    """Give the trials with their labels in another order: nothing is left to learn."""
    assert epochs.labels is not None
    return dataclasses.replace(epochs, labels=np.random.default_rng(seed).permutation(epochs.labels))


def recipe(config: TrainConfig) -> TrainConfig:
    """Leave in a configuration what its figures on given folds depend on: what is left identifies it."""
    return replace(config, evaluation=EvaluationConfig(), events={}, trials=TrialsConfig())


def data_sha256(epochs: Epochs) -> str:
    """Identify trials by their samples, labels and everything that is said of them."""
    digest = hashlib.sha256(np.ascontiguousarray(epochs.x_uv, "<f4").tobytes())
    said = (epochs.x_uv.shape, epochs.classes, epochs.channels, epochs.sfreq_hz, epochs.window_end_ms)
    digest.update(repr(said).encode())
    for each in (epochs.labels, epochs.at_s, epochs.files):
        digest.update(b"-" if each is None else np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()


@cache
def code_version() -> str:
    """Give the version, and a digest of the sources and libraries that a fit depends on."""
    said = source_sha256(__name__) + repr(sorted(versions().items()))
    return f"{__version__}+{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def versions(libraries: tuple[str, ...] = _LIBRARIES) -> dict[str, str]:
    """Give the versions of the libraries that compute."""
    return {name: _version(name) for name in libraries}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # pyriemann is needed by one kind alone
        return "not installed"
