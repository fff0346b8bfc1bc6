"""Edges of a photodiode's signal, and the markers that they belong to. Pure; used by `diode`.

The signal has two levels, noise, and a baseline that may drift or, behind a high-pass filter, decay after each edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

_GUARD_S, _PLATEAU_S = 0.02, 0.05  # before and after an edge: what is left out, then what its levels are read from
_STRIDE_S: Final = 0.005  # between places at which a step is looked for
_MIN_STEP: Final = 0.5  # of the usual step
_EARLIEST_S, _LATEST_S = -0.25, 1.0  # of an edge, after its marker
_SPREAD_S: Final = 0.05  # of the delays of most edges
_MAX_OFF_S: Final = 0.1  # of one delay from most


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges at `positions` (n_edges,), in samples and fractions of one; `is_rise` (n_edges,)."""

    positions: NDArray[np.float64]
    is_rise: NDArray[np.bool_]


def find_edges(x: NDArray[np.float64], *, sfreq_hz: float, n_expected: int) -> Edges:
    """Find the edges of a signal (n_samples,), of which about `n_expected` are there.

    An edge is a step between the medians of the 50 ms before and after a place, without the nearest 20 ms. It counts if
    it has half the size of the usual step. Medians of so many samples ignore noise and spikes, and differences of
    neighbours ignore a baseline that drifts. The edge is then placed by interpolation, halfway between both medians.
    """
    none = Edges(np.zeros(0), np.zeros(0, bool))
    guard, n = max(1, round(_GUARD_S * sfreq_hz)), max(2, round(_PLATEAU_S * sfreq_hz))
    if len(x) < 2 * (guard + n):
        return none
    starts = np.arange(0, len(x) - 2 * (guard + n) + 1, max(1, round(_STRIDE_S * sfreq_hz)))
    windows = np.lib.stride_tricks.sliding_window_view(x, n)
    steps = np.median(windows[starts + n + 2 * guard], axis=1) - np.median(windows[starts], axis=1)  # (n_places,)
    sizes = np.sort([np.abs(steps[start:stop]).max() for start, stop in _runs(np.sign(steps))])[::-1]
    if not sizes.size:
        return none
    threshold = _MIN_STEP * float(sizes[min(n_expected // 4, len(sizes) - 1)])
    found = []
    for start, stop in _runs(np.where(np.abs(steps) > threshold, np.sign(steps), 0)):
        weights = np.abs(steps[start:stop])
        centre = round(float(np.average(starts[start:stop], weights=weights))) + n + guard
        position = _place(x, centre, guard=guard, n=n)
        if position is not None:
            found.append((position, bool(steps[start] > 0)))
    return Edges(np.array([each for each, _ in found], np.float64), np.array([each for _, each in found], bool))


def _runs(signs: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the runs (start, stop) of equal signs other than 0."""
    bounds = [0, *(np.flatnonzero(np.diff(signs)) + 1).tolist(), len(signs)]
    return [(start, stop) for start, stop in pairwise(bounds) if signs[start]]


def _place(x: NDArray[np.float64], i: int, *, guard: int, n: int) -> float | None:
    """Return where the signal crosses half of its step near sample `i`, or None if it does not."""
    low = float(np.median(x[max(0, i - guard - n) : max(1, i - guard)]))
    high = float(np.median(x[i + guard : i + guard + n]))
    first = max(0, i - 2 * guard)
    near = (x[first : i + 2 * guard + 1] - (low + high) / 2) * np.sign(high - low)  # rises through 0
    crossings = np.flatnonzero((near[:-1] < 0) & (near[1:] >= 0))
    if not crossings.size:
        return None
    k = int(crossings[np.abs(first + crossings - i).argmin()])
    return first + k + float(near[k] / (near[k] - near[k + 1]))


@dataclass(frozen=True, eq=False)
class Matches:
    """Markers and the edges that follow them.

    Attributes
    ----------
    delays_s
        (n_matched,): by how much each matched edge follows its marker.
    n_markers, n_extra
        The number of markers, and of edges between the first and the last marker that belong to none.
    on_is_rise
        Whether the signal rises when the light goes on.
    """

    delays_s: NDArray[np.float64]
    n_markers: int
    n_extra: int
    on_is_rise: bool


def match(
    on_s: NDArray[np.float64],
    off_s: NDArray[np.float64],
    edges_s: NDArray[np.float64],
    is_rise: NDArray[np.bool_],
) -> Matches:
    """Match markers at `on_s` and `off_s` to edges at `edges_s`, all in seconds.

    The polarity of the diode, and the delay around which most edges lie, are those with the most pairs. An edge within
    100 ms of that delay belongs to its marker.
    """
    counts = []
    for on_is_rise in (True, False):
        pairs = [(on_s, edges_s[is_rise == on_is_rise]), (off_s, edges_s[is_rise != on_is_rise])]
        delay_s, n = _usual_delay(np.concatenate([_differences(*pair) for pair in pairs]))
        counts.append((n, -abs(delay_s), delay_s, on_is_rise, pairs))
    _, _, delay_s, on_is_rise, pairs = max(counts, key=lambda each: each[:2])
    delays_s = np.concatenate([_pair(*pair, delay_s=delay_s) for pair in pairs])
    markers_s = np.concatenate([on_s, off_s])
    first_s, last_s = markers_s.min() + delay_s - _MAX_OFF_S, markers_s.max() + delay_s + _MAX_OFF_S
    # Without markers for `off`, the edges of that direction are expected.
    counted = edges_s if off_s.size else pairs[0][1]
    n_between = int(np.count_nonzero((counted >= first_s) & (counted <= last_s)))
    return Matches(delays_s, len(markers_s), n_between - len(delays_s), on_is_rise)


def _differences(markers_s: NDArray[np.float64], edges_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much edges follow markers, for all pairs that can belong together."""
    found = [
        edges_s[np.searchsorted(edges_s, t_s + _EARLIEST_S) : np.searchsorted(edges_s, t_s + _LATEST_S)] - t_s
        for t_s in markers_s.tolist()
    ]
    return np.concatenate(found) if found else np.zeros(0)


def _usual_delay(differences_s: NDArray[np.float64]) -> tuple[float, int]:
    """Return the median of the most differences that lie within 50 ms, and how many these are."""
    ordered = np.sort(differences_s)
    if not ordered.size:
        return 0.0, 0
    stops = np.searchsorted(ordered, ordered + _SPREAD_S, side="right")
    start = int((stops - np.arange(len(ordered))).argmax())
    return float(np.median(ordered[start : stops[start]])), int(stops[start]) - start


def _pair(markers_s: NDArray[np.float64], edges_s: NDArray[np.float64], *, delay_s: float) -> NDArray[np.float64]:
    """Return the delays of the pairs of which each is the nearest to the other."""
    if not markers_s.size or not edges_s.size:
        return np.zeros(0)
    off_s = np.abs(edges_s - (markers_s + delay_s)[:, None])  # (n_markers, n_edges)
    edge = off_s.argmin(axis=1)  # (n_markers,)
    is_mutual = off_s.argmin(axis=0)[edge] == np.arange(len(markers_s))
    is_near = off_s[np.arange(len(markers_s)), edge] <= _MAX_OFF_S
    kept = is_mutual & is_near
    delays_s: NDArray[np.float64] = edges_s[edge[kept]] - markers_s[kept]
    return delays_s
