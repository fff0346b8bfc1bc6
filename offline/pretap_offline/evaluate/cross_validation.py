"""Cross-validation: scores every trial with a decoder fitted on other trials that do not overlap it.

Used by training, `lab` and the studies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike, NDArray

from pretap.bundle.manifest import Metrics
from pretap.config.train import TrainConfig
from pretap.recordings.epochs import Epochs
from pretap.spelling import counted
from pretap_offline.evaluate.advice import is_above_chance
from pretap_offline.evaluate.calibration import cross_fitted, fit_temperature
from pretap_offline.evaluate.counted_work import counters
from pretap_offline.evaluate.folds import Index, Split, describe_folds, is_blockwise, splits
from pretap_offline.evaluate.learning_curve import FRACTIONS, outlook
from pretap_offline.evaluate.summary import summarise
from pretap_offline.fit.fitting import fit_decoder, fit_work


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold probabilities (n_repeats, n_epochs, n_classes) and their metrics.

    Attributes
    ----------
    raw_probs
        The probabilities as decoded.
    probs
        The probabilities that `metrics` describes. With `config.fit.calibrate`, each fold is scaled by a temperature
        fitted on the other folds of its repeat (`pretap_offline.evaluate.calibration`); otherwise the raw ones.
    temperature
        The temperature fitted on all of `raw_probs`, for the decoder that is fitted on all trials. 1 without
        `calibrate`.
    """

    raw_probs: NDArray[np.float64]
    probs: NDArray[np.float64]
    temperature: float
    metrics: Metrics


def validation_work(epochs: Epochs, config: TrainConfig, *, seed: int) -> int:
    """Return the work of all fits of `cross_validate`, see `pretap_offline.fit.fitting.fit_work`."""
    if not config.evaluation.folds:
        return 0
    drawn, parts = _folds(epochs, config, seed=seed)
    return sum(fit_work(config, n_trials=len(fold.fit_on)) for fold in chain(drawn, *parts))


def _folds(epochs: Epochs, config: TrainConfig, *, seed: int) -> tuple[list[Split], list[list[Split]]]:
    """Return the folds of all repeats, and those of each point of the learning curve below 1."""
    drawn = splits(epochs, config.evaluation, seed=seed)
    if not config.evaluation.learning_curve:
        return drawn, []
    return drawn, _parts(epochs, drawn[: config.evaluation.folds], seed=seed)


