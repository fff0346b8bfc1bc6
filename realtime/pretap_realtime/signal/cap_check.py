"""Whether each electrode is at the position that its label names. Pure; used by the quality check.

Neighbours on the head record nearly the same, so the correlations of a channel tell its position. The training's
correlations S (against the common average, so that no reference matters) are compared with the stream's, D: under a
normal distribution with S the misfit is trace(S^-1 D). For ten other, simulated heads it is four to five times that of
the head trained on, but no other order of the channels fits better than the true one by more than 4 %
on any of those (docs/signal-quality.md). A mirrored cap is the exception: heads are nearly symmetric, and on others the
mirrored order fitted up to a fifth better, so left and right can be told on the head of the training only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pretap.signal.channels import MISSING, electrode_names, mirrored
from pretap.signal.statistics import Statistics, rereferenced

_CONNECTORS = (8, 16, 32)
_MAX_CHANNELS, _MIN_CHANNELS = 64, 8  # a check of 64 takes 3 to 8 ms
_NOISE = 0.02  # added to each correlation matrix's diagonal: what an amplifier adds
_BETTER = 0.9  # of the misfit: another order must bring it so far down
_SAME_HEAD = 1.5  # times the training's own misfit: beyond it is another head, and a mirror proves nothing
_AS_GOOD = 1.1  # a known swap is named if it fits as well as the best order that is found
_FEW = 6  # electrodes that are listed; in which order more of them are, a few seconds do not tell for certain
_MAX_STEPS, _STEP = 64, 0.01

_Floats = NDArray[np.float64]
_Order = NDArray[np.intp]


class CapCheck:
    """Compares a stream's correlations with the training's.

    Parameters
    ----------
    order
        For each channel of the bundle its number in the stream, `MISSING` if it has none: connectors carry
        neighbours in the stream.
    """

    def __init__(self, channels: Sequence[str], known: Statistics, *, order: Sequence[int]) -> None:
        self._channels, self._known = tuple(channels), known
        self._swaps = _known_swaps(channels, order) if len(channels) <= _MAX_CHANNELS else {}

    def find_swap(self, covariance: _Floats, good: NDArray[np.bool_]) -> str:
        """Return the swap that the covariance (n_channels, n_channels) of the `good` channels shows; empty for none."""
        index = np.flatnonzero(good)
        if not _MIN_CHANNELS <= len(index) <= _MAX_CHANNELS:
            return ""
        s = _correlations(self._known.covariance[np.ix_(index, index)])
        d = _correlations(covariance[np.ix_(index, index)])
        if s is None or d is None:
            return ""
        k: _Floats = np.linalg.inv(s + _NOISE * np.eye(len(s))).astype(np.float64)
        as_labelled = _misfit(k, d, np.arange(len(d)))
        named, name = np.inf, ""
        for words, swap in self._swaps.items():
            order = _within(swap, index)
            misfit = _misfit(k, d, order)
            if words == _MIRROR and misfit > _SAME_HEAD * float((k * s).sum()):
                continue
            if misfit < named:
                named, name = misfit, words
        found, order = _descend(k, d)
        if named <= _BETTER * as_labelled and named <= _AS_GOOD * found:
            return f"swapped cap: {name}"
        if found <= _BETTER * as_labelled:
            return f"swapped cap: {self._in_words(index, order)}"
        return ""

    def _in_words(self, index: _Order, order: _Order) -> str:
        names = [self._channels[i] for i in index]
        moved = [i for i, j in enumerate(order) if i != j]
        if all(order[order[i]] == i for i in moved) and len(moved) <= _FEW:
            pairs = [f"{names[i]} with {names[order[i]]}" for i in moved if i < order[i]]
            return f"{', '.join(pairs)} swapped. Check the plugs and the stream's labels"
        return "many electrodes do not match their labels. Check the plugs and the order of the stream's labels"


_MIRROR = "left and right are mirrored. Check the plugs, the cap, and the stream's labels"


def _known_swaps(channels: Sequence[str], order: Sequence[int]) -> dict[str, _Order]:
    """Return swaps that happen to caps by description: for each channel the one that carries its signal."""
    names = electrode_names(channels)
    index = {name: i for i, name in enumerate(names)}
    here = np.arange(len(names))
    swaps: dict[str, _Order] = {}
    mirror = np.array([index.get(mirrored(name), i) for i, name in enumerate(names)])
    swaps[_MIRROR] = mirror
    at = {number: i for i, number in enumerate(order) if number != MISSING}
    n_stream = max(at, default=-1) + 1
    for size in _CONNECTORS:
        plugs = [range(start, start + size) for start in range(0, n_stream, size)]
        for (i, one), (j, other) in combinations(enumerate(plugs, 1), 2):
            swap = _moved(here, at, [*zip(one, other, strict=True), *zip(other, one, strict=True)])
            swaps[f"connectors {i} and {j} of {size} channels are swapped. Swap the plugs, or the stream's labels"] = (
                swap
            )
        for i, one in enumerate(plugs, 1):
            swap = _moved(here, at, list(zip(one, reversed(one), strict=True)))
            swaps[f"connector {i} of {size} channels is plugged in the wrong way round"] = swap
    whole = range(n_stream)
    swaps["the stream's labels are in reverse order"] = _moved(here, at, list(zip(whole, reversed(whole), strict=True)))
    for step, words in ((1, "later"), (-1, "earlier")):
        swap = _moved(here, at, [(k, (k + step) % n_stream) for k in whole])
        swaps[f"the signals come one channel {words} than the stream's labels say"] = swap
    return {words: swap for words, swap in swaps.items() if sorted(swap) == list(here) and (swap != here).any()}


def _moved(here: _Order, at: dict[int, int], moves: list[tuple[int, int]]) -> _Order:
    """Return the swap in which channel `one` of the stream gets the signal of `other`, if the bundle has both."""
    swap = here.copy()
    for one, other in moves:
        if one in at and other in at:
            swap[at[one]] = at[other]
    return swap


def _within(swap: _Order, index: _Order) -> _Order:
    """Return the swap among the channels `index` only; one whose partner is not among them stays in place."""
    place = {int(i): k for k, i in enumerate(index)}
    order = np.array([place.get(int(swap[i]), k) for k, i in enumerate(index)])
    return order if len(set(order.tolist())) == len(order) else np.arange(len(index))


def _correlations(covariance: _Floats) -> _Floats | None:
    """Return the correlations against the common average; None if an electrode has no signal of its own."""
    covariance = rereferenced(covariance)
    sd = np.sqrt(np.diag(covariance))
    if not sd.all():
        return None
    result: _Floats = covariance / np.outer(sd, sd)
    return result


def _misfit(k: _Floats, d: _Floats, order: _Order) -> float:
    return float((k * d[np.ix_(order, order)]).sum())


def _descend(k: _Floats, d: _Floats) -> tuple[float, _Order]:
    """Swap the two channels that lower the misfit most, again and again; return the misfit and the order."""
    order = np.arange(len(d))
    misfit = _misfit(k, d, order)
    for _ in range(_MAX_STEPS):
        gains = _gains(k, d[np.ix_(order, order)])
        a, b = np.unravel_index(int(gains.argmin()), gains.shape)
        if gains[a, b] > -_STEP * misfit:
            break
        order[[a, b]] = order[[b, a]]
        misfit += float(gains[a, b])
    return misfit, order


def _gains(k: _Floats, d: _Floats) -> _Floats:
    """Return by how much the misfit grows if channels a and b are swapped, (n, n), for all pairs at once."""
    product = k @ d
    own_k, own_d, own = np.diag(k), np.diag(d), np.diag(product)
    all_rows = product + product.T - own[:, None] - own[None, :]
    # the rows of a and b themselves were counted as if they were others
    rows_a = (own_k[:, None] - k) * (d - own_d[:, None])
    rows_b = (k - own_k[None, :]) * (own_d[None, :] - d)
    both = (own_k[:, None] - own_k[None, :]) * (own_d[None, :] - own_d[:, None])
    result: _Floats = 2 * (all_rows - rows_a - rows_b) + both
    return result
