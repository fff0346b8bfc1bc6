"""Figures of a set of delays, and their histogram as text. Pure; used by `passages` and `diode`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

_N_BINS: Final = 12
_WIDTH: Final = 40  # characters of the longest bar
_STEPS: Final = (1.0, 2.0, 5.0, 10.0)


class Bin(msgspec.Struct, frozen=True):
    """One bar of a histogram; `to_ms` is None if the bin is open-ended."""

    from_ms: float
    to_ms: float | None
    n: int


class Figures(msgspec.Struct, frozen=True):
    """The distribution of `n` delays in milliseconds."""

    n: int
    p5_ms: float
    p50_ms: float
    p95_ms: float
    max_ms: float
    mean_ms: float
    sd_ms: float
    bin_ms: float
    histogram: tuple[Bin, ...]

    @classmethod
    def of(cls, delays_s: Sequence[float]) -> Figures:
        """Compute the figures of at least one delay."""
        x_ms = 1000 * np.asarray(delays_s, np.float64)  # (n_delays,)
        p5, p50, p95 = (float(np.percentile(x_ms, q)) for q in (5, 50, 95))
        sd = float(x_ms.std(ddof=1)) if len(x_ms) > 1 else 0.0
        low, high = float(x_ms.min()), min(float(x_ms.max()), p95 + (p95 - p5) / 2)  # without stragglers
        bin_ms = _bin_width(low, high)
        bins = _bins(x_ms.tolist(), bin_ms, high=high)
        return cls(len(x_ms), p5, p50, p95, float(x_ms.max()), float(x_ms.mean()), sd, bin_ms, bins)

    def bars(self) -> str:
        """Return the histogram as lines of text."""
        most = max(each.n for each in self.histogram)
        places = max(0, -math.floor(math.log10(self.bin_ms) + 1e-9))
        lines = []
        for each in self.histogram:
            to = f"to {each.to_ms:8.{places}f}" if each.to_ms is not None else "and more   "
            lines.append(
                f"{each.from_ms:8.{places}f} {to} ms  {'█' * math.ceil(_WIDTH * each.n / most):<{_WIDTH}} {each.n}"
            )
        return "\n".join(lines)


def _bin_width(low: float, high: float) -> float:
    """Return a width of 1, 2 or 5 times a power of ten that makes about a dozen bins."""
    wanted = max(high - low, 0.1) / _N_BINS
    magnitude = 10.0 ** math.floor(math.log10(wanted))
    return magnitude * next(step for step in _STEPS if step * magnitude >= wanted * (1 - 1e-9))


def _bins(x_ms: Sequence[float], width: float, *, high: float) -> tuple[Bin, ...]:
    """Return bins up to `high`, and an open-ended one for the rest."""
    index = [math.floor(x / width) for x in x_ms]
    first, last = min(index), math.floor(high / width)
    n_rest = sum(k > last for k in index)
    closed = tuple(Bin(k * width, (k + 1) * width, index.count(k)) for k in range(first, last + 1))
    return (*closed, Bin((last + 1) * width, None, n_rest)) if n_rest else closed
