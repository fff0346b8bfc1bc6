"""From a decision to a verdict: pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pretap_realtime.chunk import Decision

__all__ = ["NONE", "Verdict", "decide"]

NONE = "none"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A class name, or ``none``; `code` is the class index + 1, or 0."""

    label: str
    code: int


def decide(decision: Decision, classes: Sequence[str], *, threshold: float) -> Verdict:
    """Name the likeliest class where its probability reaches `threshold`; a tie goes to the first class."""
    if decision.probs is None:
        return Verdict(NONE, 0)
    probs = decision.probs.tolist()
    highest = max(probs)
    if highest < threshold:
        return Verdict(NONE, 0)
    best = probs.index(highest)
    return Verdict(classes[best], best + 1)
