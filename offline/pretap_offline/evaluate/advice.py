"""Advice: explains a cross-validated accuracy to a user who wants to go live. Used by training and evaluation."""

from __future__ import annotations

from pretap.bundle.manifest import Metrics, describe_chance

_SIGNIFICANT = 0.05
_WEAK = 0.3  # of the way from chance to perfection: 0.65 with two equal classes


def is_above_chance(metrics: Metrics) -> bool:
    """Whether the accuracy is significantly above chance; otherwise a learning curve cannot be extrapolated."""
    return metrics.p_chance < _SIGNIFICANT


def advice(accuracy: float, *, chance: float, p_chance: float) -> str:
    """Return whether going live makes sense, given the accuracy of always predicting the commonest class."""
    if not p_chance < _SIGNIFICANT:
        return (
            f"not distinguishable from chance (p = {p_chance:.2f}): do not go live yet; check electrodes and markers, "
            "or record more"
        )
    if accuracy < chance + _WEAK * (1 - chance):
        return (
            f"above chance but weak: expect about {_odds(accuracy)} right, while guessing gets {_odds(chance)}; "
            "record more, or improve the contact of the electrodes, before going live"
        )
    return f"going live makes sense: expect about {_odds(accuracy)} right"


def describe(metrics: Metrics) -> str:
    """Return the scores of a cross-validation in a few lines, the advice last."""
    m = metrics
    lines = [
        f"accuracy {m.describe_accuracy()}: {m.protocol}",
        f"chance {describe_chance(m.chance, m.p_chance)}",
    ]
    if abs(m.balanced_accuracy - m.accuracy) >= 0.005:
        lines.append(f"balanced accuracy {m.balanced_accuracy:.3f} (every class has the same weight)")
    if m.learning_curve:
        curve = ", ".join(f"{n} trials {accuracy:.3f}" for n, accuracy in m.learning_curve)
        lines += [f"learning curve: {curve}", *([m.outlook] if m.outlook else [])]
    return "\n".join([*lines, m.verdict])


def _odds(share: float) -> str:
    n = min(19, round(20 * share))
    return f"{n // 2} of 10" if n % 2 == 0 else f"{n} of 20"
