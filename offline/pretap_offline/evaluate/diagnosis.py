"""Names the likely reason if a decoder did not learn: recipe, data or electrodes. Used by training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.advice import is_significant
from pretap.recordings.epochs import Epochs
from pretap.spelling import counted
from pretap_offline.evaluate.metrics import against_chance
from pretap_offline.trials.hand_areas import nearest_to_hands
from pretap_offline.trials.montage import known_positions

_NOT_LEARNED = 0.95  # of the loss of guessing
_BY_HEART = 0.5  # of the loss on trials that were held out
_CLEARLY = 2.0  # standard errors
_MAX_NOISE = 5.0  # robust standard deviations of the log amplitude over channels
_MIN_SPREAD = 0.25
_MIN_CHANNELS = 4  # fewer have no spread to compare with


@dataclass(frozen=True)
class Candidate:
    """The out-of-fold accuracy and NLL of one decoder, and its loss on its training trials if torch trained it."""

    name: str
    accuracy: float
    nll: float
    training_loss: float | None = None


def diagnose(
    chosen: Candidate, others: Sequence[Candidate], *, counts: Sequence[int], electrodes: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return sentences on the likely reason why `chosen` decodes badly; none if nothing is wrong.

    Another decoder is better if its accuracy is above chance and higher by two standard errors of an accuracy; of
    several, the one with the lowest NLL counts.

    Parameters
    ----------
    chosen, others
        The decoder that a bundle will hold, and others that were scored on the same folds.
    counts
        The number of trials of each class.
    electrodes
        What is wrong with the electrodes, see `electrode_faults`.
    """
    n = sum(counts)
    shares = np.array([count / n for count in counts if count])
    guessing = float(-(shares * np.log(shares)).sum())  # the loss of the shares of the classes, in nats
    loss = chosen.training_loss
    learned = (
        "" if loss is None else f", and its loss on its own training trials is {loss:.2f} ({guessing:.2f}: guessing)"
    )
    is_unlearned = loss is not None and loss > _NOT_LEARNED * guessing
    error = np.sqrt(max(chosen.accuracy * (1 - chosen.accuracy), 1 / n) / n)
    better = [
        each for each in others if _is_above_chance(each, counts) and each.accuracy > chosen.accuracy + _CLEARLY * error
    ]
    if better:
        best = min(better, key=lambda each: each.nll)
        remedy = "Check band_hz and [scaling]"
        if is_unlearned:
            remedy = "Raise fit.max_epochs or fit.learning_rate"
        elif loss is not None and loss < _BY_HEART * chosen.nll:
            remedy = "Set fewer epochs or more weight decay in [fit]"
        return (
            f"The recipe is the likely reason, not the data: {best.name} gives {best.accuracy:.2f} on the same folds, "
            f"this decoder {chosen.accuracy:.2f}{learned}. {remedy}, or train another kind.",
        )
    if _is_above_chance(chosen, counts):
        return ()
    if any(_is_above_chance(each, counts) for each in others):
        return ("Another kind of decoder is above chance here, but not clearly better: record more trials.",)
    names = ", ".join([chosen.name, *(each.name for each in others)])
    if electrodes:
        return (
            f"The electrodes are a likely reason: no decoder ({names}) is above chance, and {'; '.join(electrodes)}. "
            "Mend that first, and record again.",
        )
    if is_unlearned or loss is None:
        return (
            f"The data are the likely reason: no decoder ({names}) is above chance{learned}. Check that the markers "
            "belong to the classes, and that trials.window_ms covers the movement.",
        )
    return (
        f"The data are the likely reason: no decoder ({names}) is above chance{learned}, so the network learned its "
        f"{counted(n, 'trial')} by heart. Check markers and trials.window_ms, or record more.",
    )


def electrode_faults(epochs: Epochs) -> tuple[str, ...]:
    """Return what is wrong with the electrodes of trials: none over a hand area, or much noisier than the others."""
    faults = []
    if known_positions(epochs.channels) and len(nearest_to_hands(epochs.channels)) < 2:
        faults.append("an electrode near C3 or C4 is missing")
    x = epochs.x_uv
    logs = np.log(np.maximum(np.median(np.diff(x, axis=1).std(axis=1), axis=0), 1e-6))  # (n_channels,)
    if len(logs) >= _MIN_CHANNELS:
        faults += [f"{epochs.channels[k]} is much noisier than the others" for k in np.flatnonzero(_is_outlier(logs))]
    return tuple(faults)


def _is_outlier(logs: NDArray[np.float32]) -> NDArray[np.bool_]:
    spread = 1.4826 * np.median(np.abs(logs - np.median(logs)))
    return np.asarray(logs > np.median(logs) + _MAX_NOISE * max(spread, _MIN_SPREAD))


def _is_above_chance(candidate: Candidate, counts: Sequence[int]) -> bool:
    _, p = against_chance(round(candidate.accuracy * sum(counts)), counts)
    return is_significant(p)
