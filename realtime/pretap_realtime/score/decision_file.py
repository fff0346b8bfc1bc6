"""Decisions as JSON, written as they come: an hour at every sample is 400 MB of text, and never in memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from pretap.files import writing
from pretap_realtime.decide.policy import Verdict
from pretap_realtime.signal.chunk import Decision

__all__ = ["DecisionFile"]


class _Row(msgspec.Struct, frozen=True, gc=False):
    t: float
    p: dict[str, float] | None
    why: str
    cue: str
    label: str
    command: bool


class DecisionFile:
    """A JSON object: ``decisions``, a list of ``{t, p, why, cue, label, command}``, then the figures.

    It appears whole, with `end`, or not at all.

    Raises
    ------
    UsageError
        Here and in each method: it cannot be written.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path, self._classes = path, tuple(classes)
        is_device = path.exists() and not path.is_file()  # such as /dev/stdout: nothing can take its place
        self._part = path if is_device else path.with_name(path.name + ".part")
        with writing(self._path):
            self._file = self._part.open("wb")
            self._file.write(b'{"decisions":[')
        self._is_empty = True

    def __enter__(self) -> DecisionFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._file.closed:  # cut short
            with suppress(OSError):
                self._file.close()
            if self._part != self._path:
                self._part.unlink(missing_ok=True)

    def add(self, decisions: Sequence[Decision], verdicts: Sequence[Verdict]) -> None:
        """Append decisions, and the verdict on each."""
        if not decisions:
            return
        rows = [
            _Row(d.t_s, self._named(d), d.why, d.cue, v.label, v.command)
            for d, v in zip(decisions, verdicts, strict=True)
        ]
        text = msgspec.json.encode(rows)[1:-1]
        with writing(self._path):
            self._file.write(text if self._is_empty else b"," + text)
        self._is_empty = False

    def _named(self, decision: Decision) -> dict[str, float] | None:
        return None if decision.probs is None else dict(zip(self._classes, decision.probs.tolist(), strict=True))

    def end(self, figures: dict[str, Any]) -> None:
        """Close the list, write the figures, and let the file appear."""
        with writing(self._path):
            self._file.write(b"]," + msgspec.json.encode(figures)[1:] + b"\n")
            self._file.flush()
            self._file.close()
            if self._part != self._path:
                self._part.replace(self._path)
