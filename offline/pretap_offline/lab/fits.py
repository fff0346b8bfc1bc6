"""Fits of the laboratory: one recipe fitted on some trials and scored on others, on any machine.

Used by `compare` and `sweep`. A fit is identified by everything its result depends on, including the source code.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import time
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap import __version__
from pretap.bundle.manifest import Metrics
from pretap.config.recording import RecordingConfig
from pretap.config.train import EvaluationConfig, TrainConfig, TrialsConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.epochs import Epochs

Index = NDArray[np.int64]
_OURS = frozenset({"pretap", "pretap_offline"})
_LIBRARIES = ("mne", "numpy", "pyriemann", "scikit-learn", "scipy", "skorch", "torch")


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """One fit: recipe, trials and seed; ``key`` identifies its result.

    `shuffle` is the seed that permuted the labels, or None. `data` and `code` identify trials and source code. With
    `validate`, the recipe is also cross-validated on the trials to fit on, as `pretap train` does.
    """

    config: TrainConfig
    fit_on: Index
    score_on: Index
    seed: int
    shuffle: int | None
    data: str
    code: str
    validate: bool = False

    @property
    def key(self) -> str:
        """The sha256 of everything the result depends on, except `calibrate`: calibration happens later."""
        parts = (
            replace(self.config, fit=replace(self.config.fit, calibrate=True)),
            self.fit_on.tolist(),
            self.score_on.tolist(),
            self.seed,
            self.shuffle,
            self.data,
            self.code,
            self.validate,
        )
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


class Fitted(msgspec.Struct, frozen=True):
    """The result of one fit: probabilities (n_scored, n_classes) of its `score_on`, seconds, parameters.

    If training diverged, `probs` is empty and `error` describes the reason. `losses` (n_epochs,) are those on the
    training trials, averaged over the members of an ensemble; empty in closed form. `metrics` and `temperature` are
    those of the cross-validation with `Fit.validate`, and `probs` do not have this temperature yet.
    """

    probs: list[list[float]]
    fit_s: float
    n_parameters: int
    error: str = ""
    losses: list[float] = []
    metrics: Metrics | None = None
    temperature: float = 1.0


def run_fit(fit: Fit, epochs: Epochs) -> Fitted:
    """Fit and score on one thread, so that every process on the same kind of processor computes the same bits.

    Raises
    ------
    UsageError
        If this process runs another version of the code than the one that planned the fit.
    """
    from threadpoolctl import threadpool_limits

    from pretap_offline.evaluate.cross_validation import cross_validate
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
        fit_on = epochs.select(fit.fit_on)
        started_s = time.perf_counter()
        try:
            found = cross_validate(fit_on, fit.config, seed=fit.seed) if fit.validate else None
            decoder, _ = fit_decoder(fit_on, fit.config, seed=fit.seed, losses=losses)
        except DataError as error:
            return Fitted([], time.perf_counter() - started_s, 0, str(error))
        fit_s = time.perf_counter() - started_s
        probs = np.asarray(decoder.decode(epochs.x_uv[fit.score_on]), np.float64)  # (n_scored, n_classes)
    return Fitted(
        probs.tolist(),
        fit_s,
        decoder.manifest.streaming.n_parameters,
        losses=np.mean(losses, axis=0).tolist() if losses else [],
        metrics=None if found is None else found.metrics,
        temperature=1.0 if found is None else found.temperature,
    )


def permuted(epochs: Epochs, *, seed: int) -> Epochs:
    """Return the trials with permuted labels."""
    assert epochs.labels is not None
    return dataclasses.replace(epochs, labels=np.random.default_rng(seed).permutation(epochs.labels))


def recipe(config: TrainConfig) -> TrainConfig:
    """Reset the parts of a configuration that scores on given folds do not depend on; the rest identifies it."""
    return replace(config, evaluation=EvaluationConfig(), events={}, trials=TrialsConfig(), recording=RecordingConfig())


def data_sha256(epochs: Epochs) -> str:
    """Return the sha256 of samples, labels and metadata of trials."""
    digest = hashlib.sha256(np.ascontiguousarray(epochs.x_uv, "<f4").tobytes())
    metadata = (epochs.x_uv.shape, epochs.classes, epochs.channels, epochs.sfreq_hz, epochs.window_end_ms)
    digest.update(repr(metadata).encode())
    for each in (epochs.labels, epochs.at_s, epochs.files):
        digest.update(b"-" if each is None else np.ascontiguousarray(each).tobytes())
    return digest.hexdigest()


@cache
def code_version() -> str:
    """Return the version, with a digest of the source code and libraries that a fit depends on."""
    depends_on = source_sha256(__name__) + repr(sorted(versions().items()))
    return f"{__version__}+{hashlib.sha256(depends_on.encode()).hexdigest()[:16]}"


def versions(libraries: tuple[str, ...] = _LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that results depend on."""
    return {name: _version(name) for name in libraries}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # only one kind needs pyriemann
        return "not installed"


# -- source code -------------------------------------------------------------------------------------------------


def source_sha256(module: str, *, packages: frozenset[str] = _OURS) -> str:
    """Return the sha256 of the source of `module` and of all modules in `packages` that it imports, also indirectly."""
    found: dict[str, bytes] = {}
    to_read = [module]
    while to_read:
        name = to_read.pop()
        if name in found:
            continue
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        found[name] = Path(spec.origin).read_bytes()
        to_read += _imported(found[name], packages)
    digest = hashlib.sha256()
    for name, source in sorted(found.items()):
        digest.update(f"{name}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()


def _imported(source: bytes, packages: frozenset[str]) -> list[str]:
    """Return the modules of `packages` that `source` imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and _package(node.module) in packages:
            names.append(node.module)
            names += [f"{node.module}.{each.name}" for each in node.names if _is_module(node.module, each.name)]
    return [name for name in names if _package(name) in packages]


def _package(name: str) -> str:
    return name.partition(".")[0]


def _is_module(package: str, name: str) -> bool:
    spec = importlib.util.find_spec(package)
    homes = [] if spec is None else spec.submodule_search_locations or []
    return any((Path(home) / f"{name}.py").exists() or (Path(home) / name).is_dir() for home in homes)
