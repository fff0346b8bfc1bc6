"""Comparison: fits and scores every configuration on the same folds. Used by ``pretap compare``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.config.train import TrainConfig
from pretap.errors import DataError
from pretap_offline.evaluate.cross_validation import Split, calibrated, parts_of
from pretap_offline.evaluate.metrics import wilson95
from pretap_offline.lab.bench import Bench, draw
from pretap_offline.lab.fits import Fit, Fitted, code_version, data_sha256, permuted, versions
from pretap_offline.lab.results import Comparison, CurvePoint, Fold, Outcome, Permutations, Setting, Trials
from pretap_offline.lab.summary import differences, summarise

Probs = NDArray[np.float64]
Run = Callable[[list[Fit]], list[Fitted]]


@dataclass(frozen=True, eq=False)
class Plan:
    """All fits of a comparison: for each configuration the whole folds, then the parts, then the permutations."""

    bench: Bench
    configs: Mapping[str, TrainConfig]
    folds: list[Split]
    parts: list[list[Split]]
    shuffled: list[tuple[int, list[Split]]]

    def fits(self) -> list[Fit]:
        """Return every fit, configuration by configuration; `compare` reads the results in the same order."""
        return [fit for config in self.configs.values() for fit in self._fits_of(config)]

    def _fits_of(self, config: TrainConfig) -> Iterator[Fit]:
        for folds in (self.folds, *self.parts):
            yield from self.bench.fits(config, folds)
        for shuffle, folds in self.shuffled:
            yield from self.bench.fits(config, folds, shuffle=shuffle)


def plan(
    bench: Bench, configs: Mapping[str, TrainConfig], *, permutations: int = 0, learning_curve: bool = False
) -> Plan:
    """Draw all folds: of the trials as they are, of parts of them, and with permuted labels."""
    any_config = next(iter(configs.values()))
    folds = draw(bench, any_config)
    starts = [_start_of(fold, seed=bench.seed) for fold in folds]
    parts = parts_of(folds, bench.labels, starts) if learning_curve else []
    seeds = [_shuffle_seed(bench.seed, n) for n in range(permutations)]
    return Plan(bench, configs, folds, parts, [(seed, draw(bench, any_config, shuffle=seed)) for seed in seeds])


def compare(planned: Plan, run: Run, *, files: Mapping[str, str]) -> Comparison:
    """Run the fits and summarise their results. `files` holds the file of each configuration."""
    bench, labels = planned.bench, planned.bench.labels
    finished = iter(run(planned.fits()))
    outcomes = []
    for name, config in planned.configs.items():
        whole = list(islice(finished, len(planned.folds)))
        _check_converged(name, whole)
        raw = _collect(bench, planned.folds, whole)
        curve = [_right(labels, folds, list(islice(finished, len(folds)))) for folds in planned.parts]
        null = [_accuracy_of(bench, folds, shuffle, finished) for shuffle, folds in planned.shuffled]
        probs = calibrated(raw, labels, planned.folds)[0] if config.fit.calibrate else raw
        summary = summarise(labels, probs, seed=bench.seed)
        outcomes.append(
            Outcome(
                name=name,
                file=files[name],
                kind=str(config.network.__struct_config__.tag),
                config=msgspec.to_builtins(config),
                figures=summary,
                raw=summarise(labels, raw, seed=bench.seed),
                n_parameters=whole[0].n_parameters,
                fit_s=float(np.median([each.fit_s for each in whole])),
                forward_only=config.network.forward_only,
                probs=as_tuples(probs),
                raw_probs=as_tuples(raw),
                permutations=_permutations(null, summary.accuracy),
                learning_curve=_curve(planned, curve, probs),
                losses=tuple(each.losses for each in whole if each.losses),
            )
        )
    by_name = {each.name: np.array(each.probs) for each in outcomes}
    return Comparison(
        trials=trials_of(bench),
        setting=setting_of(bench),
        folds=tuple(Fold(s.repeat, bench.seed + s.repeat, tuple(s.score_on.tolist())) for s in planned.folds),
        outcomes=tuple(outcomes),
        differences=differences(labels, planned.folds, by_name),
    )


def as_tuples(probs: Probs) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Convert probabilities (n_repeats, n_trials, n_classes) to the tuples of a results file."""
    return tuple(tuple(map(tuple, each)) for each in probs.tolist())


