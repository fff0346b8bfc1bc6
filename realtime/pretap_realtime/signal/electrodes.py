"""Flat, missing and masked electrodes: replaced by an interpolation of their neighbours.

Used by the front end. Pure. Electrodes are replaced in raw microvolts, before the decoder subtracts any reference, so a
bad one is no part of an average reference. A missing electrode arrives as zeros, so it is flat too: one rule covers
both. Flatness is judged here, over blocks of a quarter of a second that are counted in samples, so chunk boundaries
decide nothing; the quality check finds all other faults, and they are masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretap.signal.interpolation import can_interpolate, interpolating_matrix, max_interpolated
from pretap.signal.statistics import block_samples

FLAT_UV: Final = 0.1  # peak to peak in a block; the noise of any amplifier with an electrode is 0.5 uV and more
_ALL_BACK: Final = "all electrodes are back"
_BACK_BLOCKS: Final = 4  # an electrode that moves again must do so for a second before it is believed

_Samples = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Repaired:
    """Samples that belong together: `x_uv` without flat channels, or None if too many are flat to replace them.

    The channels `replaced` are interpolated. If `change` is not empty, other electrodes are replaced after these
    samples than before, and it says which.
    """

    x_uv: _Samples | None
    n_samples: int
    replaced: frozenset[int]
    change: str = ""


class _Extremes:
    """Lowest and highest value of each channel in the block so far.

    Plain samples are only copied; looking at all of them at once takes as long as looking at one.
    """

    def __init__(self, n_block: int, n_channels: int) -> None:
        self.n_block = n_block
        self._low, self._high = np.empty(n_channels), np.empty(n_channels)
        self._copied = np.empty((n_block, n_channels), np.float32)
        self.restart()

    def restart(self) -> None:
        self.n = self._n_copied = 0
        self._low.fill(np.inf)
        self._high.fill(-np.inf)

    @property
    def n_left(self) -> int:
        return self.n_block - self.n

    def add(self, x_uv: _Samples) -> None:
        np.minimum(self._low, np.minimum.reduce(x_uv), out=self._low)
        np.maximum(self._high, np.maximum.reduce(x_uv), out=self._high)
        self.n += len(x_uv)

    def add_later(self, x_uv: _Samples) -> None:
        self._copied[self._n_copied : self._n_copied + len(x_uv)] = x_uv
        self._n_copied += len(x_uv)
        self.n += len(x_uv)

    def finish(self) -> NDArray[np.bool_]:
        """End the block; return which channels moved in it, (n_channels,)."""
        if self._n_copied:
            self.add(self._copied[: self._n_copied])
        moved: NDArray[np.bool_] = self._high - self._low > FLAT_UV
        self.restart()
        return moved


class _Heard:
    """Which channels had a finite value in the block so far; its blocks count samples that are not clean too."""

    def __init__(self, n_block: int, n_channels: int) -> None:
        self._n_block, self._n = n_block, 0
        self._has_value = np.zeros(n_channels, bool)

    @property
    def n_left(self) -> int:
        return self._n_block - self._n

    def add_finite(self, n_samples: int) -> None:
        """Count samples whose values are all finite."""
        if n_samples:
            self._n = (self._n + n_samples) % self._n_block
            self._has_value[:] = self._n > 0

    def add(self, finite: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Count samples, at most `n_left`; return the channels without any finite value if a block ends with them."""
        self._has_value |= finite.any(axis=0)
        self._n += len(finite)
        if self._n < self._n_block:
            return np.empty(0, np.intp)
        mute = np.flatnonzero(~self._has_value)
        self._n = 0
        self._has_value[:] = False
        return mute


