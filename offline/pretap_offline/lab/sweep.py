"""Search for a recipe, with an estimate from nested cross-validation. Used by ``pretap sweep``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from optuna.storages import BaseStorage

from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.spelling import counted
from pretap_offline.evaluate.calibration import cross_fitted, fit_temperature, with_temperature
from pretap_offline.evaluate.cross_validation import gather
from pretap_offline.evaluate.folds import Split, splits
from pretap_offline.evaluate.metrics import score
from pretap_offline.lab.bench import Bench
from pretap_offline.lab.compare import Run, setting_of, trials_of
from pretap_offline.lab.fits import code_version, recipe
from pretap_offline.lab.results import Chosen, Setting, Sweep
from pretap_offline.lab.space import Space
from pretap_offline.lab.study import Study
from pretap_offline.lab.summary import summarise

Index = NDArray[np.int64]
Probs = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Search:
    """One study on the training part of the fold `outer`, which may be all trials.

    The folds of `inner` hold indices into this part.
    """

    study: Study
    outer: Split
    inner: list[Split]

    def folds(self) -> list[Split]:
        """Return the inner folds as indices of all trials; their networks have the seed of the outer repeat."""
        on, repeat = self.outer.fit_on, self.outer.repeat
        return [Split(repeat, on[each.fit_on], on[each.score_on]) for each in self.inner]


def configs_of(space: Space) -> list[TrainConfig]:
    """Return recipes that cover all rates and ways to split in the space."""
    axes = space.axes.items()
    return [space.base, *(space.config({key: value}) for key, axis in axes for value in axis.extremes())]


def n_steps(bench: Bench, *, n_trials: int) -> int:
    """Return the number of steps of a sweep: the trials of all studies, and the outer fits."""
    n_outer = bench.evaluation.folds * bench.evaluation.repeats
    return (n_outer + 1) * n_trials + n_outer


def sweep(
    bench: Bench,
    space: Space,
    run: Run,
    storage: BaseStorage,
    *,
    n_trials: int,
    n_inner: int,
    advance: Callable[[], None],
) -> Sweep:
    """Search on the inner folds of every outer fold, and on all trials; score each choice on its outer fold.

    All studies advance together, one trial of each at a time, so that many workers are busy. If `bench.evaluation` has
    0 folds, the nested estimate is left out. `advance` is called for each finished step of `n_steps`. A trial whose
    values cannot be combined is never chosen.

    Raises
    ------
    UsageError
        Before the first fit, if the base recipe with one value of one key cannot be built for these trials.
    """
    _check_values(bench, space)
    searches = _searches(bench, space, storage, n_inner=n_inner)
    for number in range(n_trials):
        unfinished = [each for each in searches if each.study.n_finished <= number]
        _one_trial_each(bench, space, run, unfinished)
        for _ in searches:
            advance()
    *outer, whole = searches
    chosen, decoded = _score_choices(bench, space, run, outer, n_trials=n_trials)
    for _ in outer:
        advance()
    probs = gather([each.outer for each in outer], decoded, n_trials=len(bench.trials)) if outer else None
    best = whole.study.best(n_trials)
    assert best.nll is not None
    return Sweep(
        trials=trials_of(bench),
        setting=_setting(bench, n_trials=n_trials, n_inner=n_inner),
        space=space.content(),
        nested=None if probs is None else summarise(bench.labels, probs, seed=bench.seed),
        chosen=tuple(chosen),
        probs=[] if probs is None else probs.tolist(),
        tried=whole.study.tried(n_trials),
        values=best.values,
        nll=best.nll,
        config=msgspec.to_builtins(space.config(best.values)),
    )


def _check_values(bench: Bench, space: Space) -> None:
    for key, axis in space.axes.items():
        for value in axis.extremes():
            try:
                bench.check(space.config({key: value}))
            except UsageError as error:
                raise UsageError(f"[space] {key} = {json.dumps(value)}: {error}") from None


def _searches(bench: Bench, space: Space, storage: BaseStorage, *, n_inner: int) -> list[_Search]:
    """Draw all folds; the search on all trials comes last."""
    outer = bench.folds() if bench.evaluation.folds else []
    everything = Split(0, np.arange(len(bench.trials)), np.arange(0))
    searches = []
    for fold in [*outer, everything]:
        how = (fold.fit_on.tolist(), n_inner, bench.evaluation.split, bench.seed, fold.repeat)
        search = _digest(space.content(), recipe(space.base), how)
        # The name covers everything that results depend on, so another search gets its own study in the same file. The
        # sampler's seed depends on the space and the folds only: not on other studies, nor on held-out samples.
        name = _digest(search, sorted(bench.sha256.values()), code_version())
        study = Study(name, space, storage, seed=int(search[:8], 16))
        searches.append(_Search(study, fold, _inner(bench, fold.fit_on, n_inner=n_inner)))
    return searches


def _inner(bench: Bench, on: Index, *, n_inner: int) -> list[Split]:
    """Split the trials `on`; the folds hold indices into `on`."""
    trials = bench.trials.select(on)
    assert trials.labels is not None
    counts = np.bincount(trials.labels, minlength=len(trials.classes))
    if counts.min() < n_inner:
        raise DataError(
            f"{trials.source}: {n_inner} inner folds need as many trials of each class, but an outer fold leaves "
            f"{counts.min()}. Lower --inner-folds, or record more trials."
        )
    return splits(trials, replace(bench.evaluation, folds=n_inner, repeats=1), seed=bench.seed)


def _digest(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _one_trial_each(bench: Bench, space: Space, run: Run, searches: list[_Search]) -> None:
    built = []
    for search in searches:
        trial, values = search.study.ask()
        try:
            config = space.config(values)
            bench.check(config)
        except UsageError as error:
            search.study.tell(trial, None, fault=str(error))
        else:
            built.append((search, trial, config))
    inner = _inner_probs(bench, run, [(search, config) for search, _, config in built])
    for (search, trial, config), probs in zip(built, inner, strict=True):
        search.study.tell(trial, None if probs is None else _nll(bench, search, config, probs))


def _inner_probs(bench: Bench, run: Run, wanted: list[tuple[_Search, TrainConfig]]) -> list[Probs | None]:
    """Return the out-of-fold probabilities (n_on, n_classes) of each search, or None if training diverged."""
    fits = [fit for search, config in wanted for fit in bench.fits(config, search.folds())]
    finished = iter(run(fits))
    found: list[Probs | None] = []
    for search, _ in wanted:
        fitted = list(islice(finished, len(search.inner)))
        diverged = any(each.error for each in fitted)
        decoded = (each.probs for each in fitted)
        found.append(None if diverged else gather(search.inner, decoded, n_trials=len(search.outer.fit_on))[0])
    return found


def _nll(bench: Bench, search: _Search, config: TrainConfig, probs: Probs) -> float:
    labels = bench.labels[search.outer.fit_on]
    if config.fit.calibrate:
        probs = cross_fitted(probs, labels, [fold.score_on for fold in search.inner])
    return score(labels, probs).nll


def _score_choices(
    bench: Bench, space: Space, run: Run, searches: list[_Search], *, n_trials: int
) -> tuple[list[Chosen], list[Probs]]:
    """Refit the choice of each outer fold, with the temperature of its inner folds, and score the held-out trials."""
    best = [each.study.best(n_trials) for each in searches]
    configs = [space.config(each.values) for each in best]
    inner = _inner_probs(bench, run, list(zip(searches, configs, strict=True)))  # read from the store
    fits = [fit for config, each in zip(configs, searches, strict=True) for fit in bench.fits(config, [each.outer])]
    chosen, decoded = [], []
    for number, (search, trial, config, own, each) in enumerate(
        zip(searches, best, configs, inner, run(fits), strict=True)
    ):
        fold = search.outer
        if own is None or each.error:
            raise DataError(f"The choice of repeat {fold.repeat} diverged on its outer fold: {each.error}")
        temperature = fit_temperature(own, bench.labels[fold.fit_on]) if config.fit.calibrate else 1.0
        held_out = with_temperature(np.array(each.probs), temperature)
        decoded.append(held_out)
        scores = score(bench.labels[fold.score_on], held_out)
        assert trial.nll is not None
        number_in_repeat = number % bench.evaluation.folds
        chosen.append(
            Chosen(fold.repeat, number_in_repeat, trial.values, trial.nll, temperature, scores.accuracy, scores.nll)
        )
    return chosen, decoded


def _setting(bench: Bench, *, n_trials: int, n_inner: int) -> Setting:
    setting = setting_of(bench)
    search = f"{counted(n_trials, 'trial')} of TPE on {n_inner} inner folds by calibrated NLL"
    if not bench.evaluation.folds:
        return replace(setting, protocol=f"{search} of all trials, from seed {bench.seed}: a choice, not an estimate")
    return replace(setting, protocol=f"nested: {setting.protocol}; in each outer fold's training part {search}")
