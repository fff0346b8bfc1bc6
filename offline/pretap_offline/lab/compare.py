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
from pretap.spelling import counted
from pretap_offline.evaluate.cross_validation import calibrated, gather, parts_of
from pretap_offline.evaluate.folds import Split
from pretap_offline.evaluate.metrics import wilson95
from pretap_offline.lab.bench import Bench
from pretap_offline.lab.fits import Fit, Fitted, code_version, data_sha256, versions
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
    permuted: list[tuple[Bench, list[Split]]]

    def fits(self) -> list[Fit]:
        """Return every fit, configuration by configuration; `compare` reads the results in the same order."""
        groups = [*((self.bench, folds) for folds in (self.folds, *self.parts)), *self.permuted]
        return [fit for config in self.configs.values() for bench, folds in groups for fit in bench.fits(config, folds)]


def plan(
    bench: Bench, configs: Mapping[str, TrainConfig], *, permutations: int = 0, learning_curve: bool = False
) -> Plan:
    """Draw all folds: of the trials as they are, of parts of them, and with permuted labels."""
    folds = bench.folds()
    starts = [_start_of(fold, seed=bench.seed) for fold in folds]
    parts = parts_of(folds, bench.labels, starts) if learning_curve else []
    seeds = [int(np.random.SeedSequence([bench.seed, n]).generate_state(1)[0]) for n in range(permutations)]
    return Plan(bench, configs, folds, parts, [(each, each.folds()) for each in map(bench.permuted, seeds)])


def compare(planned: Plan, run: Run, *, files: Mapping[str, str]) -> Comparison:
    """Run the fits and summarise their results. `files` holds the file of each configuration."""
    bench, labels = planned.bench, planned.bench.labels
    finished = iter(run(planned.fits()))
    outcomes = []
    for name, config in planned.configs.items():
        whole = _take(finished, planned.folds, name)
        raw = _out_of_fold(planned.folds, whole, bench)
        parts = [_out_of_fold(folds, _take(finished, folds, name), bench) for folds in planned.parts]
        null = [
            _accuracy(_out_of_fold(folds, _take(finished, folds, name), each), each) for each, folds in planned.permuted
        ]
        probs = calibrated(raw, labels, planned.folds)[0] if config.fit.calibrate else raw
        summary = summarise(labels, probs, seed=bench.seed)
        outcomes.append(
            Outcome(
                name=name,
                file=files[name],
                kind=config.kind,
                config=msgspec.to_builtins(config),
                figures=summary,
                raw=summarise(labels, raw, seed=bench.seed),
                n_parameters=whole[0].n_parameters,
                fit_s=float(np.median([each.fit_s for each in whole])),
                forward_only=config.network.forward_only and not config.candidates,
                probs=probs.tolist(),
                raw_probs=raw.tolist(),
                permutations=_permutations(null, summary.accuracy),
                learning_curve=_curve(planned, [*parts, probs]) if parts else (),
                losses=[each.losses for each in whole if each.losses],
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
        protocol=f"{wanted.folds}-fold {how} cross-validation, {counted(wanted.repeats, 'repeat')}, each with "
        f"{fresh}, from seed {bench.seed}; everything fitted inside the fold",
        folds=wanted.folds,
        repeats=wanted.repeats,
        blockwise=blockwise,
        seed=bench.seed,
        code=code_version(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _start_of(fold: Split, *, seed: int) -> int:
    """Pick the training trial at which the parts of a fold start, independent of the number of repeats."""
    rng = np.random.default_rng([seed, fold.repeat, int(fold.score_on[0])])
    return int(rng.integers(len(fold.fit_on)))


def _take(finished: Iterator[Fitted], folds: list[Split], name: str) -> list[Fitted]:
    """Return the results of the next folds, or raise an error that names the configuration if a fit failed."""
    fitted = list(islice(finished, len(folds)))
    errors = [each.error for each in fitted if each.error]
    if errors:
        raise DataError(f"{name}: {len(errors)} of {counted(len(fitted), 'fit')} failed. {errors[0]}")
    return fitted


def _out_of_fold(folds: list[Split], fitted: list[Fitted], bench: Bench) -> Probs:
    return gather(folds, [each.probs for each in fitted], n_trials=len(bench.trials))


def _accuracy(probs: Probs, bench: Bench) -> float:
    return float((probs.argmax(axis=2) == bench.labels).mean())


def _permutations(null: list[float], accuracy: float) -> Permutations | None:
    if not null:
        return None
    as_good = sum(each >= accuracy - 1e-12 for each in null)
    return Permutations(tuple(null), (1 + as_good) / (1 + len(null)))


def _curve(planned: Plan, probs: list[Probs]) -> tuple[CurvePoint, ...]:
    n, points = len(planned.bench.labels), []
    for folds, each in zip([*planned.parts, planned.folds], probs, strict=True):
        accuracy = _accuracy(each, planned.bench)
        n_fitted = round(float(np.mean([len(fold.fit_on) for fold in folds])))
        points.append(CurvePoint(n_fitted, accuracy, wilson95(round(accuracy * n), n)))
    return tuple(points)
