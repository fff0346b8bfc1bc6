"""What the page shows beside the traces: decisions, events, state and figures of one service. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap_realtime.monitor.truths import Judged, Truths, class_of
from pretap_realtime.send.latencies import percentile
from pretap_realtime.send.messages import Message
from pretap_realtime.signal.chunk import Cue
from pretap_realtime.signal.compatibility import printable

__all__ = ["Board", "DecisionRow", "Event", "Figures", "Log"]

_KEPT_DECISIONS: Final = 2048
_KEPT_EVENTS: Final = 600  # ten seconds of verdicts every 20 ms
_KEPT_LATENCIES: Final = 4096
_LATENCIES_OF_S: Final = 60.0
_SILENT_S: Final = 2.0  # heartbeats come twice a second
_MAX_S: Final = 1e10  # of a stamp: three hundred years

Entry = TypeVar("Entry")


class Log(Generic[Entry]):
    """The newest entries, numbered: who reads them remembers the number up to which."""

    def __init__(self, n_most: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=n_most)
        self.n = 0

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.n += 1

    def since(self, n: int) -> list[Entry]:
        n_new = min(self.n - n, len(self._entries))
        return list(self._entries)[-n_new:] if n_new > 0 else []


class DecisionRow(msgspec.Struct, frozen=True, array_like=True):
    """The probability of each class; without a valid window all are zero."""

    t: float
    p: list[float]


class Event(msgspec.Struct, frozen=True):
    """Something at a moment `t`: a verdict, a marker of others, a change of state, or a true marker that was judged.

    `label` is a class or ``none``; `start` says of a marker that it names the class of what begins, `command` of a
    verdict that a game acts on it.
    """

    kind: str  # verdict, marker, state, note
    t: float
    text: str
    label: str = ""
    start: bool = False
    command: bool = False


class Figures(msgspec.Struct):
    """What stands in the page's tables; NaN-free: None where nothing is known."""

    state: str = ""  # of the service; empty while none is heard
    why: str = ""
    bad: list[str] = []
    silent: bool = True  # no message for two seconds
    lost: int = 0
    messages_missed: int = 0
    unreadable: int = 0
    decisions_per_s: float | None = None
    quality: float | None = None  # of the probabilities stream, where that is read
    latency_ms: list[float] | None = None  # p50, p95, p99 of the last minute
    n_judged: int = 0
    n_right: int = 0
    n_none: int = 0


