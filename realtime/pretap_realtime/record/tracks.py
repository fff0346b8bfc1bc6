"""Tracks: the pending samples, losses, clock offsets and footer of each recorded stream. Pure; used by `recorder`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.events import is_marker_stream
from pretap_realtime.record import xdf_writer
from pretap_realtime.signal.compatibility import printable
from pretap_realtime.signal.losses import LossDetector

_MAX_HZ: Final = 1e6  # a higher rate is a mistake, and ten seconds of it would fill the memory


@dataclass(frozen=True)
class Identity:
    """Identifies a stream that returns: if all fields are equal, its recording continues."""

    name: str
    type: str
    source_id: str
    format: str
    n_channels: int
    sfreq_hz: float
    labels: tuple[str, ...]


class Track:
    """One stream of the file.

    Attributes
    ----------
    n_samples
        Number of samples received.
    n_not_utf8
        Number of samples with text that is not UTF-8; the file holds their bytes unchanged.
    n_returns
        How many times the stream disappeared and came back.
    """

    def __init__(self, stream_id: int, identity: Identity) -> None:
        self.id, self.identity = stream_id, identity
        self.is_text = identity.format == "string"
        self.n_samples = self.n_not_utf8 = self.n_returns = 0
        has_rate = 0 < identity.sfreq_hz <= _MAX_HZ
        self._losses = LossDetector(sfreq_hz=identity.sfreq_hz) if has_rate else None
        self._pending: list[tuple[NDArray[Any], NDArray[np.float64]]] = []  # (n_new, n_channels), (n_new,)
        self._span_s = (0.0, 0.0)  # the timestamps of the first and the last sample
        self._offsets: list[tuple[float, float]] = []

    @property
    def name(self) -> str:
        return printable(self.identity.name)

    @property
    def n_lost(self) -> int:
        """Samples lost according to the timestamps, 0 without a rate; those lost between connections are unknown."""
        return self._losses.counts.n_lost if self._losses is not None else 0

    @property
    def has_markers(self) -> bool:
        one = self.identity
        return is_marker_stream(format=one.format, type=one.type, sfreq_hz=one.sfreq_hz)

    @property
    def counts_losses(self) -> bool:
        return self._losses is not None

    def append(self, values: NDArray[Any], t_s: NDArray[np.float64]) -> None:
        """Add samples (n_new, n_channels) and their timestamps (n_new,)."""
        if t_s.size:
            self._pending.append((values, t_s))

    def flush(self) -> list[xdf_writer.Chunk]:
        """Return the samples added since the last call as at most one chunk."""
        if not self._pending:
            return []
        values, t_s = map(np.concatenate, zip(*self._pending, strict=True))
        self._pending.clear()
        if self._losses is not None:
            self._losses.check(np.empty((len(t_s), 0)) if self.is_text else values, t_s)
        if self.is_text:
            self.n_not_utf8 += sum(not all(map(_is_utf8, row)) for row in values.tolist())
        self._span_s = (self._span_s[0] if self.n_samples else float(t_s[0]), float(t_s[-1]))
        self.n_samples += len(t_s)
        return [xdf_writer.samples(self.id, values, t_s)]

    def clock_offset(self, *, measured_s: float, offset_s: float) -> xdf_writer.Chunk:
        self._offsets.append((measured_s, offset_s))
        return xdf_writer.clock_offset(self.id, measured_s=measured_s, offset_s=offset_s)

    def resume(self) -> None:
        """Continue with a new connection: timestamps are compared among themselves again, the counts go on."""
        self.n_returns += 1
        if self._losses is not None:
            self._losses.reset(sfreq_hz=self.identity.sfreq_hz)

    def footer(self) -> xdf_writer.Chunk:
        facts = {"lost_samples": str(self.n_lost)} if self.counts_losses else {}
        if self.n_not_utf8:
            facts["samples_not_utf8"] = str(self.n_not_utf8)
        if self.n_returns:
            facts["interruptions"] = str(self.n_returns)
        first_s, last_s = (t_s if math.isfinite(t_s) else 0.0 for t_s in self._span_s)
        return xdf_writer.footer(
            self.id, n_samples=self.n_samples, first_s=first_s, last_s=last_s, offsets=self._offsets, facts=facts
        )

    def __str__(self) -> str:
        parts = [f"{self.n_samples} samples"]
        if self.counts_losses:
            parts.append(f"{self.n_lost} lost")
        if self.n_returns:
            parts.append(f"came back {self.n_returns} times")
        if self.n_not_utf8:
            parts.append(f"{self.n_not_utf8} of them not UTF-8, written unchanged")
        return f"{self.name}: {', '.join(parts)}"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
