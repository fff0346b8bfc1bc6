"""How often the decoder is right, as far as markers tell: which verdict belongs to which true marker. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from pretap_realtime.signal.chunk import Cue

__all__ = ["Judged", "Truths", "class_of", "lead_s"]

_TAP_LEAD_S: Final = 0.13  # windows end so long before the tap: what comes later is the movement, no prediction
_OLDEST_S: Final = 0.5  # a verdict before that belongs to no marker
_PATIENCE_S: Final = 1.0  # markers and verdicts come by different roads
_NEAR_S: Final = 0.006  # a window that a cue asked for ends within half a sample of it


class Judged(msgspec.Struct, frozen=True):
    """A true marker at `t` of class `truth`, and what was said before it: `label` is ``none`` without a verdict."""

    t: float
    truth: str
    label: str
    right: bool
    lead: float  # seconds before the marker of which the verdict had to be


def class_of(text: str, classes: Sequence[str]) -> str | None:
    """Give the class that a marker's text names: ``trial/3/end/left``, ``tap/left``; not ``.../start/left``."""
    parts = text.split("/")
    return parts[-1] if parts[-1] in classes and "start" not in parts else None


def lead_s(text: str) -> float:
    """Give how long before a true marker the decoder had to know: 0 at the end of a trial, 130 ms before a tap."""
    return 0.0 if text.startswith("trial/") else _TAP_LEAD_S


class Truths:
    """Compares markers that tell the class with the last verdict before each (of at most half a second ago)."""

    def __init__(self) -> None:
        self._pending: deque[tuple[Cue, str, float]] = deque(maxlen=256)  # marker, class, when it came
        self._verdicts: deque[tuple[float, str]] = deque(maxlen=4096)
        self.n = self.n_right = self.n_none = 0

    def add_marker(self, marker: Cue, classes: Sequence[str], *, now_s: float) -> None:
        truth = class_of(marker.text, classes)
        if truth is not None:
            self._pending.append((marker, truth, now_s))

    def add_verdict(self, t_s: float, label: str) -> None:
        self._verdicts.append((t_s, label))

    def judge(self, *, now_s: float) -> list[Judged]:
        """Give the markers that can be judged now: a verdict after them has come, or none will."""
        judged = []
        while self._pending:
            marker, truth, arrived_s = self._pending[0]
            lead = lead_s(marker.text)
            wanted_s = marker.t_s - lead
            newest_s = self._verdicts[-1][0] if self._verdicts else float("-inf")
            if newest_s < wanted_s - _NEAR_S and now_s - arrived_s < _PATIENCE_S:
                break
            self._pending.popleft()
            label = self._said(until_s=wanted_s + _NEAR_S)
            right = label == truth
            self.n += 1
            self.n_right += right
            self.n_none += label == "none"
            judged.append(Judged(marker.t_s, truth, label, right, lead))
        return judged

    def _said(self, *, until_s: float) -> str:
        """Give the label of the last verdict up to a moment."""
        for t_s, label in reversed(self._verdicts):
            if t_s <= until_s:
                return label if until_s - t_s <= _OLDEST_S else "none"
        return "none"