class Electrodes:
    """Finds flat electrodes and replaces them; see the module.

    Parameters
    ----------
    channels
        Names of the channels, for messages.
    weights
        The bundle's interpolation. Without it a flat electrode cannot be replaced.
    max_share
        The share of the channels that may be replaced. If more are flat, nothing can be decoded.
    sfreq_hz, n_window
        Rate of the stream, and the window's length at that rate.
    missing
        Channels that the stream lacks.

    Attributes
    ----------
    replaced
        The channels that are flat, missing or masked.
    """

    def __init__(
        self,
        channels: Sequence[str],
        weights: NDArray[np.float64] | None,
        *,
        max_share: float,
        sfreq_hz: float,
        n_window: int,
        missing: Sequence[int] = (),
    ) -> None:
        lost = frozenset(missing)
        self._channels = tuple((name, "missing" if k in lost else "flat") for k, name in enumerate(channels))
        self._weights = weights
        self._n_max = max_interpolated(len(channels), max_share)
        n_block = block_samples(n_window, sfreq_hz)  # a flat channel is found before a window is full
        n = len(channels)
        self._extremes, self._heard = _Extremes(n_block, n), _Heard(n_block, n)
        self._n_moving = np.full(n, _BACK_BLOCKS)  # blocks in a row in which the channel moved
        self._n_moving[list(lost)] = 0
        self._wanted: tuple[int, ...] = ()  # to be masked, if possible
        self._set_flat(lost)

    def restart_block(self) -> None:
        """Begin a new block after a break; what is flat stays flat."""
        self._extremes.restart()

    @property
    def n_block(self) -> int:
        """Length of a block in samples."""
        return self._extremes.n_block

    @property
    def n_plain(self) -> int:
        """How many plain samples may be accepted before the next check; 0 if electrodes are replaced."""
        return 0 if self.replaced else self._extremes.n_left

    def describe(self) -> str:
        """Return which electrodes are replaced, and if that is not possible, why; empty if all are good."""
        if not self.replaced:
            return ""
        names: dict[str, list[str]] = {}
        for k in sorted(self.replaced):
            name, why = self._channels[k]
            names.setdefault(why if k in self._flat else "masked", []).append(name)
        found = [f"{why}: {', '.join(each)}" for why, each in names.items()]
        which = f"{len(self.replaced)} of {len(self._channels)} electrodes {'; '.join(found)}"
        if self._matrix is not None:
            return f"{which}; interpolated from their neighbours"
        if self._weights is None:
            return f"{which}; this bundle cannot interpolate, train it again"
        if len(self.replaced) > self._n_max:
            return f"{which}; at most {self._n_max} may be interpolated (stream.max_interpolated)"
        return f"{which}; not all of them have a known position"

    def mask(self, channels: Sequence[int]) -> str:
        """Replace these too, as if they were flat; return what changes, empty for nothing.

        The worst come first: those that can be interpolated are replaced, in this order, as long as no more are
        replaced than may be. The decoder goes on with the others, unlike with too many flat ones.
        """
        before, self._wanted = self.replaced, tuple(channels)
        self._set_flat(self._flat)
        return "" if self.replaced == before else self.describe() or _ALL_BACK

    def accept(self, x_uv: _Samples) -> str:
        """Accept plain samples (n_new, n_channels), as `observe` and `repair` would, at most `n_plain` of them.

        There may be more if every electrode is known to move in each block that ends before the last sample. Return
        what changes after these samples, empty for nothing.
        """
        self._heard.add_finite(len(x_uv))
        change, start = "", 0
        while start < len(x_uv):
            part = x_uv[start : start + self._extremes.n_left]
            start += len(part)
            self._extremes.add_later(part)
            if not self._extremes.n_left:
                change = self._become(self._judge())
        return change

    def observe(self, x_uv: _Samples) -> Iterator[tuple[_Samples, str]]:
        """Look at all samples as they arrive (n_new, n_channels), before those that are not finite are removed.

        An electrode without a finite value in a whole block is flat from then on. Yield the samples, cut after such a
        block, and what changed. In them values that are not finite are zeros if their electrode is known to be flat.
        """
        if np.isfinite(x_uv).all():
            self._heard.add_finite(len(x_uv))
            yield x_uv, ""
            return
        start = 0
        while start < len(x_uv):
            part = x_uv[start : start + self._heard.n_left]
            finite = np.isfinite(part)  # (n_part, n_channels)
            mute = frozenset(self._heard.add(finite).tolist())
            start += len(part)
            known = [k for k in self.replaced if not finite[:, k].all()]
            if known:
                part = part.copy()
                part[:, known] = np.where(finite[:, known], part[:, known], np.float32(0))
            change = ""
            if not mute <= self._flat:
                self._n_moving[list(mute)] = 0
                self._set_flat(self._flat | mute)
                change = self.describe()
            yield part, change

    def repair(self, x_uv: _Samples) -> Iterator[Repaired]:
        """Yield contiguous clean samples (n_new, n_channels) repaired, cut if other electrodes must be replaced."""
        start = at = 0
        while at < len(x_uv):
            part = x_uv[at : at + self._extremes.n_left]
            self._extremes.add(part)
            at += len(part)
            flat = self._flat if self._extremes.n_left else self._judge()
            if flat == self._flat and at < len(x_uv):
                continue
            repaired, replaced = self._replace(x_uv[start:at]), self.replaced  # as before this finding
            yield Repaired(repaired, at - start, replaced, self._become(flat))
            start = at

    def _replace(self, x_uv: _Samples) -> _Samples | None:
        if not self.replaced:
            return x_uv
        if self._matrix is None:
            return None
        repaired = x_uv.copy()
        for k in self.replaced:
            # Row by row: the shape of one product, and with it the last bit, would depend on the chunk.
            repaired[:, k] = (x_uv * self._matrix[k]).sum(axis=1)
        return repaired

    def _judge(self) -> frozenset[int]:
        """End the block; return the channels that are flat from here on."""
        moved = self._extremes.finish()  # (n_channels,)
        if not self._flat and moved.all():
            self._n_moving += 1
            return self._flat
        self._n_moving = np.where(moved, self._n_moving + 1, 0)
        back = self._n_moving >= _BACK_BLOCKS
        return frozenset(k for k in range(len(moved)) if not moved[k] or (k in self._flat and not back[k]))

    def _become(self, flat: frozenset[int]) -> str:
        """Set the flat channels; return what changes."""
        if flat == self._flat:
            return ""
        self._set_flat(flat)
        return self.describe() or _ALL_BACK

    def _set_flat(self, flat: frozenset[int]) -> None:
        self._flat, weights = flat, self._weights
        self.replaced = flat | self._maskable(flat)
        self._matrix = None
        is_few = 0 < len(self.replaced) <= self._n_max
        if weights is not None and is_few and all(can_interpolate(weights, k) for k in self.replaced):
            self._matrix = interpolating_matrix(weights, sorted(self.replaced))

    def _maskable(self, flat: frozenset[int]) -> frozenset[int]:
        if self._weights is None:
            return frozenset()
        possible = [k for k in self._wanted if k not in flat and can_interpolate(self._weights, k)]
        return frozenset(possible[: max(0, self._n_max - len(flat))])
