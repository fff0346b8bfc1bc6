"""What a cross-validated accuracy means for somebody who wants to go live."""

from __future__ import annotations

from pathlib import Path

from pretap.bundle.manifest import Metrics
from pretap.files import write_json
from pretap_offline.trials.report import TrialReport

__all__ = ["chance_words", "is_above_chance", "verdict", "words", "write_report"]

_SIGNIFICANT = 0.05
_WEAK = 0.3  # of the way from chance to perfection: 0.65 with two equal classes


def is_above_chance(metrics: Metrics) -> bool:
    """Say whether there is an accuracy to speak of; without one, what more trials would give cannot be told."""
    return metrics.p_chance < _SIGNIFICANT


def verdict(accuracy: float, *, chance: float, p_chance: float) -> str:
    """Say whether going live makes sense, given the accuracy of always naming the commonest class."""
    if not p_chance < _SIGNIFICANT:
        return (
            f"not distinguishable from chance (p = {p_chance:.2f}): do not go live yet; check electrodes and markers, "
            "or record more"
        )
    if accuracy < chance + _WEAK * (1 - chance):
        return (
            f"above chance but weak: expect about {_odds(accuracy)} right where guessing gets {_odds(chance)}; "
            "record more, or improve the contact of the electrodes, before going live"
        )
    return f"going live makes sense: expect about {_odds(accuracy)} right"


def chance_words(chance: float, p_chance: float) -> str:
    """Say what an accuracy was compared with, how, and how surely it is better."""
    p = f"p = {p_chance:.2g}" if p_chance >= 1e-4 else "p < 0.0001"
    return f"chance {chance:.3f}, the share of the commonest class; {p} (one-sided exact binomial test)"


def words(metrics: Metrics) -> str:
    """Say the figures of a cross-validation in a few lines, the verdict last."""
    m, (low, high) = metrics, metrics.accuracy_ci95
    lines = [
        f"accuracy {m.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}), kappa {m.kappa:.2f}, NLL {m.nll:.3f}: "
        f"{m.protocol}"
    ]
    lines.append(chance_words(m.chance, m.p_chance))
    if abs(m.balanced_accuracy - m.accuracy) >= 0.005:
        lines.append(f"balanced accuracy {m.balanced_accuracy:.3f} (every class counts alike)")
    if m.learning_curve:
        curve = ", ".join(f"{n} trials {accuracy:.3f}" for n, accuracy in m.learning_curve)
        lines += [f"learning curve: {curve}", *([m.outlook] if m.outlook else [])]
    return "\n".join([*lines, m.verdict])


def _odds(share: float) -> str:
    n = min(19, round(20 * share))
    return f"{n // 2} of 10" if n % 2 == 0 else f"{n} of 20"


def write_report(path: Path, *, bundle: Path, trials: TrialReport | None, metrics: Metrics | None) -> None:
    """Write for scripts what `pretap train` says: trials and their losses, figures, verdict."""
    content = {"bundle": str(bundle), "trials": trials, "metrics": metrics}
    write_json(path, content)
