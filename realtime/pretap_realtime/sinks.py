"""Where messages go: the three LSL streams, and the log."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pretap.errors import UsageError
from pretap.terminal import json_text
from pretap_realtime.lsl import Outlet
from pretap_realtime.messages import Message, encode
from pretap_realtime.publisher import Item

__all__ = ["LogSink", "OutletSink"]

_EARLY_S = 0.9  # the heartbeat after a second opens the outlets


class OutletSink:
    """The streams ``<name>-markers``, ``<name>-codes`` and ``<name>-probabilities`` of WIRE.md.

    For an invalid window the codes stream sends 0 and the probabilities stream a row of zeros with quality 0: no class
    passes any threshold, and nobody has to handle NaN. Otherwise the quality is the share of good electrodes, see
    `pretap_realtime.chunk.Decision`.

    The outlets open when the service is connected, or after a second without a stream: LSL fixes a description when an
    outlet opens, and this way it tells of the resampling from the first sample on. A stream that comes later at another
    rate opens them anew.
    """

    def __init__(self, name: str, *, classes: Sequence[str], format: Literal["json", "label"], sha256: str) -> None:  # noqa: A002
        self._name, self._format, self._classes = name, format, tuple(classes)
        self._identity = {"bundle/sha256": sha256, "classes": ",".join(classes)}
        self._facts: dict[str, str] = {}
        self._held: list[tuple[Message, Item]] | None = []  # None: the outlets are open
        self._hurried = False  # the numbers of the batch that comes are sent already

    def _open(self) -> None:
        name, classes, facts = self._name, self._classes, self._identity | self._facts
        self._markers = Outlet(
            f"{name}-markers", "Markers", labels=["message"], format="string", facts=facts | {"format": self._format}
        )
        self._codes = Outlet(f"{name}-codes", "Markers", labels=["code"], format="int32", facts=facts)
        self._probabilities = Outlet(
            f"{name}-probabilities", "Probabilities", labels=[*classes, "quality"], format="float32", facts=facts
        )

    def _describe(self, facts: Mapping[str, str]) -> None:
        """Let the descriptions say `facts`."""
        if self._held is None and facts != self._facts:
            del self._markers, self._codes, self._probabilities  # two outlets of one source_id would be twins
            self._facts = dict(facts)
            self._open()
        self._facts = dict(facts)

    def hurry(self, items: Sequence[Item]) -> None:
        """Send the numbers first: who reads them is in the greatest hurry."""
        if self._held is not None or any(item.facts is not None for item in items):
            return  # the outlets are about to change
        self._push_numbers(items)
        self._hurried = True

    def send(self, batch: Sequence[tuple[Message, Item]]) -> None:
        ready: list[tuple[Message, Item]] = []
        for message, item in batch:
            if item.facts is not None:
                self._push(ready)
                ready = []
                self._describe(item.facts)
            if self._held is None:
                ready.append((message, item))
                continue
            self._held.append((message, item))
            is_early = message.sent - self._held[0][0].sent < _EARLY_S
            if message.state not in ("WAITING", "VALIDATING") or not is_early:
                self._open()
                ready, self._held = self._held, None
        self._push(ready)

    def _push(self, batch: Sequence[tuple[Message, Item]]) -> None:
        if not batch:
            return
        verdicts = [(message, item) for message, item in batch if message.type == "verdict"]
        if not self._hurried:
            self._push_numbers([item for _, item in verdicts])
        self._hurried = False
        for message, item in verdicts:
            self._codes.push([item.code], message.t)
        for message, _ in batch:
            if self._format == "json":
                self._markers.push([encode(message)], message.t)
            elif message.type == "verdict":
                self._markers.push([message.label], message.t)

    def _push_numbers(self, items: Sequence[Item]) -> None:
        rows, stamps = [], []
        for item in items:
            if item.type == "verdict":
                rows.append(
                    [0.0] * (len(self._classes) + 1) if item.probs is None or item.why else [*item.probs, item.quality]
                )
                stamps.append(item.stamp_s)
        self._probabilities.push_all(rows, stamps)


class LogSink:
    """One JSON object a line: every message but heartbeats, with the latency of each decision in milliseconds."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(f"Cannot write the log {path}: {error.strerror}.") from None
        self._path = path
        self._failed = False

    def send(self, batch: Sequence[tuple[Message, Item]]) -> None:
        for message, item in batch:
            if message.type != "heartbeat":
                self._write(message, item)

    def hurry(self, items: Sequence[Item]) -> None:
        """Wait for the messages."""

    def _write(self, message: Message, item: Item) -> None:
        record = msgspec.to_builtins(message)
        if item.probs is not None and item.stamp_to_clock_s is not None:
            record["latency_ms"] = round((message.sent - message.t) * 1000, 3)
        if item.probs is not None and not message.valid:
            record["withheld_p"] = item.probs.tolist()
        try:
            self._file.write(json_text(msgspec.json.encode(record)).encode() + b"\n")
        except OSError as error:
            if not self._failed:  # the session is worth more than its log: say it once, and go on
                print(f"The log {self._path} cannot be written: {error.strerror}", file=sys.stderr)
            self._failed = True
