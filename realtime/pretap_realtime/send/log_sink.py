"""LogSink: writes every message except heartbeats as a line of JSON to a file. Used by `serve`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from pretap.files import writing
from pretap.terminal import json_text
from pretap_realtime.console.background_writer import BackgroundWriter
from pretap_realtime.send.sink import Outgoing

_MAX_PENDING: Final = 100_000  # messages, if the disk hangs: some 80 MB
_PAUSE_S: Final = 0.005  # so at 1000 decisions a second the thread wakes 200 times
_HUNG_S: Final = 0.4
_CLOSE_S: Final = 2.0


class LogSink:
    """One JSON object a line, with the latency of each decision in milliseconds and the origin of each cue.

    A thread writes each line within some milliseconds, one at a time. So a killed process loses no more than the lines
    of that time, and never a part of a line. If the disk hangs, lines are kept in memory until it answers.
    """

    def __init__(self, path: Path, *, say: Callable[[str], None]) -> None:
        with writing(f"the log {path}"):
            self._file = path.open("ab", buffering=0)
        self._path, self._say = path, say
        self._n_missing = 0  # lines, since the log could not be written
        self._is_torn = False  # the last line is incomplete
        self._is_hung = False  # and that was said
        self._writer = BackgroundWriter(self._write, name="log", max_pending=_MAX_PENDING, pause_s=_PAUSE_S)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Queue the messages, and warn once if the disk does not answer."""
        if self._writer.busy_s > _HUNG_S and not self._is_hung:
            self._is_hung = True
            self._say(
                f"WARNING: the log {self._path} hangs: its disk does not answer. Lines are kept in memory until it does"
            )
        for item in batch:
            if item.message.type != "heartbeat":
                self._writer.put(item)

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Write what is pending, if the disk takes it in time."""
        n_missing = self._writer.close(timeout_s) + self._writer.n_dropped
        if n_missing:
            self._say(f"WARNING: {n_missing} messages are missing in the log {self._path}: its disk does not answer")

    def _write(self, item: Outgoing) -> None:
        line = b"\n" * self._is_torn + _line(item)
        n_bytes, why = 0, "No space left on device"
        try:
            n_bytes = self._file.write(line)
        except OSError as error:
            why = error.strerror or str(error)
        if self._is_hung:
            self._is_hung = False
            self._say(f"the disk of the log {self._path} answers again")
        if 0 < n_bytes < len(line):  # readers expect whole lines
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), os.fstat(self._file.fileno()).st_size - n_bytes)
                n_bytes = 0
        self._is_torn = n_bytes < len(line) and (n_bytes > 0 or self._is_torn)
        if n_bytes < len(line):  # the session is worth more than its log
            if not self._n_missing:
                self._say(f"WARNING: the log {self._path} cannot be written: {why}. The session goes on.")
            self._n_missing += 1
        elif self._n_missing:
            self._say(f"the log {self._path} can be written again; {self._n_missing} messages are missing in it")
            self._n_missing = 0


def _line(item: Outgoing) -> bytes:
    record = msgspec.to_builtins(item.message)
    if item.has_latency:
        record["latency_ms"] = round((item.message.sent - item.message.t) * 1000, 3)
    if item.withheld_p:
        record["withheld_p"] = item.withheld_p
    if item.origin is not None:
        record["origin"] = msgspec.to_builtins(item.origin) | {"sample": item.sample}
    if item.adapted is not None:
        record["adapted"] = msgspec.to_builtins(item.adapted)
    return json_text(msgspec.json.encode(record)).encode() + b"\n"