def cross_validate(
    epochs: Epochs,
    config: TrainConfig,
    *,
    seed: int,
    n_workers: int = 1,
    others: Sequence[Epochs] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> CrossValidation:
    """Run a repeated cross-validation on the folds of `splits`, with a new decoder for each fold.

    Each fold is fitted on all of `others` too, and only trials of `epochs` are held out.
    The networks of repeat r start from ``seed + r``. With `config.evaluation.learning_curve`, the folds of the first
    repeat are also fitted on parts of their trials. `advance` is called with the finished part of `validation_work`.
    """
    from joblib import Parallel, delayed

    assert epochs.labels is not None
    drawn, parts = _folds(epochs, config, seed=seed)
    folds = list(chain(drawn, *parts))
    with ExitStack() as stack:
        counts: list[Callable[[int], None]] = [advance] * len(folds)
        if n_workers > 1:
            counts = [*stack.enter_context(counters(len(folds), advance))]
        fits = (
            delayed(_score_fold)(epochs, config, fold, seed=seed + fold.repeat, others=others, advance=count)
            for fold, count in zip(folds, counts, strict=True)
        )
        finished = iter(Parallel(n_jobs=n_workers)(fits))
    raw_probs = gather(drawn, islice(finished, len(drawn)), n_trials=len(epochs))
    probs, temperature = calibrated(raw_probs, epochs.labels, drawn) if config.fit.calibrate else (raw_probs, 1.0)
    metrics = summarise(epochs, probs, protocol=_protocol(epochs, config, seed=seed))
    if parts:
        curve = [gather(part, islice(finished, len(part)), n_trials=len(epochs)) for part in parts]
        right = np.stack([each[0].argmax(axis=1) == epochs.labels for each in [*curve, raw_probs]])
        sizes = np.array([round(float(np.mean([len(fold.fit_on) for fold in part]))) for part in [*parts, drawn]])
        metrics = replace(
            metrics,
            learning_curve=tuple(zip(sizes.tolist(), right.mean(axis=1).tolist(), strict=True)),
            outlook=outlook(sizes, right, rng=np.random.default_rng(seed)) if is_above_chance(metrics) else "",
        )
    return CrossValidation(raw_probs, probs, temperature, metrics)


def gather(folds: list[Split], decoded: Iterable[ArrayLike], *, n_trials: int) -> NDArray[np.float64]:
    """Put the probabilities of each fold's held-out trials in their places, (n_repeats, n_trials, n_classes)."""
    found = [np.asarray(each, np.float64) for each in decoded]
    probs = np.empty((folds[-1].repeat + 1, n_trials, found[0].shape[1]))
    for fold, each in zip(folds, found, strict=True):
        probs[fold.repeat, fold.score_on] = each
    return probs


def calibrated(raw_probs: NDArray[np.float64], labels: Index, drawn: list[Split]) -> tuple[NDArray[np.float64], float]:
    """Return the probabilities of each repeat with cross-fitted temperatures, and one temperature fitted on all."""
    folds = [[each.score_on for each in drawn if each.repeat == repeat] for repeat in range(len(raw_probs))]
    probs = np.stack([cross_fitted(p, labels, f) for p, f in zip(raw_probs, folds, strict=True)])
    return probs, fit_temperature(raw_probs, labels)


def _score_fold(
    epochs: Epochs,
    config: TrainConfig,
    fold: Split,
    *,
    seed: int,
    others: Sequence[Epochs],
    advance: Callable[[int], None],
) -> NDArray[np.float64]:
    decoder, _ = fit_decoder(epochs.select(fold.fit_on), config, seed=seed, others=others, advance=advance)
    return decoder.decode(epochs.x_uv[fold.score_on])


# -- the learning curve --------------------------------------------------------------------------------------------


def _parts(epochs: Epochs, folds: list[Split], *, seed: int) -> list[list[Split]]:
    """Return the folds of each fraction below 1, with a part of their training trials that starts at a random one."""
    assert epochs.labels is not None
    labels, rng = epochs.labels, np.random.default_rng([seed, len(epochs)])
    starts = [int(rng.integers(len(fold.fit_on))) for fold in folds]
    return parts_of(folds, labels, starts)


def parts_of(folds: list[Split], labels: Index, starts: list[int]) -> list[list[Split]]:
    """Return the folds of each fraction below 1, with a part of their training trials from `starts` on."""
    return [
        [part_of(fold, labels, fraction, start=start) for fold, start in zip(folds, starts, strict=True)]
        for fraction in FRACTIONS[:-1]
    ]


def part_of(fold: Split, labels: Index, fraction: float, *, start: int) -> Split:
    """Keep a fraction of a fold's training trials, with at least two of each class.

    The kept trials run from the training trial `start` on and wrap around, as if the recording were shorter.
    """
    rolled = np.roll(fold.fit_on, -start)
    picked = []
    for label in np.unique(labels):
        members = rolled[labels[rolled] == label]
        picked.append(members[: max(2, round(fraction * len(members)))])
    return Split(fold.repeat, np.sort(np.concatenate(picked)), fold.score_on)


# -- pooling -------------------------------------------------------------------------------------------------------


def compare_with_own(
    pooled: CrossValidation, alone: CrossValidation, epochs: Epochs, *, others: Sequence[Epochs]
) -> str:
    """Return a sentence on what the trials of `others` add to own trials `alone`, on the same folds."""
    right = [(each.probs.argmax(axis=2) == epochs.labels).mean(axis=0) for each in (pooled, alone)]  # (n_epochs,) each
    gain = right[0] - right[1]
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    n_others = counted(sum(map(len, others)), "trial")
    found = (
        f"own trials alone: accuracy {alone.metrics.accuracy:.3f} on the same folds; {n_others} of "
        f"{counted(len(others), 'other session')} add {100 * gain.mean():+.1f} +- {100 * error:.1f} points"
    )
    if gain.mean() > error:
        return found
    return f"{found}. Own trials alone are as good: train without --with"


# -- summary -------------------------------------------------------------------------------------------------------


def _protocol(epochs: Epochs, config: TrainConfig, *, seed: int) -> str:
    n_folds, n_repeats = config.evaluation.folds, config.evaluation.repeats
    calibrated = ", temperature from the other folds" if config.fit.calibrate else ""
    own = "network seed" if is_blockwise(epochs, config.evaluation) else "split and network seed"
    return (
        f"{describe_folds(epochs, config.evaluation, n_folds=n_folds)}, {counted(n_repeats, 'repeat')}, each with its "
        f"own {own}, from seed {seed}{calibrated}"
    )
