"""Log sink: every message but heartbeats as a line of JSON in a file."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from pretap.files import writing
from pretap.terminal import json_text
from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Item

__all__ = ["LogSink"]

_MOST_LINES = 100_000  # of a log whose disk hangs: some 40 MB
_CLOSE_LOG_S = 2.0


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
                self._say(f"WARNING: the log {self._path} hangs: its last {len(self._lines)} messages are missing")

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
                self._say(f"WARNING: the log {self._path} cannot be written: {why}. The session goes on.")
            self._n_missing += 1
        elif self._n_missing:
            self._say(f"the log {self._path} can be written again; {self._n_missing} messages are missing in it")
            self._n_missing = 0


def _line(message: Message, item: Item) -> bytes:
    record = msgspec.to_builtins(message)
    if item.probs is not None and item.stamp_to_clock_s is not None:
        record["latency_ms"] = round((message.sent - message.t) * 1000, 3)
    if item.probs is not None and not message.valid:
        record["withheld_p"] = item.probs.tolist()
    return json_text(msgspec.json.encode(record)).encode() + b"\n"
