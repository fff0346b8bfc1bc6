"""The choice of a network among candidates, by nested cross-validation. Used by training and `lab`.

The choice is part of the method. For each held-out block, the candidates are therefore compared on the other blocks
only (Varma and Simon, BMC Bioinformatics 7, 2006). A decoder that leaves out two blocks serves both of them, so K
blocks take K (K + 1) / 2 fits of each candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.file import refusal
from pretap.bundle.manifest import CandidateScore, Manifest, Metrics
from pretap.config.train import TrainConfig, TrialsConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, UsageError
from pretap.networks import softmax
from pretap.recordings.epochs import Epochs
from pretap.spelling import counted
from pretap_offline.evaluate.calibration import cross_fitted, fit_temperature, log_probs, with_temperature
from pretap_offline.evaluate.counted_work import counters
from pretap_offline.evaluate.folds import Index, Split, is_blockwise, splits
from pretap_offline.evaluate.summary import summarise
from pretap_offline.fit.average import average_of
from pretap_offline.fit.estimator import is_trained_by_torch, make_estimator, make_fir
from pretap_offline.fit.fitting import fit, fit_decoder, fit_work, make_manifest

_Probs = NDArray[np.float64]  # (n, n_classes)
_Recipes = Mapping[str, TrainConfig]
_Blocks = tuple[int, ...]
"""The blocks that a decoder left out: one, or two."""


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


@dataclass(frozen=True)
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
    scores
        Each candidate and each average, best first. They are those of the choice on all trials, and the best of many is
        too good.
    refused
        Why other candidates could not be fitted, by name.
    """

    choice: Choice
    recipes: _Recipes
    metrics: Metrics
    scores: tuple[CandidateScore, ...]
    refused: dict[str, str]


def candidates_of(epochs: Epochs, config: TrainConfig) -> tuple[dict[str, TrainConfig], dict[str, str]]:
    """Return the recipe of each candidate that can read these trials, and why the others cannot.

    With `config.search.window`, each network is a candidate once for each window.

    Raises
    ------
    UsageError
        If no candidate can read the trials.
    """
    recipes, refused = {}, {}
    for name, wanted in config.candidates.items():
        for suffix, trials in _windows(config):
            recipe = replace(config, network=wanted.network, fit=wanted.fit, trials=trials, candidates={})
            try:
                _check(cropped(epochs, recipe), recipe)
            except (UsageError, DataError) as error:
                refused[name + suffix] = str(error)
            else:
                recipes[name + suffix] = recipe
    if not recipes:
        reasons = "".join(f"\n{name}: {reason}" for name, reason in refused.items())
        raise UsageError(f"None of the candidates can read these trials:{reasons}")
    return recipes, refused


def with_search(config: TrainConfig) -> TrainConfig:
    """Return the recipe that also chooses its window, with trials that contain all of the windows.

    Raises
    ------
    UsageError
        If the recipe has no windows or no candidates.
    """
    windows_ms = config.search.window_ms
    if not windows_ms or not config.candidates:
        raise UsageError(
            "--search window: expected a recipe with [candidates], and with windows to choose among, such as "
            "[search] window_ms = [[0, 2000], [500, 2500]]. The presets taps, cued-taps and imagery have both."
        )
    starts, ends = zip(*windows_ms, strict=True)
    trials = replace(config.trials, window_ms=(min(starts), max(ends)))
    return replace(config, trials=trials, search=replace(config.search, window=True))


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
    folds = _one_repeat(epochs, config, seed=seed)
    blocks = [fold.score_on for fold in folds]
    table = _fit_all(epochs, recipes, folds, seed=seed, n_workers=n_workers, advance=advance)
    refused |= {name: found for name, found in table.items() if isinstance(found, str)}
    fitted = {name: found for name, found in table.items() if not isinstance(found, str)}
    if not fitted:
        raise DataError("None of the candidates could be fitted. " + " ".join(refused.values()))
    labels, n_folds = epochs.labels, len(folds)
    nested = np.empty((1, len(epochs), len(epochs.classes)))
    chosen = []
    for held_out in range(n_folds):
        others = [block for block in range(n_folds) if block != held_out]
        raw = {
            name: _gathered({block: probs[_pair(held_out, block)][block] for block in others}, blocks, len(epochs))
            for name, probs in fitted.items()
        }
        choice = rank(recipes, raw, labels, [blocks[block] for block in others], average=config.search.average)[0]
        chosen.append(choice.name)
        nested[0, blocks[held_out]] = choice.apply({n: fitted[n][(held_out,)][held_out] for n in choice.names})
    raw = {
        name: _gathered({block: probs[(block,)][block] for block in range(n_folds)}, blocks, len(epochs))
        for name, probs in fitted.items()
    }
    ranked = rank(recipes, raw, labels, blocks, average=config.search.average)
    scores = tuple(
        CandidateScore(
            each.name,
            nll=each.nll,
            accuracy=float((each.apply(raw).argmax(axis=1) == labels).mean()),
            n_chosen=chosen.count(each.name),
        )
        for each in ranked
    )
    how = (
        "blockwise (contiguous blocks in time, not shuffled)"
        if is_blockwise(epochs, config.evaluation)
        else "stratified"
    )
    protocol = (
        f"nested {n_folds}-fold {how} cross-validation from seed {seed}: for each held-out fold, one of "
        f"{counted(len(ranked), 'candidate')} was chosen on the other folds"
    )
    return Selection(ranked[0], recipes, summarise(epochs, nested, protocol=protocol), scores, refused)


