"""Dashboard: decisions, events, state and figures of one service, as the page shows them. Pure; used by `view`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap_realtime.decide.accuracy import JudgedMarker, LiveAccuracy
from pretap_realtime.decide.cues import class_of
from pretap_realtime.send.latencies import describe_negative, percentile
from pretap_realtime.send.messages import Message, ServiceDescription
from pretap_realtime.signal.chunk import Cue
from pretap_realtime.signal.compatibility import printable

MAX_LABEL: Final = 64  # characters of a class or a channel, as in configurations
_KEPT_DECISIONS: Final = 2048
_KEPT_EVENTS: Final = 600  # ten seconds of verdicts every 20 ms
_KEPT_LATENCIES: Final = 4096
_LATENCY_WINDOW_S: Final = 60.0
_SILENT_S: Final = 2.0  # heartbeats come twice a second
_MAX_S: Final = 1e10  # of a timestamp: 300 years
_MAX_TEXT: Final = 256  # characters of a marker that may be compared with patterns
_LABELS: Final = 'Not judged: the service sends plain labels. Start it with markers.format = "json".'

Entry = TypeVar("Entry")


class Log(Generic[Entry]):
    """The newest entries, numbered, so that each reader can remember how many it has read."""

    def __init__(self, max_entries: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=max_entries)
        self.n = 0

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.n += 1

    def since(self, n: int) -> list[Entry]:
        n_new = min(self.n - n, len(self._entries))
        return list(self._entries)[-n_new:] if n_new > 0 else []


class DecisionRow(msgspec.Struct, frozen=True, array_like=True):
    """The probability of each class; all are zero without a valid window."""

    t: float
    p: list[float]


class Event(msgspec.Struct, frozen=True):
    """A verdict, a marker of another program, a change of state, or a note.

    `label` is a class or ``none``. `start` means that a marker announces its class, and `command` that games act on a
    verdict.
    """

    kind: str  # verdict, marker, state, note
    t: float
    text: str
    label: str = ""
    start: bool = False
    command: bool = False


class Figures(msgspec.Struct):
    """The figures in the page's tables; unknown ones are None, never NaN."""

    state: str = ""  # of the service; empty until it sends one
    why: str = ""
    bad: list[str] = []
    silent: bool = True  # no message for two seconds
    lost: int = 0
    messages_missed: int = 0
    unreadable: int = 0
    decisions_per_s: float | None = None
    quality: float | None = None  # the share of good electrodes, 0 if the stream as a whole is bad
    latency_ms: list[float] | None = None  # p50, p95, p99 of the last minute
    latency_error: str = ""  # why these latencies cannot be
    invalid: str = ""  # why the last decision is invalid; empty if it is not
    n_judged: int = 0  # see `pretap_realtime.decide.accuracy.Tally`
    n_correct: int = 0
    n_none: int = 0
    why_not_judged: str = ""


class _Arrivals:
    """When messages and decisions arrived, and how old they were."""

    def __init__(self) -> None:
        self.heard_s = -math.inf
        self.next_seq: int | None = None
        self.latencies: deque[tuple[float, float]] = deque(maxlen=_KEPT_LATENCIES)  # arrival, latency in seconds
        self.decisions_s: deque[float] = deque(maxlen=_KEPT_DECISIONS)
        self.has_labels = False  # instead of messages

    def latency_ms(self, now_s: float) -> tuple[list[float] | None, str]:
        """Return p50, p95 and p99 of the last minute, None without decisions; and an error if most are negative.

        If the timestamps jitter, a few are.
        """
        while self.latencies and now_s - self.latencies[0][0] > _LATENCY_WINDOW_S:
            self.latencies.popleft()
        values_s = [latency_s for _, latency_s in self.latencies]
        n_negative = sum(value < 0 for value in values_s)
        if 2 * n_negative > len(values_s):
            return None, describe_negative(n_negative, len(values_s), min(values_s))
        if not values_s:
            return None, ""
        return [round(1000 * percentile(values_s, q), 2) for q in (50, 95, 99)], ""

    def decisions_per_s(self, now_s: float) -> float:
        while self.decisions_s and now_s - self.decisions_s[0] > _SILENT_S:
            self.decisions_s.popleft()
        return round(len(self.decisions_s) / _SILENT_S, 1)


