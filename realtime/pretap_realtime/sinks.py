"""Where messages go: the three LSL streams, and the log."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from pretap.errors import OutletFrozenError
from pretap.files import writing
from pretap.terminal import json_text
from pretap_realtime.lsl import Outlet
from pretap_realtime.messages import Message, encode
from pretap_realtime.publisher import Item

__all__ = ["LogSink", "OutletSink"]

_EARLY_S = 0.9  # the heartbeat after a second opens the outlets
_OPEN_S = 30.0  # to open the outlets: 16 decoders of one process, which start together, take some seconds
_MOST_LINES = 100_000  # of a log whose disk hangs: some 40 MB
_CLOSE_LOG_S = 2.0

_Kind = Literal["probabilities", "codes", "markers"]
_KINDS: tuple[_Kind, ...] = ("markers", "codes", "probabilities")


class _Push(msgspec.Struct, gc=False):
    """Rows to push, each with its stamp."""

    kind: _Kind
    rows: Sequence[Sequence[Any]]
    t_s: Sequence[float]


class _Open(msgspec.Struct, gc=False):
    """The outlets are to be opened (anew), with these facts in their descriptions."""

    facts: Mapping[str, str]


class OutletSink:
    """The streams ``<name>-markers``, ``<name>-codes`` and ``<name>-probabilities`` of WIRE.md.

    For an invalid window the codes stream sends 0 and the probabilities stream a row of zeros with quality 0: no class
    passes any threshold, and nobody has to handle NaN. Otherwise the quality is the share of good electrodes, see
    `pretap_realtime.chunk.Decision`.

    The outlets open when the service is connected, or after a second without a stream: LSL fixes a description when an
    outlet opens, and this way it tells of the resampling from the first sample on. A stream that comes later at another
    rate opens them anew.

    What is to be pushed is noted first and then pushed, so that another thread can go on where one hangs. What nobody
    reads is not written: liblsl keeps nothing for readers that come later.
    """

    def __init__(self, name: str, *, classes: Sequence[str], format: Literal["json", "label"], sha256: str) -> None:  # noqa: A002
        self._name, self._format, self.classes = name, format, tuple(classes)
        self._identity = {"bundle/sha256": sha256, "classes": ",".join(classes)}
        self._facts: dict[str, str] = {}
        self._outlets: dict[_Kind, Outlet] = {}
        self._is_open = False  # the outlets are open, or about to be
        self._since_s: float | None = None  # when the first message was sent
        self._hurried = False  # the numbers of the batch that comes are sent already
        self._todo: deque[_Push | _Open] = deque()  # the first one is under way
        self._opens_since_s = 0.0

    def close(self) -> None:
        """Close the outlets, without waiting for one that hangs."""
        hangs = self._todo[0].kind if self._todo and isinstance(self._todo[0], _Push) else None
        outlets, self._outlets = self._outlets, {}
        for kind, outlet in outlets.items():
            if kind == hangs:
                outlet.abandon()
            else:
                outlet.close()

    def _outlet(self, kind: _Kind) -> Outlet:
        name, facts = f"{self._name}-{kind}", self._identity | self._facts
        if kind == "markers":
            facts |= {"format": self._format}
            return Outlet(name, "Markers", labels=["message"], format="string", facts=facts)
        if kind == "codes":
            return Outlet(name, "Markers", labels=["code"], format="int32", facts=facts)
        labels = [*self.classes, "quality"]
        return Outlet(name, "Probabilities", labels=labels, format="float32", facts=facts)

    @property
    def numbers(self) -> Outlet | None:
        """For C code that sends a decision's numbers itself, see `Item.is_out`; None while the outlets are not open."""
        return self._outlets.get("probabilities") if self._is_open else None

    def under_way(self, rows: Sequence[Sequence[float]], t_s: Sequence[float]) -> None:
        """Note that C code sends numbers, and has not come back: another thread may have to do it."""
        self._todo.append(_Push("probabilities", rows, t_s))

    def done(self) -> None:
        """Note that it did come back."""
        self._todo.popleft()

    def hurry(self, items: Sequence[Item]) -> None:
        """Send the numbers first: who reads them is in the greatest hurry."""
        if not self._is_open or any(item.facts is not None for item in items):
            return  # the outlets are about to change
        self._hurried = True
        verdicts = [item for item in items if item.type == "verdict" and not item.is_out]
        if verdicts:
            self._todo.append(
                _Push("probabilities", [self._row(item) for item in verdicts], [item.stamp_s for item in verdicts])
            )
            self._work()

    def send(self, batch: Sequence[tuple[Message, Item]]) -> None:
        ready: list[tuple[Message, Item]] = []
        for message, item in batch:
            if item.facts is not None:
                self._note(ready)
                ready = []
                if self._is_open and item.facts != self._facts:
                    self._todo.append(_Open(item.facts))
                self._facts = dict(item.facts)
            if self._is_open:
                ready.append((message, item))
                continue
            if self._since_s is None:
                self._since_s = message.sent
            is_early = message.sent - self._since_s < _EARLY_S
            if message.state not in ("WAITING", "VALIDATING") or not is_early:
                self._todo.append(_Open(self._facts))
                self._is_open = True  # and nobody can have found them when this message goes out
        self._note(ready)
        self._work()

    @property
    def may_hang(self) -> bool:
        with contextlib.suppress(IndexError):  # nothing is pushed now
            return not isinstance(self._todo[0], _Open) or time.monotonic() - self._opens_since_s > _OPEN_S
        return False

    def rescue(self) -> str:
        """Replace the outlet in which a thread hangs, and push what that one has left, to the new one too."""
        self._todo = deque(self._todo)  # who was left behind sees that it is not its own any more
        task = self._todo[0]
        if isinstance(task, _Open):
            self._work()
            return "the outlets hung when they were opened, and were opened again"
        frozen = self._outlets[task.kind]
        if not frozen.abandon():
            raise OutletFrozenError(
                f"the outlet {self._name}-{task.kind} was frozen by one of its readers (liblsl #156), and cannot be "
                "replaced on this system but by a new process: `pretap serve --supervise` starts one by itself"
            )
        self._outlets[task.kind] = self._outlet(task.kind)
        n_left = sum(len(each.rows) for each in self._todo if isinstance(each, _Push) and each.kind == task.kind)
        self._work()
        return (
            f"the outlet {self._name}-{task.kind} was frozen by one of its readers (liblsl #156) and is replaced, "
            f"under the same source_id; {n_left} messages that waited for it went to the new one"
        )

    def _work(self) -> None:
        """Do what was noted."""
        todo = self._todo
        while todo:
            task = todo[0]
            if isinstance(task, _Open):
                self._opens_since_s = time.monotonic()
                self.close()  # first: two outlets of one source_id would be twins
                self._facts = dict(task.facts)
                self._outlets = {kind: self._outlet(kind) for kind in _KINDS}
            else:
                self._outlets[task.kind].push_all(task.rows, task.t_s)
            if todo is not self._todo:
                return  # this thread hung here, and was left behind
            todo.popleft()

    def _note(self, batch: Sequence[tuple[Message, Item]]) -> None:
        rows: list[Sequence[float]] = []
        codes: list[tuple[int]] = []
        texts: list[tuple[str | bytes]] = []
        row_t_s: list[float] = []
        code_t_s: list[float] = []
        text_t_s: list[float] = []
        is_json, hurried = self._format == "json", self._hurried
        self._hurried = False
        is_code_read, is_text_read = self._is_read("codes"), self._is_read("markers")
        for message, item in batch:
            t_s = message.t
            if message.type == "verdict":
                if not (hurried or item.is_out):
                    rows.append(self._row(item))
                    row_t_s.append(t_s)
                if is_code_read:
                    codes.append((item.code,))
                    code_t_s.append(t_s)
            elif not is_json:
                continue
            if is_text_read:
                texts.append((encode(message) if is_json else message.label,))
                text_t_s.append(t_s)
        if rows:
            self._todo.append(_Push("probabilities", rows, row_t_s))
        if codes:
            self._todo.append(_Push("codes", codes, code_t_s))
        if texts:
            self._todo.append(_Push("markers", texts, text_t_s))

    def _is_read(self, kind: _Kind) -> bool:
        outlet = self._outlets.get(kind)
        return outlet is not None and outlet.has_consumers()

    def _row(self, item: Item) -> Sequence[float]:
        if item.probs is None or item.why:
            return (0.0,) * (len(self.classes) + 1)
        return (*item.probs.tolist(), item.quality)


