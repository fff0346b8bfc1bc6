"""Accuracy: judges verdicts by the class of a cue, or of the markers that come meanwhile. Pure.

Used by `score` and the monitor, so that they show the same figures, and at cues by `serve`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from pretap.recordings.events import matches
from pretap_realtime.decide.cues import TRIAL_ENDS, class_of

_MAX_AGE_S: Final = 0.5  # an older verdict does not belong to a marker
_PATIENCE_S: Final = 1.0  # markers and verdicts arrive on different streams
_TOLERANCE_S: Final = 0.0015  # clocks agree within this; no multiple of 1 ms, so that rounding decides nothing
_MAX_TEXT: Final = 256  # characters of a marker that are compared with patterns


@dataclass
class Tally:
    """Counts of verdicts whose true class is known.

    Attributes
    ----------
    n_judged
        Verdicts on valid windows; an invalid window is no verdict.
    n_correct, n_none
        Those that are the true class, and those that are no class because of the policy.
    """

    n_judged: int = 0
    n_correct: int = 0
    n_none: int = 0

    def add(self, label: str, true_class: str) -> None:
        """Count a verdict on a valid window."""
        self.n_judged += 1
        self.n_correct += label == true_class
        self.n_none += label == "none"


class JudgedMarker(msgspec.Struct, frozen=True):
    """A marker at `t` of class `truth`, and the verdict on it: ``none``, or empty without a valid window."""

    t: float
    truth: str
    label: str
    correct: bool


class _Pending(msgspec.Struct, frozen=True):
    t_s: float
    offset_s: float
    true_class: str
    arrived_s: float


class LiveAccuracy:
    """Judges decisions at every hop: each true marker is compared with the last verdict that it could have.

    That is the verdict on the last window that ends at most `offset_s` and 1.5 ms after the marker, if it is at most
    half a second older than that.

    Parameters
    ----------
    events
        The marker patterns of each class in training. If there are any, only these markers and the ends of replayed
        trials tell the true class; otherwise every marker that ends with the name of a class does.
    offset_s
        When the bundle's window ends, relative to its event. The window of a replayed trial ends with the trial.

    Attributes
    ----------
    tally
        The counts since the start or the last `reset`.
    """

    def __init__(self, classes: Sequence[str], events: Mapping[str, Sequence[str]], *, offset_s: float) -> None:
        self._classes, self._events = tuple(classes), events
        self._patterns = [pattern for each in events.values() for pattern in each]
        self._offset_s = offset_s
        self._verdicts: deque[tuple[float, str]] = deque(maxlen=4096)  # the label is empty for an invalid window
        self.reset()

    def reset(self) -> None:
        """Forget all markers and counts."""
        self.tally = Tally()
        self._pending: deque[_Pending] = deque(maxlen=256)

    def true_class(self, text: str) -> str | None:
        """Return the class that a marker says is true.

        None for others, such as ``trial/3/start/left``, unless the bundle was trained on such an event.
        """
        text = text[:_MAX_TEXT]
        is_announcement = "start" in text.split("/") or (bool(self._patterns) and not matches(text, TRIAL_ENDS))
        if is_announcement and not matches(text, self._patterns):
            return None
        return class_of(text, self._classes, self._events)

    def add_marker(self, text: str, t_s: float, *, now_s: float) -> str | None:
        """Add a marker that arrived at `now_s`, and return its `true_class`; one that tells none is ignored."""
        true_class = self.true_class(text)
        if true_class is not None:
            offset_s = 0.0 if matches(text[:_MAX_TEXT], TRIAL_ENDS) else self._offset_s
            self._pending.append(_Pending(t_s, offset_s, true_class, now_s))
        return true_class

    def add_verdict(self, t_s: float, label: str, *, is_valid: bool) -> None:
        """Add the verdict on the window that ends at `t_s`."""
        self._verdicts.append((t_s, label if is_valid else ""))

    def update(self, *, now_s: float) -> list[JudgedMarker]:
        """Return the markers that can be judged now, because a later verdict has arrived or none is expected."""
        judged = []
        newest_s = self._verdicts[-1][0] if self._verdicts else -math.inf
        while self._pending:
            marker = self._pending[0]
            last_s = marker.t_s + marker.offset_s + _TOLERANCE_S
            if newest_s <= last_s and now_s - marker.arrived_s < _PATIENCE_S + max(0.0, marker.offset_s):
                break
            self._pending.popleft()
            label = self._label_at(last_s)
            if label:
                self.tally.add(label, marker.true_class)
            judged.append(JudgedMarker(marker.t_s, marker.true_class, label, label == marker.true_class))
        return judged

    def _label_at(self, last_s: float) -> str:
        """Return the label of the last verdict up to `last_s`; empty if there is none on a valid window."""
        for t_s, label in reversed(self._verdicts):
            if t_s <= last_s:
                return label if last_s - t_s <= _MAX_AGE_S else ""
        return ""
