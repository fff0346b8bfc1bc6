"""Means over the heads of a group, and paired differences from the first recipe. Used by `study`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretap_offline.evaluate.metrics import wilson95
from pretap_offline.lab.heads.protocols import PROTOCOLS
from pretap_offline.lab.heads.results import GroupScore, HeadScore, Verdicts


def group_scores(scores: Sequence[HeadScore], *, recipes: Sequence[str]) -> tuple[GroupScore, ...]:
    """Return the mean of every recipe over the heads of each group, by protocol.

    Means are over the heads on which every recipe was fitted, so that all are compared on the same ones. A recipe that
    was fitted on no head of a group is left out there.
    """
    by_place = {(each.group, each.protocol, each.recipe, each.head): each for each in scores if not each.error}
    found = []
    for group in dict.fromkeys(each.group for each in scores):
        for protocol in PROTOCOLS:
            heads = dict.fromkeys(each.head for each in scores if (each.group, each.protocol) == (group, protocol))
            fitted = [name for name in recipes if any((group, protocol, name, head) in by_place for head in heads)]
            whole = [head for head in heads if all((group, protocol, name, head) in by_place for name in fitted)]
            if not whole:
                continue
            own = {name: [by_place[group, protocol, name, head] for head in whole] for name in fitted}
            found += [_mean(each, own.get(recipes[0])) for each in own.values()]
    return tuple(found)


def _mean(own: list[HeadScore], first: list[HeadScore] | None) -> GroupScore:
    n_scored = sum(each.n_scored for each in own)
    accuracy = float(np.mean([each.accuracy for each in own]))
    gains = [a.accuracy - b.accuracy for a, b in zip(own, first or [], strict=first is not None)]
    nll_gains = [a.nll - b.nll for a, b in zip(own, first or [], strict=first is not None)]
    return GroupScore(
        recipe=own[0].recipe,
        group=own[0].group,
        protocol=own[0].protocol,
        n_heads=len(own),
        accuracy=accuracy,
        accuracy_ci95=wilson95(round(accuracy * n_scored), n_scored),
        accuracy_se=_standard_error([each.accuracy for each in own]),
        nll=float(np.mean([each.nll for each in own])),
        gain=float(np.mean(gains)) if gains else None,
        gain_se=_standard_error(gains),
        nll_gain=float(np.mean(nll_gains)) if nll_gains else None,
        nll_gain_se=_standard_error(nll_gains),
        verdicts=sum((each.verdicts for each in own), Verdicts()),
    )


def _standard_error(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