def selection_work(epochs: Epochs, config: TrainConfig, *, seed: int) -> int:
    """Return the work of all fits of `select`, see `pretap_offline.fit.fitting.fit_work`."""
    recipes, _ = candidates_of(epochs, config)
    tasks = _tasks(recipes, _one_repeat(epochs, config, seed=seed))
    return sum(fit_work(recipes[name], n_trials=len(fit_on)) for name, _, fit_on in tasks)


def rank(
    recipes: _Recipes, raw: Mapping[str, _Probs], labels: Index, blocks: Sequence[Index], *, average: bool
) -> list[Choice]:
    """Return all choices, the one with the lowest NLL first.

    Parameters
    ----------
    raw
        The probabilities (n, n_classes) of each candidate, each trial's by a decoder that was not fitted on it.
    labels
        (n,) class indices.
    blocks
        The trials of each block; the temperatures of a block's NLL are fitted on the other blocks. Other trials are not
        looked at.
    average
        Whether averages of two candidates with the same window are choices too.
    """
    seen = np.concatenate(blocks)
    position = np.empty(len(labels), np.int64)
    position[seen] = np.arange(len(seen))
    own_blocks = [position[block] for block in blocks]
    raw, labels = {name: probs[seen] for name, probs in raw.items()}, labels[seen]
    temperatures = {name: fit_temperature(probs, labels) for name, probs in raw.items()}
    choices = []
    for names in _names(recipes, raw, average=average):
        own = tuple(temperatures[name] for name in names) if len(names) > 1 else (1.0,)
        averaged = _averaged(raw, names, own)
        scaled = log_probs(cross_fitted(averaged, labels, own_blocks))
        nll = -float(scaled[np.arange(len(labels)), labels].mean())
        choices.append(Choice(names, own, fit_temperature(averaged, labels), nll))
    return sorted(choices, key=lambda each: each.nll)


def fit_choice(
    epochs: Epochs, recipes: _Recipes, choice: Choice, *, seed: int, advance: Callable[[int], None] | None = None
) -> tuple[Manifest, dict[str, NDArray[Any]]]:
    """Fit the chosen candidates on all trials; return the manifest and the tensors of one decoder."""
    epochs = cropped(epochs, recipes[choice.names[0]])
    parts = []
    for name, temperature in zip(choice.names, choice.temperatures, strict=True):
        manifest = make_manifest(epochs, recipes[name], seed=seed)
        parts.append((replace(manifest, temperature=temperature), fit(epochs, manifest, advance=advance)))
    manifest, tensors = parts[0] if len(parts) == 1 else average_of(parts, weights=[1 / len(parts)] * len(parts))
    return replace(manifest, temperature=manifest.temperature * choice.temperature), tensors


def fit_recipe(epochs: Epochs, config: TrainConfig, *, seed: int, losses: list[list[float]] | None = None) -> Decoder:
    """Fit any recipe on all of `epochs`, and return the decoder; one with candidates is chosen by cross-validation."""
    if not config.candidates:
        return fit_decoder(epochs, config, seed=seed, losses=losses)[0]
    assert epochs.labels is not None
    recipes, _ = candidates_of(epochs, config)
    folds = _one_repeat(epochs, config, seed=seed)
    blocks = [fold.score_on for fold in folds]
    raw = {}
    for name, recipe in recipes.items():
        held_out = [
            fit_decoder(cropped(epochs.select(fold.fit_on), recipe), recipe, seed=seed)[0].decode(
                cropped(epochs.select(fold.score_on), recipe).x_uv
            )
            for fold in folds
        ]
        raw[name] = _gathered(dict(enumerate(held_out)), blocks, len(epochs))
    choice = rank(recipes, raw, epochs.labels, blocks, average=config.search.average)[0]
    return Decoder(*fit_choice(epochs, recipes, choice, seed=seed))


