"""Figures of a cell, from the samples that were sent and the predictions that arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peer_bench.noise import SFREQ_HZ, noise_uv, window_uv

__all__ = ["Latencies", "Received", "Sent", "count_misplaced", "count_wrong", "latencies"]

_OFF_GRID = 0.25  # of a sample: timeflux dejitters and corrects its timestamps, which moves them by microseconds
_N_CHECKS = 10
_TOLERANCE = 1e-5  # of a probability; windows one sample apart differ by more


@dataclass(frozen=True, eq=False)
class Sent:
    """The source's record: sample n has the timestamp ``t0_s + n / SFREQ_HZ``, chunk k was pushed at `pushed_s[k]`."""

    t0_s: float
    n_chunk: int
    pushed_s: NDArray[np.float64]

    @classmethod
    def read(cls, file: Path) -> Sent:
        with np.load(file) as sent:
            return cls(float(sent["t0_s"]), int(sent["n_chunk"]), sent["pushed_s"])


@dataclass(frozen=True, eq=False)
class Received:
    """The predictions: the number of each window's last sample, the arrival, p_left and p_right."""

    n_last: NDArray[np.int64]
    clocks_s: NDArray[np.float64]
    probs: NDArray[np.float64]  # (n, 2)

    @classmethod
    def read(cls, file: Path, sent: Sent) -> Received:
        """Map timestamps to samples; rows of quality 0 are not predictions."""
        with np.load(file) as got:
            valid = got["rows"][:, 2] > 0
            stamps, clocks, rows = got["stamps_s"][valid], got["clocks_s"][valid], got["rows"][valid]
        exact = (stamps - sent.t0_s) * SFREQ_HZ
        n_last = np.rint(exact).astype(np.int64)
        off = np.abs(exact - n_last)
        if off.size and off.max() > _OFF_GRID:
            raise ValueError(f"a timestamp is {off.max():.2f} samples off the source's")
        return cls(n_last, clocks, rows[:, :2])


@dataclass(frozen=True, eq=False)
class Latencies:
    """One latency for each expected window end that arrived: `index` is its first row in `Received`."""

    index: NDArray[np.intp]
    ms: NDArray[np.float64]
    n_expected: int

    def figures(self) -> dict[str, Any]:
        """Return percentiles in milliseconds (None if nothing arrived) and the counts."""
        names = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
        values = np.percentile(self.ms, (50, 95, 99, 100)).round(4).tolist() if self.ms.size else [None] * 4
        counts = {"expected": self.n_expected, "missed": self.n_expected - self.ms.size}
        return dict(zip(names, values, strict=True)) | counts


def latencies(sent: Sent, got: Received, *, hop: int, begin_s: float, end_s: float) -> Latencies:
    """Select the windows whose last sample has a timestamp within [begin_s, end_s).

    They end every `hop` samples; the system's first prediction fixes the phase. A latency counts from the push of the
    chunk that held the window's last sample.
    """
    first, last = (int(np.ceil((t_s - sent.t0_s) * SFREQ_HZ)) for t_s in (begin_s, end_s))
    expected = np.arange(first + (got.n_last[0] - first) % hop, last, hop)
    ends, index = np.unique(got.n_last, return_index=True)
    index = index[np.isin(ends, expected)]
    ms = (got.clocks_s[index] - sent.pushed_s[got.n_last[index] // sent.n_chunk]) * 1000
    return Latencies(index, ms, len(expected))


def count_wrong(got: Received, index: NDArray[np.intp], decode: Callable[[NDArray[Any]], NDArray[np.float64]]) -> int:
    """Count those of ten rows from `index` that differ from what `decode` returns for their window."""
    picked = index[np.unique(np.linspace(0, len(index) - 1, _N_CHECKS).astype(int))] if len(index) else index
    table = noise_uv()
    errors = (np.abs(decode(window_uv(table, got.n_last[i])) - got.probs[i]).max() for i in picked)
    return sum(not error <= _TOLERANCE for error in errors)


def count_misplaced(got: Received) -> int:
    """Count the rows that arrived twice, or after one of a later window."""
    if not got.n_last.size:
        return 0
    latest = np.maximum.accumulate(got.n_last)
    return int((got.n_last[1:] <= latest[:-1]).sum())
