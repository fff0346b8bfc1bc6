"""Advice: explains a cross-validated accuracy to a user who wants to go live. Used by training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pretap.bundle.manifest import Metrics, describe_chance
from pretap_offline.evaluate.metrics import describe_confusion

MIN_TRIALS = 40  # with 36 of 40 correct, the 95 % interval reaches from 0.77 to 0.96; with fewer it says little
_SIGNIFICANT = 0.05
_WEAK = 0.3  # of the way from chance to perfection: 0.65 with two equal classes


def is_above_chance(metrics: Metrics) -> bool:
    """Whether the accuracy is significantly above chance; otherwise a learning curve cannot be extrapolated."""
    return metrics.p_chance < _SIGNIFICANT


def advice(accuracy: float, *, n_trials: int, interval95: tuple[float, float], chance: float, p_chance: float) -> str:
    """Return whether going live makes sense, and the lower end of what to expect.

    `chance` is the accuracy of always predicting the commonest class, and `interval95` that of `accuracy`.
    """
    is_significant = p_chance < _SIGNIFICANT
    if n_trials < MIN_TRIALS:
        so_far = "above chance" if is_significant else f"not distinguishable from chance (p = {p_chance:.2f})"
        return (
            f"{n_trials} trials can promise nothing yet: so far the accuracy is {so_far}; record at least "
            f"{MIN_TRIALS - n_trials} more before going live"
        )
    if not is_significant:
        return (
            f"not distinguishable from chance (p = {p_chance:.2f}): do not go live yet; check electrodes and markers, "
            "or record more"
        )
    expected = f"expect at least about {_odds(interval95[0])} correct"
    if accuracy < chance + _WEAK * (1 - chance):
        return (
            f"above chance but weak: {expected}, while guessing gets {_odds(chance)}; "
            "record more, or improve the contact of the electrodes, before going live"
        )
    return f"going live makes sense: {expected}"


def describe(metrics: Metrics, classes: Sequence[str]) -> str:
    """Return the scores of a cross-validation in a few lines, the advice last."""
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
        curve = ", ".join(f"{n} trials {accuracy:.3f}" for n, accuracy in m.learning_curve)
        lines += [f"learning curve: {curve}", *([m.outlook] if m.outlook else [])]
    return "\n".join([*lines, m.verdict])


def _odds(share: float) -> str:
    n = min(19, math.floor(20 * share + 1e-9))
    return f"{n // 2} of 10" if n % 2 == 0 else f"{n} of 20"
