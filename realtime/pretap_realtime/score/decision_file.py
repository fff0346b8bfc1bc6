"""DecisionFile: writes decisions as JSON while they are made. Used by `score`.

An hour of decisions at every sample is 400 MB of text, which is never held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from pretap.decoder.adapting import Adapted
from pretap.files import explaining_a_full_disk, writing
from pretap_realtime.decide.policy import Verdict
from pretap_realtime.signal.chunk import Decision


class _Row(msgspec.Struct, frozen=True, gc=False):
    t: float
    p: dict[str, float] | None
    why: str
    cue: str
    sample: int
    label: str
    command: bool
    adapted: Adapted | msgspec.UnsetType


class DecisionFile:
    """A JSON object with ``decisions``, rows of ``{t, p, why, cue, sample, label, command}``, followed by the figures.

    If the decoder adapts, a row has ``adapted`` too: how far its state had moved before.

    The file appears when `finish` has written everything, or not at all.

    Raises
    ------
    UsageError
        If the file cannot be written; every method raises this.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path, self._classes = path, tuple(classes)
        is_device = path.exists() and not path.is_file()  # such as /dev/stdout, which a file must not replace
        self._part = path if is_device else path.with_name(path.name + ".part")
        with writing(self._path), explaining_a_full_disk(self._path.parent):
            self._file = self._part.open("wb")
            self._file.write(b'{"decisions":[')
        self._is_empty = True

    def __enter__(self) -> DecisionFile:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._file.closed:  # `finish` was not called
            with suppress(OSError):
                self._file.close()
            if self._part != self._path:
                self._part.unlink(missing_ok=True)

    def write(self, decisions: Sequence[Decision], verdicts: Sequence[Verdict]) -> None:
        """Append decisions and their verdicts."""
        if not decisions:
            return
        rows = [
            _Row(d.t_s, self._by_class(d), d.why, d.cue, d.sample, v.label, v.command, d.adapted or msgspec.UNSET)
            for d, v in zip(decisions, verdicts, strict=True)
        ]
        text = msgspec.json.encode(rows)[1:-1]
        with writing(self._path), explaining_a_full_disk(self._path.parent):
            self._file.write(text if self._is_empty else b"," + text)
        self._is_empty = False

    def _by_class(self, decision: Decision) -> dict[str, float] | None:
        return None if decision.probs is None else dict(zip(self._classes, decision.probs.tolist(), strict=True))

    def finish(self, figures: dict[str, Any]) -> None:
        """Close the list, write the figures, and move the file into place."""
        with writing(self._path), explaining_a_full_disk(self._path.parent):
            self._file.write(b"]," + msgspec.json.encode(figures)[1:] + b"\n")
            self._file.flush()
            self._file.close()
            if self._part != self._path:
                self._part.replace(self._path)