class LogSink:
    """One JSON object a line: every message but heartbeats, with the latency of each decision in milliseconds.

    Each line is written at once, so that a killed process leaves all of them. Where the disk hangs, lines are kept in
    memory from then on, and a thread of its own writes them.
    """

    def __init__(self, path: Path, *, say: Callable[[str], None]) -> None:
        self._say = say
        with writing(f"the log {path}"):
            self._file = path.open("ab", buffering=0)
        self._path = path
        self._n_missing = 0  # lines, since it could not be written
        self._is_torn = False  # the last line ends in its middle
        self._lines: deque[bytes] = deque()  # to be written, the first one now
        self._arrived = threading.Semaphore(0)
        self._writer: threading.Thread | None = None

    def hurry(self, items: Sequence[Item]) -> None:
        """Wait for the messages."""

    def send(self, batch: Sequence[tuple[Message, Item]]) -> None:
        lines = self._lines
        for message, item in batch:
            if message.type == "heartbeat":
                continue
            if len(lines) >= _MOST_LINES:
                self._n_missing += 1
                continue
            lines.append(_line(message, item))
            if self._writer is not None:
                self._arrived.release()
        while lines and self._writer is None:
            self._write(lines[0])
            if lines is self._lines:
                lines.popleft()

    @property
    def may_hang(self) -> bool:
        return True

    def rescue(self) -> str:
        """Keep what comes in memory, while a thread waits for the disk."""
        rest = deque(self._lines)
        rest.popleft()  # whoever hangs writes this one
        self._lines = rest
        self._arrived = threading.Semaphore(len(rest))
        self._writer = threading.Thread(target=self._write_behind, name="log", daemon=True)
        self._writer.start()
        return f"the log {self._path} hangs: its disk does not answer. Lines are kept in memory until it does"

    def close(self, timeout_s: float = _CLOSE_LOG_S) -> None:
        """Write what is left, if the disk takes it in time."""
        if self._writer is not None:
            self._lines.append(b"")
            self._arrived.release()
            self._writer.join(timeout_s)
            if self._writer.is_alive():
                self._tell(f"WARNING: the log {self._path} hangs: its last {len(self._lines)} messages are missing")

    def _write_behind(self) -> None:
        while self._arrived.acquire() and self._lines[0]:
            self._write(self._lines[0])
            self._lines.popleft()

    def _write(self, line: bytes) -> None:
        line = b"\n" + line if self._is_torn else line
        n_bytes, why = 0, "No space left on device"
        try:
            n_bytes = self._file.write(line)
        except OSError as error:
            why = error.strerror or str(error)
        self._is_torn = n_bytes < len(line) and (n_bytes > 0 or self._is_torn)
        if n_bytes < len(line):  # the session is worth more than its log: say it, and go on
            if not self._n_missing:
                self._tell(f"WARNING: the log {self._path} cannot be written: {why}. The session goes on.")
            self._n_missing += 1
        elif self._n_missing:
            self._tell(f"the log {self._path} can be written again; {self._n_missing} messages are missing in it")
            self._n_missing = 0

    def _tell(self, sentence: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone
            self._say(sentence)


def _line(message: Message, item: Item) -> bytes:
    record = msgspec.to_builtins(message)
    if item.probs is not None and item.stamp_to_clock_s is not None:
        record["latency_ms"] = round((message.sent - message.t) * 1000, 3)
    if item.probs is not None and not message.valid:
        record["withheld_p"] = item.probs.tolist()
    return json_text(msgspec.json.encode(record)).encode() + b"\n"
