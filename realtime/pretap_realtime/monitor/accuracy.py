"""Live accuracy: compares verdicts with the markers that tell the true class. Pure; used by `dashboard`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pretap.recordings.events import matches
from pretap_realtime.signal.chunk import Cue

_TAP_LEAD_S: Final = 0.13  # windows end this long before a tap; later samples contain the movement itself
_MAX_AGE_S: Final = 0.5  # an older verdict does not belong to a marker
_PATIENCE_S: Final = 1.0  # markers and verdicts arrive on different streams
_TOLERANCE_S: Final = 0.006  # a window that a cue asked for ends within half a sample of the cue


class JudgedMarker(msgspec.Struct, frozen=True):
    """A marker at `t` of class `truth`, and the verdict before it: `label` is ``none`` if there was none."""

    t: float
    truth: str
    label: str
    right: bool
    lead: float  # seconds between the verdict's deadline and the marker


def true_class(text: str, classes: Sequence[str], events: Mapping[str, Sequence[str]]) -> str | None:
    """Return the class of a marker, None if it has none.

    It is that of the patterns which the marker matches, or the last part of its text, as in ``trial/3/end/left`` or
    ``tap/left``, but not in ``trial/3/start/left``.
    """
    for name, patterns in events.items():
        if name in classes and matches(text, patterns):
            return name
    parts = text.split("/")
    return parts[-1] if parts[-1] in classes and "start" not in parts else None


class LiveAccuracy:
    """Compares markers that tell the class with the last verdict before each, if it is at most half a second old."""

    def __init__(self) -> None:
        self._pending: deque[tuple[Cue, str, float]] = deque(maxlen=256)  # marker, class, arrival time
        self._verdicts: deque[tuple[float, str]] = deque(maxlen=4096)

    def add_marker(self, marker: Cue, truth: str | None, *, now_s: float) -> None:
        """Add a marker of class `truth`, which is None if it names none."""
        if truth is not None:
            self._pending.append((marker, truth, now_s))

    def add_verdict(self, t_s: float, label: str) -> None:
        self._verdicts.append((t_s, label))

    def update(self, *, now_s: float) -> list[JudgedMarker]:
        """Return the markers that can be judged now, because a later verdict has arrived or none is expected."""
        judged = []
        while self._pending:
            marker, truth, arrived_s = self._pending[0]
            lead = 0.0 if marker.text.startswith("trial/") else _TAP_LEAD_S
            deadline_s = marker.t_s - lead
            newest_s = self._verdicts[-1][0] if self._verdicts else float("-inf")
            if newest_s < deadline_s - _TOLERANCE_S and now_s - arrived_s < _PATIENCE_S:
                break
            self._pending.popleft()
            label = self._label_at(deadline_s + _TOLERANCE_S)
            judged.append(JudgedMarker(marker.t_s, truth, label, label == truth, lead))
        return judged

    def _label_at(self, end_s: float) -> str:
        """Return the label of the last verdict up to `end_s`."""
        for t_s, label in reversed(self._verdicts):
            if t_s <= end_s:
                return label if end_s - t_s <= _MAX_AGE_S else "none"
        return "none"
