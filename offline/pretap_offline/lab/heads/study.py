"""Comparison over heads: plans the fits of every recipe, head and protocol, and scores them. Used by `run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.advice import MIN_TRIALS, is_worthwhile
from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.epochs import Epochs, join
from pretap.spelling import counted
from pretap_offline.evaluate.calibration import with_temperature
from pretap_offline.evaluate.cross_validation import calibrated, gather
from pretap_offline.evaluate.folds import Split
from pretap_offline.evaluate.metrics import Scores, against_chance, score, wilson95
from pretap_offline.lab.bench import Bench, set_up
from pretap_offline.lab.compare import Run
from pretap_offline.lab.fits import Fit, Fitted, code_version, versions
from pretap_offline.lab.heads.config import Group
from pretap_offline.lab.heads.protocols import Protocol, few_splits, head_splits, session_splits
from pretap_offline.lab.heads.reading import HeadReader
from pretap_offline.lab.heads.results import GroupFacts, HeadComparison, HeadScore, Verdicts
from pretap_offline.lab.heads.summary import group_scores
from pretap_offline.trials.report import describe_counts

Scored = tuple[float, float, Verdicts]
"""Accuracy, NLL and verdicts."""


@dataclass(frozen=True, eq=False)
class _Task:
    """The fits of one recipe on one head by one protocol."""

    recipe: str
    config: TrainConfig
    group: str
    head: str
    protocol: Protocol
    bench: Bench
    folds: list[Split]

    def fits(self) -> Iterator[Fit]:
        return self.bench.fits(self.config, self.folds, validate=self.protocol != "blocks")


@dataclass(eq=False)
class HeadPlan:
    """All fits of a comparison over heads, and what was noted while reading."""

    folds: int
    repeats: int
    seed: int
    recipes: tuple[str, ...] = ()
    tasks: list[_Task] = field(default_factory=list)
    groups: list[GroupFacts] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fits(self) -> list[Fit]:
        """Return every fit, task by task; `compare_heads` reads the results in the same order."""
        return [fit for task in self.tasks for fit in task.fits()]

    def data(self) -> dict[str, Epochs]:
        """Return the trials by sha256, as `open_laboratory` takes them."""
        return {sha256: epochs for task in self.tasks for sha256, epochs in task.bench.data.items()}

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)


def plan_heads(
    reader: HeadReader,
    recipes: Mapping[str, TrainConfig],
    protocols: Sequence[Protocol],
    *,
    folds: int,
    repeats: int,
    seed: int,
) -> HeadPlan:
    """Read all heads, and draw the folds of every recipe, head and protocol that the head has enough trials for."""
    planned = HeadPlan(folds, repeats, seed, tuple(recipes))
    for group in reader.heads.group:
        facts: dict[str, str] = {}
        for recipe, config in recipes.items():
            benches = {}
            for head in group.head:
                trials = reader.read(config, group, head)
                facts.setdefault(head.name, _describe(trials))
                bench = set_up(trials, [config], folds=folds, repeats=repeats, seed=seed)
                try:
                    bench.check(config)
                except UsageError as error:
                    planned.note(f"{group.name}, {head.name}: {recipe} is left out. {error}")
                    continue
                benches[head.name] = bench
                for protocol, own in _own_folds(bench, protocols).items():
                    planned.tasks.append(_Task(recipe, config, group.name, head.name, protocol, bench, own))
            if "heads" in protocols:
                _plan_transfer(planned, group, recipe, config, benches)
        planned.groups.append(GroupFacts(group.name, group.source, facts))
    return planned


def compare_heads(planned: HeadPlan, run: Run) -> HeadComparison:
    """Run the fits and return aggregates of their results."""
    finished = iter(run(planned.fits()))
    scores = [_score(task, list(islice(finished, sum(1 for _ in task.fits())))) for task in planned.tasks]
    for each in scores:
        if each.error:
            planned.note(f"{each.group}, {each.head}, {each.protocol}, {each.recipe}: a fit failed. {each.error}")
    return HeadComparison(
        recipes=planned.recipes,
        groups=tuple(planned.groups),
        group_scores=group_scores(scores, recipes=planned.recipes),
        head_scores=tuple(scores),
        notes=tuple(planned.notes),
        seed=planned.seed,
        folds=planned.folds,
        repeats=planned.repeats,
        code=code_version(),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


# -- plan ----------------------------------------------------------------------------------------------------------


def _own_folds(bench: Bench, protocols: Sequence[Protocol]) -> dict[Protocol, list[Split]]:
    """Return the folds of each protocol within a head; protocols that need more trials or sessions are left out."""
    found: dict[Protocol, list[Split]] = {"blocks": bench.folds() if "blocks" in protocols else []}
    found["sessions"] = session_splits(bench.trials)
    found |= {name: [fold] for name, fold in few_splits(bench.trials).items()}
    return {name: folds for name, folds in found.items() if folds and name in protocols}


def _plan_transfer(
    planned: HeadPlan, group: Group, recipe: str, config: TrainConfig, benches: Mapping[str, Bench]
) -> None:
    """Add the fits from head to head, on the channels that all heads of the group have."""
    if len(benches) < 2:
        return
    trials = [bench.trials for bench in benches.values()]
    common = tuple(name for name in trials[0].channels if all(name in each.channels for each in trials))
    try:
        joined = join([each.pick(common) for each in trials]) if common else None
    except DataError as error:
        planned.note(f"{group.name}: no transfer from head to head, because they cannot be joined. {error}")
        return
    if joined is None:
        planned.note(f"{group.name}: no transfer from head to head, because no channel is common to all heads.")
        return
    if any(len(each.channels) > len(common) for each in trials):
        planned.note(f"{group.name}: from head to head with {counted(len(common), 'channel')} that all heads have.")
    bench = set_up(joined, [config], folds=planned.folds, repeats=planned.repeats, seed=planned.seed)
    for head, fold in zip(benches, head_splits([len(each) for each in trials]), strict=True):
        planned.tasks.append(_Task(recipe, config, group.name, head, "heads", bench, [fold]))


def _describe(trials: Epochs) -> str:
    assert trials.labels is not None
    n_sessions = 1 if trials.files is None else len(np.unique(trials.files))
    counts = np.bincount(trials.labels, minlength=len(trials.classes))
    return (
        f"{counted(len(trials), 'trial')} ({describe_counts(counts, trials.classes)}), "
        f"{counted(n_sessions, 'session')}, {counted(len(trials.channels), 'channel')}, {trials.sfreq_hz:g} Hz, "
        f"{trials.n_samples} samples to {trials.window_end_ms:g} ms"
    )


# -- scores --------------------------------------------------------------------------------------------------------


def _score(task: _Task, fitted: list[Fitted]) -> HeadScore:
    if errors := [each.error for each in fitted if each.error]:
        return HeadScore(task.recipe, task.group, task.head, task.protocol, error=errors[0])
    how: Callable[[_Task, list[Fitted]], Scored] = _score_blocks if task.protocol == "blocks" else _score_validated
    accuracy, nll, verdicts = how(task, fitted)
    n_scored = sum(len(fold.score_on) for fold in task.folds) // (task.folds[-1].repeat + 1)
    return HeadScore(
        task.recipe,
        task.group,
        task.head,
        task.protocol,
        n_fitted=float(np.mean([len(fold.fit_on) for fold in task.folds])),
        n_scored=n_scored,
        accuracy=accuracy,
        accuracy_ci95=wilson95(round(accuracy * n_scored), n_scored),
        nll=nll,
        verdicts=verdicts,
        fit_s=float(np.median([each.fit_s for each in fitted])),
    )


def _score_blocks(task: _Task, fitted: list[Fitted]) -> Scored:
    """Score a cross-validation as `compare` does, with temperatures fitted across its folds."""
    labels = task.bench.labels
    probs = gather(task.folds, [each.probs for each in fitted], n_trials=len(labels))
    if task.config.fit.calibrate:
        probs = calibrated(probs, labels, task.folds)[0]
    scores = [score(labels, each) for each in probs]
    return float(np.mean([each.accuracy for each in scores])), float(np.mean([each.nll for each in scores])), Verdicts()


def _score_validated(task: _Task, fitted: list[Fitted]) -> Scored:
    """Score decoders that were validated on the trials they were fitted on: with their temperature and verdict."""
    labels = [task.bench.labels[fold.score_on] for fold in task.folds]
    probs = [with_temperature(np.asarray(each.probs, np.float64), each.temperature) for each in fitted]
    verdicts = Verdicts()
    for own, decoded, each in zip(labels, probs, fitted, strict=True):
        verdicts += _verdict(each, own, score(own, decoded))
    whole = score(np.concatenate(labels), np.concatenate(probs))
    return whole.accuracy, whole.nll, verdicts


def _verdict(fitted: Fitted, labels: NDArray[np.int64], scored: Scores) -> Verdicts:
    """Return whether the verdict from the trials fitted on was right; none if either trials are too few to judge."""
    found = fitted.metrics
    if found is None or min(found.n_trials, scored.n_trials) < MIN_TRIALS:
        return Verdicts()
    is_go = is_worthwhile(found.accuracy, interval95=found.accuracy_ci95, chance=found.chance, p_chance=found.p_chance)
    chance, p_chance = against_chance(scored.n_correct, np.bincount(labels).tolist())
    was_worthwhile = is_worthwhile(scored.accuracy, interval95=scored.accuracy_ci95, chance=chance, p_chance=p_chance)
    return Verdicts(
        go_right=int(is_go and was_worthwhile),
        go_wrong=int(is_go and not was_worthwhile),
        no_go_right=int(not is_go and not was_worthwhile),
        no_go_wrong=int(not is_go and was_worthwhile),
    )
