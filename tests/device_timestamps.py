"""Devices whose timestamps jitter and come in packets, with the times at which their samples were really taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.signal.losses import LossDetector

T0_S = 1e4
SETTLED_S = 3.0  # after a start or a break

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Device:
    """A device that stamps packets of `n_packet` samples, each with a delay of its own.

    Attributes
    ----------
    stamping
        How the samples of a packet are stamped: ``dated back`` at the nominal rate from the packet's arrival, ``equal``
        (all on arrival), or ``quick`` (one after the other on arrival).
    jitter_s
        The standard deviation of a packet's delay.
    is_one_sided
        Whether packets are only late; the delay is exponential, otherwise normal.
    drift_ppm
        By how much samples come faster than the nominal rate says.
    """

    sfreq_hz: float
    n_packet: int
    stamping: Literal["dated back", "equal", "quick"] = "dated back"
    jitter_s: float = 0.0
    is_one_sided: bool = False
    drift_ppm: float = 0.0

    def __str__(self) -> str:
        side = "one-sided" if self.is_one_sided else "normal"
        return (
            f"{self.sfreq_hz:g} Hz, {self.n_packet} a packet, {self.stamping}, {1000 * self.jitter_s:g} ms {side}, "
            f"{self.drift_ppm:g} ppm"
        )

    @property
    def tolerance_s(self) -> float:
        """How far a sample's time may be off: a sample, but at least 2 ms."""
        return max(1 / self.sfreq_hz, 0.002)

    @property
    def n_settled(self) -> int:
        """The number of samples after which times must be right."""
        return int(SETTLED_S * self.sfreq_hz)

    def take(self, seconds: float) -> Floats:
        """Return when the device takes its samples: (n_samples,)."""
        return T0_S + np.arange(int(seconds * self.sfreq_hz)) / (self.sfreq_hz * (1 + 1e-6 * self.drift_ppm))

    def stamp(self, taken_s: Floats, *, seed: int) -> Floats:
        """Return the timestamps (n_samples,) of samples that were taken at `taken_s` and arrived."""
        rng = np.random.default_rng(seed)
        k = np.arange(len(taken_s))
        first = k - k % self.n_packet
        last = np.minimum(first + self.n_packet, len(taken_s)) - 1
        draw = rng.standard_exponential if self.is_one_sided else rng.standard_normal
        delay_s = self.jitter_s * draw(first[-1] // self.n_packet + 1)  # (n_packets,)
        arrival_s = taken_s[last] + delay_s[k // self.n_packet]
        if self.stamping == "dated back":
            return arrival_s - (last - k) / self.sfreq_hz
        arrival_s = np.maximum.accumulate(arrival_s)  # packets arrive in their order
        return arrival_s if self.stamping == "equal" else arrival_s + 0.05 * (k - first) / self.sfreq_hz


@dataclass(frozen=True)
class Followed:
    """Results of the live checks on timestamps.

    `times_s` are the times of the samples and `uncertainty_s` what was stated before each, (n_samples,) both; `late`
    has the breaks from `SETTLED_S` on.
    """

    losses: LossDetector
    times_s: Floats
    uncertainty_s: Floats
    late: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, int]:
        """Samples lost, and steps of the clock."""
        return self.losses.counts.n_lost, self.losses.counts.n_clock_steps


def follow(t_s: Floats, *, sfreq_hz: float, chunk_s: float = 0.05) -> Followed:
    """Follow timestamps (n_samples,) in chunks, as the live service does."""
    losses = LossDetector(sfreq_hz=sfreq_hz)
    n_chunk = max(1, round(chunk_s * sfreq_hz))
    times_s, uncertainty_s, late = [], [], []
    for start in range(0, len(t_s), n_chunk):
        chunk_t_s = t_s[start : start + n_chunk]
        uncertainty_s += [losses.shifts.line.uncertainty_s] * len(chunk_t_s)
        checked = losses.check(np.zeros((len(chunk_t_s), 1), np.float32), chunk_t_s)
        times_s.append(checked.times_s)
        late += [each.why for each in checked.breaks if start + each.index >= SETTLED_S * sfreq_hz]
    return Followed(losses, np.concatenate(times_s), np.array(uncertainty_s), tuple(late))


def share_within(error_s: Floats, tolerance_s: float | Floats) -> float:
    """Return the share of errors within a tolerance, up to a constant delay."""
    return float(np.mean(np.abs(error_s - np.median(error_s)) <= tolerance_s))