class Board:
    """Collects what a service says; `begin` forgets the service before.

    Times without a name are of this machine's LSL clock. Once `has_messages` is true, messages tell all that the
    streams of numbers do, and those need not be read.
    """

    def __init__(self) -> None:
        self.begin(())

    def begin(self, classes: Sequence[str]) -> None:
        """Start with a service and its classes."""
        self._raw_classes = tuple(classes)  # as the messages name them
        self.classes = tuple(printable(name, limit=20) for name in classes)
        self.has_messages = False
        self.decisions: Log[DecisionRow] = Log(_KEPT_DECISIONS)
        self.events: Log[Event] = Log(_KEPT_EVENTS)
        self.judged: Log[Judged] = Log(_KEPT_EVENTS)
        self._truths = Truths()
        self._figures = Figures()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_KEPT_LATENCIES)  # when it came, seconds
        self._arrivals_s: deque[float] = deque(maxlen=_KEPT_DECISIONS)
        self._heard_s = -math.inf
        self._next_seq: int | None = None

    def add_rows(self, rows: NDArray[np.float32], t_s: NDArray[np.float64], *, now_s: float) -> None:
        """Take rows (n, n_classes + 1) of the probabilities stream."""
        usable = np.isfinite(rows).all(axis=1) & (np.abs(t_s) < _MAX_S)
        self._figures.unreadable += int((~usable).sum())
        for row, t in zip(np.round(rows[usable].astype(np.float64), 4).tolist(), t_s[usable].tolist(), strict=True):
            self._add_decision(DecisionRow(t, row[:-1]), now_s=now_s)
            self._figures.quality = row[-1]

    def add_codes(self, codes: Iterable[float], t_s: Iterable[float]) -> None:
        """Take verdicts of the codes stream: 0 none, else class index + 1."""
        for code, t in zip(codes, t_s, strict=True):
            is_known = 0 <= code <= len(self.classes) and abs(t) < _MAX_S
            if not is_known:
                self._figures.unreadable += 1
                continue
            self._add_verdict(t, self.classes[int(code) - 1] if code else "none")

    def _add_decision(self, row: DecisionRow, *, now_s: float) -> None:
        self.decisions.add(row)
        self._arrivals_s.append(now_s)

    def _add_verdict(self, t_s: float, label: str, *, command: bool = False) -> None:
        self._truths.add_verdict(t_s, label)
        self.events.add(Event("verdict", t_s, label, label, command=command))

    def add_message(self, text: str, *, now_s: float, latency_known: bool) -> None:
        """Take a message of the marker stream; in ``label`` format there are no states to be had."""
        self._heard_s = now_s
        try:
            message = msgspec.json.decode(text, type=Message)
        except (msgspec.MsgspecError, UnicodeError):
            if text not in self.classes and text != "none":
                self._figures.unreadable += 1
            return
        self.has_messages = True
        figures = self._figures
        figures.quality = None
        if self._next_seq is not None and message.seq > self._next_seq:
            figures.messages_missed += message.seq - self._next_seq
        self._next_seq = message.seq + 1
        figures.lost = message.lost
        if message.type == "verdict":
            self._add_message_verdict(message, now_s=now_s, latency_known=latency_known)
            return
        changed = message.state != figures.state
        figures.state, figures.bad = message.state, [printable(name, limit=20) for name in message.bad[:64]]
        if message.type == "heartbeat":
            figures.why = printable(message.why, limit=300)
        elif (changed or message.why) and abs(message.t) < _MAX_S:
            figures.why = printable(message.why, limit=300)
            self.events.add(Event("state", message.t, figures.why, message.state))

    def _add_message_verdict(self, message: Message, *, now_s: float, latency_known: bool) -> None:
        p = [message.p.get(name, 0.0) if message.valid else 0.0 for name in self._raw_classes]
        if not abs(message.t) < _MAX_S or not all(0 <= each <= 1 for each in p):
            self._figures.unreadable += 1
            return
        latency_s = message.sent - message.t
        if latency_known and message.valid and math.isfinite(latency_s):
            self._latencies.append((now_s, latency_s))
        self._add_decision(DecisionRow(message.t, [round(each, 4) for each in p]), now_s=now_s)
        is_known = message.valid and message.label in self._raw_classes
        label = self.classes[self._raw_classes.index(message.label)] if is_known else "none"
        self._add_verdict(message.t, label, command=message.command and is_known)

    def add_marker(self, marker: Cue, *, now_s: float) -> None:
        """Take a marker of another program."""
        if not abs(marker.t_s) < _MAX_S:
            self._figures.unreadable += 1
            return
        text = printable(marker.text)
        parts = text.split("/")
        starts = "start" in parts and parts[-1] in self.classes
        label = parts[-1] if starts else class_of(text, self.classes) or ""
        self.events.add(Event("marker", marker.t_s, text, label, starts))
        self._truths.add_marker(Cue(marker.t_s, text), self.classes, now_s=now_s)

    def note(self, text: str, *, t_s: float) -> None:
        """Add a sentence of the monitor's own to the events."""
        self.events.add(Event("note", t_s, printable(text, limit=300)))

    def judge(self, *, now_s: float) -> None:
        """Judge the true markers that can be judged now."""
        for judged in self._truths.judge(now_s=now_s):
            self.judged.add(judged)

    def figures(self, *, now_s: float) -> Figures:
        """Give the figures at this moment."""
        figures = self._figures
        figures.silent = now_s - self._heard_s > _SILENT_S
        while self._latencies and now_s - self._latencies[0][0] > _LATENCIES_OF_S:
            self._latencies.popleft()
        values = [latency_s for _, latency_s in self._latencies]
        figures.latency_ms = [round(1000 * percentile(values, q), 2) for q in (50, 95, 99)] if values else None
        while self._arrivals_s and now_s - self._arrivals_s[0] > _SILENT_S:
            self._arrivals_s.popleft()
        figures.decisions_per_s = round(len(self._arrivals_s) / _SILENT_S, 1)
        figures.n_judged, figures.n_right, figures.n_none = self._truths.n, self._truths.n_right, self._truths.n_none
        return figures
