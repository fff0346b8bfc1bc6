"""StatusSink: the operator's status line, made of the messages that a service sends. Used by `serve.assembly`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from pretap_realtime.console.status_line import clock_time
from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Outgoing

_N_BEATS = 5  # over which the rate of the decisions is averaged: two seconds


class StatusSink:
    """Counts decisions, and shows a status at each heartbeat and change of state; see `Sink`.

    Parameters
    ----------
    show
        Shows the fields of the status, the most important one first; without fields it disappears.
    """

    def __init__(self, show: Callable[[Sequence[str]], None], *, clock: Callable[[], float]) -> None:
        self._show, self._clock = show, clock
        self._started_s = clock()
        self._n_decisions = 0
        self._last: Message | None = None
        self._beats: deque[tuple[float, int]] = deque([(self._started_s, 0)], maxlen=_N_BEATS)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Count decisions, and show the status if there is a heartbeat or a state among the messages."""
        for item in batch:
            if item.message.type == "verdict":
                self._n_decisions += item.message.valid
                self._last = item.message
            else:
                if item.message.type == "heartbeat":
                    self._beats.append((self._clock(), self._n_decisions))
                self._show(self._fields(item.message))

    def close(self) -> None:
        self._show(())

    def _fields(self, now: Message) -> list[str]:
        (then_s, n_then), (last_s, n_last) = self._beats[0], self._beats[-1]
        rate_hz = (n_last - n_then) / (last_s - then_s) if last_s > then_s else 0.0
        elapsed = clock_time(self._clock() - self._started_s)
        return [now.state, _describe(self._last), f"{rate_hz:.1f}/s", f"{now.lost} lost", elapsed, _quality(now)]


def _quality(now: Message) -> str:
    if now.type != "heartbeat" or now.state != "RUNNING":
        return ""
    return f"bad: {', '.join(now.bad)}" if now.bad else now.why or "signal good"


def _describe(verdict: Message | None) -> str:
    if verdict is None:
        return "no decision yet"
    if not verdict.valid:
        return "invalid"
    p = verdict.p.get(verdict.label)  # there is none for the verdict `none`
    return verdict.label if p is None else f"{verdict.label} {p:.2f}"
