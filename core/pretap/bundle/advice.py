"""Advice on going live, from a cross-validated accuracy. Used by training and `inspect`."""

from __future__ import annotations

import math

from pretap.spelling import counted

MIN_TRIALS = 40  # with 36 of 40 correct, the 95 % interval reaches from 0.77 to 0.96; with fewer it says little
_SIGNIFICANT = 0.05
_WEAK = 0.3  # of the way from chance to perfection: 0.65 with two equal classes


def is_significant(p_chance: float) -> bool:
    """Whether an accuracy is significantly above chance."""
    return p_chance < _SIGNIFICANT


def is_worthwhile(accuracy: float, *, interval95: tuple[float, float], chance: float, p_chance: float) -> bool:
    """Whether an accuracy is significantly above chance, and not weak."""
    is_weak = accuracy < chance + _WEAK * (1 - chance) or _twentieths(interval95[0]) <= _twentieths(chance)
    return is_significant(p_chance) and not is_weak


def advice(accuracy: float, *, n_trials: int, interval95: tuple[float, float], chance: float, p_chance: float) -> str:
    """Return whether going live makes sense, and the lower end of what to expect.

    `chance` is the accuracy of always predicting the commonest class, and `interval95` that of `accuracy`.
    """
    if n_trials < MIN_TRIALS:
        so_far = "above chance" if is_significant(p_chance) else f"not distinguishable from chance (p = {p_chance:.2f})"
        return (
            f"{counted(n_trials, 'trial')} can promise nothing yet: so far the accuracy is {so_far}; record at least "
            f"{MIN_TRIALS - n_trials} more before going live"
        )
    if not is_significant(p_chance):
        return (
            f"not distinguishable from chance (p = {p_chance:.2f}): do not go live yet; check electrodes and markers, "
            "or record more"
        )
    expected = f"expect at least about {_odds(interval95[0])} correct"
    if not is_worthwhile(accuracy, interval95=interval95, chance=chance, p_chance=p_chance):
        return (
            f"above chance but weak: {expected}, while guessing gets {_odds(chance)}; "
            "record more, or improve the contact of the electrodes, before going live"
        )
    return f"going live makes sense: {expected}"


def _twentieths(share: float) -> int:
    return min(19, math.floor(20 * share + 1e-9))


def _odds(share: float) -> str:
    n = _twentieths(share)
    return f"{n // 2} of 10" if n % 2 == 0 else f"{n} of 20"
