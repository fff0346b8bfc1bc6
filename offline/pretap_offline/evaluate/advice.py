"""Describes a cross-validation to a user who wants to go live. Used by training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from pretap.bundle.advice import is_significant
from pretap.bundle.manifest import Metrics, Training, describe_chance
from pretap.spelling import counted
from pretap_offline.evaluate.metrics import describe_confusion


def is_above_chance(metrics: Metrics) -> bool:
    """Whether the accuracy is significantly above chance; otherwise a learning curve cannot be extrapolated."""
    return is_significant(metrics.p_chance)


def describe(metrics: Metrics, classes: Sequence[str]) -> str:
    """Return the scores of a cross-validation in a few lines, the advice and the findings last."""
    m = metrics
    lines = [
        f"accuracy {m.describe_accuracy()}: {m.protocol}",
        f"chance {describe_chance(m.chance, m.p_chance)}",
    ]
    if abs(m.balanced_accuracy - m.accuracy) >= 0.005:
        lines.append(f"balanced accuracy {m.balanced_accuracy:.3f} (every class has the same weight)")
    n_repeats = sum(map(sum, m.confusion)) // m.n_trials
    repeats = f", {n_repeats} repeats added up" if n_repeats > 1 else ""
    lines += [f"true classes in rows, decoded in columns{repeats}:", *describe_confusion(m.confusion, classes)]
    if m.learning_curve:
        curve = ", ".join(f"{counted(n, 'trial')} {accuracy:.3f}" for n, accuracy in m.learning_curve)
        lines += [f"learning curve: {curve}", *([m.outlook] if m.outlook else [])]
    if m.pooling:
        lines.append(m.pooling)
    return "\n".join([*lines, m.verdict, *m.findings])


def describe_choice(training: Training, *, why: bool) -> str:
    """Return which candidate was chosen; with `why`, a table of all candidates and what could not be fitted."""
    best = training.candidates[0]
    lines = [f"chosen: {best.name}, the lowest NLL of {counted(len(training.candidates), 'candidate')}"]
    if not why:
        lines[0] += " (--why lists them)"
        return lines[0]
    width = max(len(each.name) for each in training.candidates)
    lines.append(f"  {'candidate':<{width}}    NLL  accuracy  chosen in")
    lines += [
        f"  {each.name:<{width}}  {each.nll:.3f}     {each.accuracy:.3f}  {counted(each.n_chosen, 'fold')}"
        for each in training.candidates
    ]
    lines += [f"  {name}: not fitted. {reason}" for name, reason in training.refused.items()]
    lines.append(
        "The best of many is too good: expect the nested accuracy below, which repeats the choice in each fold."
    )
    return "\n".join(lines)