def cropped(epochs: Epochs, config: TrainConfig) -> Epochs:
    """Return the part of the trials that is the window of `config`."""
    return epochs if config.trials.window_ms is None else epochs.crop(*config.trials.window_ms)


# -- fits ----------------------------------------------------------------------------------------------------------


def _one_repeat(epochs: Epochs, config: TrainConfig, *, seed: int) -> list[Split]:
    evaluation = replace(config.evaluation, folds=config.evaluation.folds or _FOLDS, repeats=1)
    return splits(epochs, evaluation, seed=seed)


_FOLDS = 5  # to choose on, if evaluation.folds = 0


def _tasks(recipes: _Recipes, folds: Sequence[Split]) -> list[tuple[str, _Blocks, Index]]:
    """Return each fit: the candidate, the blocks that it leaves out, and the trials that it is fitted on."""
    left_out: list[_Blocks] = [*combinations(range(len(folds)), 1), *combinations(range(len(folds)), 2)]
    fit_on = {
        blocks: np.array(sorted(set.intersection(*(set(folds[block].fit_on.tolist()) for block in blocks))))
        for blocks in left_out
    }
    return [(name, blocks, fit_on[blocks]) for name in recipes for blocks in left_out]


def _fit_all(
    epochs: Epochs,
    recipes: _Recipes,
    folds: Sequence[Split],
    *,
    seed: int,
    n_workers: int,
    advance: Callable[[int], None],
) -> dict[str, dict[_Blocks, dict[int, _Probs]] | str]:
    """Return the probabilities of each candidate for the blocks that its decoders left out, or why there are none."""
    from joblib import Parallel, delayed, parallel_config

    tasks = _tasks(recipes, folds)
    with ExitStack() as stack:
        counts: list[Callable[[int], None]] = [advance] * len(tasks)
        if n_workers > 1:
            counts = [*stack.enter_context(counters(len(tasks), advance))]
            stack.enter_context(parallel_config("loky", n_jobs=n_workers, inner_max_num_threads=1))
        fits = (
            delayed(_score_blocks)(
                epochs, recipes[name], fit_on, [folds[b].score_on for b in blocks], seed=seed, advance=count
            )
            for (name, blocks, fit_on), count in zip(tasks, counts, strict=True)
        )
        finished = Parallel(n_jobs=n_workers, batch_size=1)(fits)
    found: dict[str, dict[_Blocks, dict[int, _Probs]] | str] = {name: {} for name in recipes}
    for (name, blocks, _), probs in zip(tasks, finished, strict=True):
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


# -- candidates ----------------------------------------------------------------------------------------------------


def _check(epochs: Epochs, config: TrainConfig) -> None:
    """Refuse a recipe that cannot be fitted on these trials, or that no bundle can hold."""
    manifest = make_manifest(epochs, config, seed=0)
    refused = refusal(manifest)
    if refused:
        raise UsageError(refused)
    fir = make_fir(config, manifest.scaling, sfreq_hz=epochs.sfreq_hz, n_window=epochs.n_samples)
    make_estimator(config, manifest.scaling, like=epochs, seed=0, fir=fir)


def _windows(config: TrainConfig) -> list[tuple[str, TrialsConfig]]:
    """Return the settings of [trials] for each window to look at, and what they add to a candidate's name."""
    if not config.search.window:
        return [("", config.trials)]
    return [
        (f", {start_ms:g} to {end_ms:g} ms", replace(config.trials, window_ms=(start_ms, end_ms)))
        for start_ms, end_ms in config.search.window_ms
    ]


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


def _gathered(of_block: Mapping[int, _Probs], blocks: Sequence[Index], n_trials: int) -> _Probs:
    """Put the probabilities of each block in their places; those of other trials are NaN."""
    n_classes = next(iter(of_block.values())).shape[1]
    probs = np.full((n_trials, n_classes), np.nan)
    for block, each in of_block.items():
        probs[blocks[block]] = each
    return probs


def _pair(first: int, second: int) -> _Blocks:
    return (min(first, second), max(first, second))
