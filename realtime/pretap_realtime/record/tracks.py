"""What a recording keeps of each stream: samples on their way to the file, losses, clock offsets, the footer. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.record import xdf_writer
from pretap_realtime.signal.compatibility import Description, printable
from pretap_realtime.signal.losses import LossDetector

__all__ = ["Identity", "Track"]

_MAX_HZ: Final = 1e6  # beyond, a rate is a mistake, and ten seconds of it fill the memory


@dataclass(frozen=True)
class Identity:
    """What makes a stream that comes back the same stream: its samples go on where they stopped."""

    name: str
    type: str
    source_id: str
    format: str
    n_channels: int
    sfreq_hz: float
    labels: tuple[str, ...]

    @classmethod
    def of(cls, description: Description, *, kind: str, source_id: str) -> Identity:
        d = description
        return cls(d.name, kind, source_id, d.format, d.n_channels, d.sfreq_hz, d.labels)


class Track:
    """One stream of the file.

    Attributes
    ----------
    n_samples, n_lost
        Received, and counted as lost by its stamps (`LossDetector`; 0 for a stream without a rate). A loss while the
        stream was gone is not counted: nobody knows what it sent.
    n_not_utf8
        Samples of text that is not UTF-8; the file holds their bytes as they came.
    n_returns
        How often it was gone and came back.
    """

    def __init__(self, stream_id: int, identity: Identity) -> None:
        self.id, self.identity = stream_id, identity
        self.n_samples = self.n_not_utf8 = self.n_returns = 0
        self.is_text = identity.format == "string"
        self._n_lost_before = 0  # the stream went away
        self._health = self._new_health()
        self._values: list[NDArray[Any]] = []  # each (n_new, n_channels)
        self._t_s: list[NDArray[np.float64]] = []  # each (n_new,)
        self._first_s = self._last_s = 0.0
        self._offsets: list[tuple[float, float]] = []

    def _new_health(self) -> LossDetector | None:
        sfreq_hz = self.identity.sfreq_hz
        return LossDetector(sfreq_hz=sfreq_hz) if 0 < sfreq_hz <= _MAX_HZ else None

    @property
    def name(self) -> str:
        return printable(self.identity.name)

    @property
    def n_lost(self) -> int:
        return self._n_lost_before + (self._health.counts.n_lost if self._health is not None else 0)

    @property
    def counts_losses(self) -> bool:
        return self._health is not None

    def add(self, values: NDArray[Any], t_s: NDArray[np.float64]) -> None:
        """Take samples (n_new, n_channels) that have arrived, and their stamps (n_new,)."""
        if t_s.size:
            self._values.append(values)
            self._t_s.append(t_s)

    def seal(self) -> list[xdf_writer.Chunk]:
        """Give what was added since the last call, as a chunk."""
        if not self._t_s:
            return []
        values, t_s = np.concatenate(self._values), np.concatenate(self._t_s)
        self._values.clear()
        self._t_s.clear()
        if self._health is not None:
            self._health.check(np.empty((len(t_s), 0)) if self.is_text else values, t_s)
        if self.is_text:
            self.n_not_utf8 += sum(not all(_is_utf8(text) for text in row) for row in values.tolist())
        if not self.n_samples:
            self._first_s = float(t_s[0])
        self._last_s = float(t_s[-1])
        self.n_samples += len(t_s)
        return [xdf_writer.samples(self.id, values, t_s)]

    def clock_offset(self, *, measured_s: float, offset_s: float) -> xdf_writer.Chunk:
        self._offsets.append((measured_s, offset_s))
        return xdf_writer.clock_offset(self.id, measured_s=measured_s, offset_s=offset_s)

    def came_back(self) -> None:
        """Start over with the stamps; the counts go on."""
        self.n_returns += 1
        self._n_lost_before = self.n_lost
        self._health = self._new_health()

    def footer(self) -> xdf_writer.Chunk:
        facts = {"lost_samples": str(self.n_lost)} if self.counts_losses else {}
        if self.n_not_utf8:
            facts["samples_not_utf8"] = str(self.n_not_utf8)
        if self.n_returns:
            facts["interruptions"] = str(self.n_returns)
        return xdf_writer.footer(
            self.id,
            n_samples=self.n_samples,
            first_s=_finite(self._first_s),
            last_s=_finite(self._last_s),
            offsets=self._offsets,
            facts=facts,
        )

    def __str__(self) -> str:
        parts = [f"{self.n_samples} samples"]
        if self.counts_losses:
            parts.append(f"{self.n_lost} lost")
        if self.n_returns:
            parts.append(f"back {self.n_returns} times")
        if self.n_not_utf8:
            parts.append(f"{self.n_not_utf8} of them not UTF-8, kept as they came")
        return f"{self.name}: {', '.join(parts)}"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _finite(t_s: float) -> float:
    return t_s if math.isfinite(t_s) else 0.0
