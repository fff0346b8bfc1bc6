"""Outlet sink: the three LSL streams that a service sends its messages to."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from pretap.errors import OutletFrozenError
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.send.messages import Message, encode
from pretap_realtime.send.sink import Item

__all__ = ["OutletSink"]

_EARLY_S = 0.9  # the heartbeat after a second opens the outlets
_OPEN_S = 30.0  # to open the outlets: 16 decoders of one process, which start together, take some seconds

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
    `pretap_realtime.signal.chunk.Decision`.

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
                self._outlets[task.kind].push_samples(task.rows, task.t_s)
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