def trials_of(bench: Bench) -> Trials:
    """Return the description of the trials for a results file."""
    trials = bench.trials
    return Trials(
        source=trials.source,
        subject=trials.subject,
        sha256=data_sha256(trials),
        n_trials=len(trials),
        classes=trials.classes,
        channels=trials.channels,
        sfreq_hz=trials.sfreq_hz,
        labels=tuple(bench.labels.tolist()),
    )


def setting_of(bench: Bench) -> Setting:
    """Return the protocol, the code and the libraries for a results file."""
    wanted = bench.evaluation
    blockwise = wanted.split == "blocks"
    how = "blockwise (contiguous in time)" if blockwise else "stratified"
    fresh = "its own network seed" if blockwise else "its own folds and network seed"
    return Setting(
        protocol=f"{wanted.folds}-fold {how} cross-validation, {wanted.repeats} repeat(s), each with {fresh}, from "
        f"seed {bench.seed}; everything fitted inside the fold",
        folds=wanted.folds,
        repeats=wanted.repeats,
        blockwise=blockwise,
        seed=bench.seed,
        code=code_version(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _check_converged(name: str, fitted: list[Fitted]) -> None:
    errors = [each.error for each in fitted if each.error]
    if errors:
        raise DataError(f"{name}: {len(errors)} of {len(fitted)} fits failed. {errors[0]}")


def _start_of(fold: Split, *, seed: int) -> int:
    """Pick the training trial at which the parts of a fold start, independent of the number of repeats."""
    rng = np.random.default_rng([seed, fold.repeat, int(fold.score_on[0])])
    return int(rng.integers(len(fold.fit_on)))


def _shuffle_seed(seed: int, n: int) -> int:
    return int(np.random.SeedSequence([seed, n]).generate_state(1)[0])


def _collect(bench: Bench, folds: list[Split], fitted: list[Fitted]) -> Probs:
    probs = np.full((bench.evaluation.repeats, len(bench.trials), len(bench.trials.classes)), np.nan)
    for fold, each in zip(folds, fitted, strict=True):
        probs[fold.repeat, fold.score_on] = each.probs
    return probs


def _right(labels: NDArray[np.int64], folds: list[Split], fitted: list[Fitted]) -> tuple[float, float]:
    """Return the mean number of training trials, and the share of trials decoded correctly."""
    right = [
        np.array(each.probs).argmax(axis=1) == labels[fold.score_on] for fold, each in zip(folds, fitted, strict=True)
    ]
    return float(np.mean([len(fold.fit_on) for fold in folds])), float(np.concatenate(right).mean())


def _accuracy_of(bench: Bench, folds: list[Split], shuffle: int, finished: Iterator[Fitted]) -> float:
    labels = permuted(bench.trials, seed=shuffle).labels
    assert labels is not None
    return _right(labels, folds, list(islice(finished, len(folds))))[1]


def _permutations(null: list[float], accuracy: float) -> Permutations | None:
    if not null:
        return None
    as_good = sum(each >= accuracy - 1e-12 for each in null)
    return Permutations(tuple(null), (1 + as_good) / (1 + len(null)))


def _curve(planned: Plan, parts: list[tuple[float, float]], probs: Probs) -> tuple[CurvePoint, ...]:
    if not parts:
        return ()
    n = len(planned.bench.labels)
    whole = float(np.mean([len(fold.fit_on) for fold in planned.folds]))
    accuracy = float((probs.argmax(axis=2) == planned.bench.labels).mean())
    return tuple(
        CurvePoint(round(n_fitted), each, wilson95(round(each * n), n))
        for n_fitted, each in [*parts, (whole, accuracy)]
    )
