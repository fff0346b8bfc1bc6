"""Progress of a replay: its position, the time left and the markers sent, as a status. Used by `command`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pretap.recordings.recording import Recording
from pretap_realtime.console.status_line import clock_time
from pretap_realtime.replay.report import Report

_EVERY_S = 0.5


class Progress:
    """Shows the position twice a second; called with it, in seconds, as often as the caller likes.

    Parameters
    ----------
    report
        Of the feed, which counts the markers.
    show
        Shows a status under a name, see `ConsoleWriter.status`.
    """

    def __init__(
        self,
        recording: Recording,
        report: Report,
        *,
        speed: float,
        loop: bool,
        clock: Callable[[], float],
        show: Callable[[str, Sequence[str]], None],
    ) -> None:
        first_s, last_s = (float(recording.times_s(n, n + 1)[0]) for n in (0, recording.n_samples - 1))
        self._length_s = last_s - first_s + 1 / recording.sfreq_hz  # with breaks
        self._report, self._speed, self._loop, self._clock, self._show = report, speed, loop, clock, show
        self._due_s = -math.inf

    def __call__(self, position_s: float) -> None:
        now_s = self._clock()
        if now_s < self._due_s:
            return
        self._due_s = now_s + _EVERY_S
        n_rounds, at_s = divmod(max(0.0, position_s), self._length_s) if self._loop else (0, max(0.0, position_s))
        at_s = min(at_s, self._length_s)
        left = (
            f"round {n_rounds + 1:.0f}" if self._loop else f"{clock_time((self._length_s - at_s) / self._speed)} left"
        )
        where = f"{clock_time(at_s)} of {clock_time(self._length_s)}"
        self._show("", [where, left, f"{self._report.n_markers} markers sent"])