class Dashboard:
    """Collects the output of a service with these classes.

    A service that decides at cues tells how many of its verdicts were correct. Of one that decides at every hop, the
    verdicts are judged here by the markers of other programs, unless those may belong to another player.

    Times without a name are on this machine's LSL clock. Once `has_messages` is true, the messages contain everything
    that the probabilities and codes streams do, so those need not be read.
    """

    def __init__(
        self,
        classes: Sequence[str] = (),
        service: ServiceDescription = ServiceDescription(),  # noqa: B008 - frozen
    ) -> None:
        self.classes = tuple(printable(name, limit=MAX_LABEL) for name in classes)
        self._shown = dict(zip(classes, self.classes, strict=True))  # by the names in messages
        self._service = service
        self.has_messages = False
        self.decisions: Log[DecisionRow] = Log(_KEPT_DECISIONS)
        self.events: Log[Event] = Log(_KEPT_EVENTS)
        self.judged: Log[JudgedMarker] = Log(_KEPT_EVENTS)
        self._accuracy = LiveAccuracy(classes, service.events, offset_s=service.offset_ms / 1000)
        self._figures = Figures()
        self._arrivals = _Arrivals()

    def add_probabilities(self, rows: NDArray[np.float32], t_s: NDArray[np.float64], *, now_s: float) -> None:
        """Add rows (n, n_classes + 1) of the probabilities stream."""
        is_usable = np.isfinite(rows).all(axis=1) & (np.abs(t_s) < _MAX_S)
        self._figures.unreadable += int((~is_usable).sum())
        rounded = np.round(rows[is_usable].astype(np.float64), 4)
        for row, t in zip(rounded.tolist(), t_s[is_usable].tolist(), strict=True):
            self._add_decision(t, row[:-1], now_s=now_s)
            self._figures.quality = row[-1]

    def add_codes(self, codes: Iterable[float], t_s: Iterable[float]) -> None:
        """Add verdicts of the codes stream: 0 for none, otherwise the index of the class + 1."""
        for code, t in zip(codes, t_s, strict=True):
            if 0 <= code <= len(self.classes) and abs(t) < _MAX_S:
                self._add_verdict(t, self.classes[int(code) - 1] if code else "none")
            else:
                self._figures.unreadable += 1

    def _add_decision(self, t_s: float, p: list[float], *, now_s: float) -> None:
        self.decisions.append(DecisionRow(t_s, p))
        self._arrivals.decisions_s.append(now_s)

    def _add_verdict(self, t_s: float, label: str, *, command: bool = False) -> None:
        self.events.append(Event("verdict", t_s, label, label, command=command))

    def add_message(self, text: str, *, now_s: float, offset_s: float = 0.0, has_latency: bool) -> None:
        """Add a message of the marker stream; in the ``label`` format it has no state.

        `offset_s` added to the service's clock gives this machine's.
        """
        self._arrivals.heard_s = now_s
        try:
            message = msgspec.json.decode(text, type=Message)
        except (msgspec.MsgspecError, UnicodeError):
            is_label = text in self._shown or text == "none"
            self._figures.unreadable += not is_label
            self._arrivals.has_labels |= is_label
            return
        is_possible = 0 <= message.n_correct <= message.n_judged - message.n_none <= message.n_judged
        if not is_possible or not 0 <= (message.quality or 0.0) <= 1:
            self._figures.unreadable += 1
            return
        message = msgspec.structs.replace(message, t=message.t + offset_s, sent=message.sent + offset_s)
        self.has_messages = True
        figures = self._figures
        figures.quality = message.quality
        if self._arrivals.next_seq is not None and message.seq > self._arrivals.next_seq:
            figures.messages_missed += message.seq - self._arrivals.next_seq
        self._arrivals.next_seq = message.seq + 1
        figures.lost = message.lost
        if self._service.is_cued:
            figures.n_judged, figures.n_correct = message.n_judged, message.n_correct
            figures.n_none = message.n_none
        if message.type == "verdict":
            self._add_message_verdict(message, now_s=now_s, has_latency=has_latency)
            return
        is_news = message.state != figures.state or bool(message.why)
        figures.state, figures.bad = message.state, [printable(name, limit=MAX_LABEL) for name in message.bad[:64]]
        if message.type == "heartbeat":
            figures.why = printable(message.why, limit=300)
        elif is_news and abs(message.t) < _MAX_S:
            figures.why = printable(message.why, limit=300)
            self.events.append(Event("state", message.t, figures.why, message.state))

    def _add_message_verdict(self, message: Message, *, now_s: float, has_latency: bool) -> None:
        p = [message.p.get(name, 0.0) if message.valid else 0.0 for name in self._shown]
        if not abs(message.t) < _MAX_S or not all(0 <= each <= 1 for each in p):
            self._figures.unreadable += 1
            return
        self._figures.invalid = "" if message.valid else printable(message.why, limit=300)
        latency_s = message.sent - message.t
        if has_latency and message.valid and math.isfinite(latency_s):
            self._arrivals.latencies.append((now_s, latency_s))
        self._add_decision(message.t, [round(each, 4) for each in p], now_s=now_s)
        label = self._shown.get(message.label, "none") if message.valid else "none"
        self._add_verdict(message.t, label, command=message.command and label != "none")
        if not self._service.is_cued:
            self._accuracy.add_verdict(message.t, message.label, is_valid=message.valid)
        elif message.cue:
            self._add_cue(message, label if message.valid else "")

    def _add_cue(self, message: Message, label: str) -> None:
        """Add what the service tells about a cue: no marker stream tells of a trigger channel."""
        t_s = message.t - self._service.offset_ms / 1000
        truth = self._shown.get(message.truth, "")
        if truth or not self._service.cue_query:
            self.events.append(Event("marker", t_s, printable(message.cue), truth))
        if truth:
            self.judged.append(JudgedMarker(t_s, truth, label, label == truth))

    def add_marker(self, marker: Cue, *, now_s: float) -> None:
        """Add a marker of another program.

        One that names the class of a cue is left out, because the service itself tells of its cues: another stream may
        match its query too.
        """
        if not abs(marker.t_s) < _MAX_S:
            self._figures.unreadable += 1
            return
        name = truth = None
        if not self._figures.why_not_judged:
            truth = self._accuracy.add_marker(marker.text, marker.t_s, now_s=now_s)
            name = truth or class_of(marker.text[:_MAX_TEXT], tuple(self._shown), self._service.events)
        if truth and self._service.is_cued:
            return
        label = "" if name is None else self._shown[name]
        self.events.append(Event("marker", marker.t_s, printable(marker.text), label, start=name != truth))

    def add_note(self, text: str, *, t_s: float) -> None:
        """Add a message of the monitor itself to the events."""
        self.events.append(Event("note", t_s, printable(text, limit=300)))

    def set_why_not_judged(self, why: str) -> None:
        """Note why the markers cannot be judged by, if so: what was counted before may be another player's."""
        if why and not self._figures.why_not_judged:
            self._accuracy.reset()
        self._figures.why_not_judged = why

    def judge_markers(self, *, now_s: float) -> None:
        """Judge decisions at every hop by the true markers for which that is possible now."""
        if self._service.is_cued:
            return
        for judged in self._accuracy.update(now_s=now_s):
            truth, label = self._shown[judged.truth], self._shown.get(judged.label, judged.label)
            self.judged.append(JudgedMarker(judged.t, truth, label, judged.correct))
        self._figures = msgspec.structs.replace(self._figures, **asdict(self._accuracy.tally))

    def figures(self, *, now_s: float) -> Figures:
        """Return the current figures."""
        latency_ms, latency_error = self._arrivals.latency_ms(now_s)
        return msgspec.structs.replace(
            self._figures,
            silent=now_s - self._arrivals.heard_s > _SILENT_S,
            latency_ms=latency_ms,
            latency_error=latency_error,
            why_not_judged=_LABELS if self._arrivals.has_labels else self._figures.why_not_judged,
            decisions_per_s=self._arrivals.decisions_per_s(now_s),
        )
