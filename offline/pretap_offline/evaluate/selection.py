"""The choice of a network among candidates, by nested cross-validation. Used by training and `lab`.

The choice is part of the method. For each held-out block, the candidates are therefore compared on the other blocks
only (Varma and Simon, BMC Bioinformatics 7, 2006). A decoder that leaves out two blocks serves both of them, so K
blocks take K (K + 1) / 2 fits of each candidate.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.manifest import CandidateScore, Manifest, Metrics
from pretap.config.train import TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError
from pretap.networks import softmax
from pretap.recordings.epochs import Epochs
from pretap.spelling import counted
from pretap_offline.evaluate.calibration import cross_fitted, fit_temperature, log_probs, with_temperature
from pretap_offline.evaluate.candidates import candidates_of
from pretap_offline.evaluate.counted_work import counters
from pretap_offline.evaluate.cross_validation import cross_validate
from pretap_offline.evaluate.folds import Index, Split, describe_folds, splits
from pretap_offline.evaluate.summary import summarise
from pretap_offline.fit.average import average_of
from pretap_offline.fit.estimator import is_trained_by_torch
from pretap_offline.fit.fitting import fit, fit_decoder, fit_work, make_manifest
from pretap_offline.trials.source import cropped

_Probs = NDArray[np.float64]  # (n, n_classes)
_Recipes = Mapping[str, TrainConfig]
_Blocks = tuple[int, ...]
"""The blocks that a decoder left out: one, or two."""
_OfBlocks = dict[_Blocks, dict[int, _Probs]]
"""The probabilities for each block that the decoders of a candidate left out, by what they left out."""


@dataclass(frozen=True)
class Choice:
    """One or two candidates: their names, what their logits are divided by, and what the average's are."""

    names: tuple[str, ...]
    temperatures: tuple[float, ...]
    temperature: float
    nll: float

    @property
    def name(self) -> str:
        """The names, joined."""
        return " + ".join(self.names)

    def apply(self, raw: Mapping[str, _Probs]) -> _Probs:
        """Return the probabilities (n, n_classes) of the choice, from those of each candidate."""
        return with_temperature(_averaged(raw, self.names, self.temperatures), self.temperature)


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen candidates, the nested metrics of choosing, and what was chosen among.

    Attributes
    ----------
    choice
        The choice on all trials.
    recipes
        The recipe of each candidate.
    metrics
        The accuracy of the whole method: in each fold, the choice saw only the other folds.
    probs
        (n_epochs, n_classes), the nested probabilities that `metrics` describes.
    scores
        Each candidate and each average, best first. They are those of the choice on all trials, and the best of many is
        too good.
    refused
        Why other candidates could not be fitted, by name.
    """

    choice: Choice
    recipes: _Recipes
    metrics: Metrics
    probs: _Probs
    scores: tuple[CandidateScore, ...]
    refused: dict[str, str]


def select(
    epochs: Epochs,
    config: TrainConfig,
    *,
    seed: int,
    n_workers: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Selection:
    """Choose among the candidates of `config`, and estimate by nested cross-validation how good such a choice is.

    `advance` is called with the finished part of `selection_work`.
    """
    assert epochs.labels is not None
    recipes, refused = candidates_of(epochs, config)
    labels, average = epochs.labels, config.search.average
    folds = _one_repeat(epochs, config, seed=seed)
    table = _fit_all(
        epochs, recipes, folds, _singles(folds) + _pairs(folds), seed=seed, n_workers=n_workers, advance=advance
    )
    refused |= {name: found for name, found in table.items() if isinstance(found, str)}
    fitted = _fitted(table)
    nested = np.empty((1, len(epochs), len(epochs.classes)))
    chosen = []
    for index, held_out in enumerate(folds):
        raw = _out_of_fold(fitted, folds, without=index)
        others = [fold for fold in folds if fold is not held_out]
        choice = rank(recipes, raw, labels, others, average=average)[0]
        chosen.append(choice.name)
        nested[0, held_out.score_on] = choice.apply({name: fitted[name][(index,)][index] for name in choice.names})
    raw = _out_of_fold(fitted, folds)
    ranked = rank(recipes, raw, labels, folds, average=average)
    scores = tuple(
        CandidateScore(
            each.name,
            nll=each.nll,
            accuracy=float((each.apply(raw).argmax(axis=1) == labels).mean()),
            n_chosen=chosen.count(each.name),
        )
        for each in ranked
    )
    protocol = (
        f"nested {describe_folds(epochs, config.evaluation, n_folds=len(folds))}, from seed {seed}: for each held-out "
        f"fold, one of {counted(len(ranked), 'candidate')} was chosen on the other folds"
    )
    metrics = summarise(epochs, nested, protocol=protocol)
    return Selection(ranked[0], recipes, metrics, nested[0], scores, refused)


def selection_work(epochs: Epochs, config: TrainConfig, *, seed: int) -> int:
    """Return the work of all fits of `select`, see `pretap_offline.fit.fitting.fit_work`."""
    recipes, _ = candidates_of(epochs, config)
    folds = _one_repeat(epochs, config, seed=seed)
    sizes = [len(_fit_on(folds, blocks)) for blocks in _singles(folds) + _pairs(folds)]
    return sum(fit_work(recipe, n_trials=n) for recipe, n in product(recipes.values(), sizes))


def rank(
    recipes: _Recipes, raw: Mapping[str, _Probs], labels: Index, folds: Sequence[Split], *, average: bool
) -> list[Choice]:
    """Return all choices, the one with the lowest NLL first.

    Parameters
    ----------
    raw
        The probabilities (n, n_classes) of each candidate, each trial's by a decoder that was not fitted on it.
    labels
        (n,) class indices.
    folds
        The folds whose held-out trials are looked at; the temperatures of a fold's NLL are fitted on the others.
    average
        Whether averages of two candidates with the same window are choices too.
    """
    seen = np.concatenate([fold.score_on for fold in folds])
    position = np.empty(len(labels), np.int64)
    position[seen] = np.arange(len(seen))
    blocks = [position[fold.score_on] for fold in folds]
    raw, labels = {name: probs[seen] for name, probs in raw.items()}, labels[seen]
    temperatures = {name: fit_temperature(probs, labels) for name, probs in raw.items()}
    choices = []
    for names in _names(recipes, raw, average=average):
        own = tuple(temperatures[name] for name in names) if len(names) > 1 else (1.0,)
        averaged = _averaged(raw, names, own)
        scaled = log_probs(cross_fitted(averaged, labels, blocks))
        nll = -float(scaled[np.arange(len(labels)), labels].mean())
        choices.append(Choice(names, own, fit_temperature(averaged, labels), nll))
    return sorted(choices, key=lambda each: each.nll)


def fit_choice(
    epochs: Epochs, recipes: _Recipes, choice: Choice, *, seed: int, losses: list[list[float]] | None = None
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """Fit the chosen candidates on all trials; return the manifest and the tensors of one decoder."""
    epochs = cropped(epochs, recipes[choice.names[0]])
    parts = []
    for name, temperature in zip(choice.names, choice.temperatures, strict=True):
        manifest = make_manifest(epochs, recipes[name], seed=seed)
        parts.append((replace(manifest, temperature=temperature), fit(epochs, manifest, losses=losses)))
    manifest, tensors = parts[0] if len(parts) == 1 else average_of(parts, weights=[1 / len(parts)] * len(parts))
    return replace(manifest, temperature=manifest.temperature * choice.temperature), tensors


def fit_recipe(
    epochs: Epochs, config: TrainConfig, *, seed: int, validate: bool = False, losses: list[list[float]] | None = None
) -> tuple[Decoder, Metrics | None, float]:
    """Fit any recipe on all of `epochs`; one with candidates is chosen by cross-validation on them.

    Returns
    -------
    The decoder, its metrics (None without `validate`), and a temperature that the decoder does not apply yet.
    """
    if not config.candidates:
        found = cross_validate(epochs, config, seed=seed) if validate else None
        decoder, _ = fit_decoder(epochs, config, seed=seed, losses=losses)
        return decoder, *((None, 1.0) if found is None else (found.metrics, found.temperature))
    if validate:
        nested = select(epochs, config, seed=seed)
        return Decoder(*fit_choice(epochs, nested.recipes, nested.choice, seed=seed)), nested.metrics, 1.0
    assert epochs.labels is not None
    recipes, _ = candidates_of(epochs, config)
    folds = _one_repeat(epochs, config, seed=seed)
    table = _fit_all(epochs, recipes, folds, _singles(folds), seed=seed)
    ranked = rank(recipes, _out_of_fold(_fitted(table), folds), epochs.labels, folds, average=config.search.average)
    return Decoder(*fit_choice(epochs, recipes, ranked[0], seed=seed)), None, 1.0


# -- fits ----------------------------------------------------------------------------------------------------------


def _one_repeat(epochs: Epochs, config: TrainConfig, *, seed: int) -> list[Split]:
    evaluation = replace(config.evaluation, folds=config.evaluation.folds or _FOLDS, repeats=1)
    return splits(epochs, evaluation, seed=seed)


_FOLDS = 5  # to choose on, if evaluation.folds = 0


def _singles(folds: Sequence[Split]) -> list[_Blocks]:
    return list(combinations(range(len(folds)), 1))


def _pairs(folds: Sequence[Split]) -> list[_Blocks]:
    return list(combinations(range(len(folds)), 2))


def _fit_on(folds: Sequence[Split], blocks: _Blocks) -> Index:
    """Return the trials that a decoder without these blocks is fitted on."""
    return np.array(sorted(set.intersection(*(set(folds[block].fit_on.tolist()) for block in blocks))), np.int64)


def _fit_all(
    epochs: Epochs,
    recipes: _Recipes,
    folds: Sequence[Split],
    left_out: Sequence[_Blocks],
    *,
    seed: int,
    n_workers: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, _OfBlocks | str]:
    """Return the probabilities of each candidate for the blocks that its decoders left out, or why there are none."""
    from joblib import Parallel, delayed, parallel_config

    tasks = list(product(recipes, left_out))
    with ExitStack() as stack:
        counts: list[Callable[[int], None]] = [advance] * len(tasks)
        if n_workers > 1:
            counts = [*stack.enter_context(counters(len(tasks), advance))]
            stack.enter_context(parallel_config("loky", n_jobs=n_workers, inner_max_num_threads=1))
        fits = (
            delayed(_score_blocks)(
                epochs,
                recipes[name],
                _fit_on(folds, blocks),
                [folds[block].score_on for block in blocks],
                seed=seed,
                advance=count,
            )
            for (name, blocks), count in zip(tasks, counts, strict=True)
        )
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="A worker stopped")  # a slow start of a process is not the user's
        finished = Parallel(n_jobs=n_workers, batch_size=1)(fits)
    found: dict[str, _OfBlocks | str] = {name: {} for name in recipes}
    for (name, blocks), probs in zip(tasks, finished, strict=True):
        own = found[name]
        if isinstance(probs, str):
            found[name] = probs
        elif not isinstance(own, str):
            own[blocks] = dict(zip(blocks, probs, strict=True))
    return found


def _score_blocks(
    epochs: Epochs,
    config: TrainConfig,
    fit_on: Index,
    score_on: Sequence[Index],
    *,
    seed: int,
    advance: Callable[[int], None],
) -> list[_Probs] | str:
    epochs = cropped(epochs, config)
    try:
        decoder, _ = fit_decoder(epochs.select(fit_on), config, seed=seed, advance=advance)
    except DataError as error:
        return str(error)
    return [decoder.decode(epochs.x_uv[block]) for block in score_on]


def _fitted(table: Mapping[str, _OfBlocks | str]) -> dict[str, _OfBlocks]:
    """Return the candidates that could be fitted."""
    fitted = {name: found for name, found in table.items() if not isinstance(found, str)}
    if not fitted:
        raise DataError("None of the candidates could be fitted:\n" + "\n".join(f"{n}: {e}" for n, e in table.items()))
    return fitted


def _out_of_fold(
    fitted: Mapping[str, _OfBlocks], folds: Sequence[Split], *, without: int | None = None
) -> dict[str, _Probs]:
    """Return each candidate's probabilities (n, n_classes) of held-out trials, by decoders that left out `without` too.

    Those of the trials of `without` are NaN.
    """
    n_trials = 1 + max(int(fold.score_on.max()) for fold in folds)
    raw = {}
    for name, of_blocks in fitted.items():
        n_classes = of_blocks[(0,)][0].shape[1]
        raw[name] = np.full((n_trials, n_classes), np.nan)
        for block, fold in enumerate(folds):
            if block != without:
                key = (block,) if without is None else (min(block, without), max(block, without))
                raw[name][fold.score_on] = of_blocks[key][block]
    return raw


def _names(recipes: _Recipes, raw: Mapping[str, _Probs], *, average: bool) -> list[tuple[str, ...]]:
    pairs = [pair for pair in combinations(raw, 2) if _can_average(*(recipes[name] for name in pair))]
    return [*((name,) for name in raw), *(pairs if average else [])]


def _can_average(first: TrainConfig, second: TrainConfig) -> bool:
    """Whether both read the same window, and share [fit] if torch trains them: an average has one of each."""
    by_torch = is_trained_by_torch(first) and is_trained_by_torch(second)
    return first.trials == second.trials and (first.fit == second.fit or not by_torch)


def _averaged(raw: Mapping[str, _Probs], names: Sequence[str], temperatures: Sequence[float]) -> _Probs:
    """Return the softmax of the mean of the logits, each divided by its temperature."""
    logits = [log_probs(raw[name]) / temperature for name, temperature in zip(names, temperatures, strict=True)]
    return softmax(np.mean(logits, axis=0))
