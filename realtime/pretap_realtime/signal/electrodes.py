"""Flat and missing electrodes: noticed in the signal, and replaced by what their neighbours say.

Pure. A missing electrode arrives as zeros, so it is flat too: one rule for both. An electrode is judged over blocks of
a quarter of a second that are counted in samples, so chunk boundaries decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.signal.interpolation import can_interpolate, interpolating_matrix, max_interpolated
from pretap.signal.statistics import block_samples

__all__ = ["FLAT_UV", "Electrodes", "Run"]

FLAT_UV = 0.1  # peak to peak in a block; the noise of any amplifier with an electrode on it is 0.5 uV and more
_BACK_BLOCKS = 4  # an electrode that lives again must do so for a second before it is believed


@dataclass(frozen=True, eq=False)
class Run:
    """Samples that belong together: `x_uv` without holes, or None where too much is missing to make any.

    The channels `replaced` are what their neighbours say. `change` is not empty where, after this run, other electrodes
    are replaced than before.
    """

    x_uv: NDArray[np.float32] | None
    n_samples: int
    replaced: frozenset[int]
    change: str = ""


class Electrodes:
    """Knows which electrodes are flat; see the module.

    Parameters
    ----------
    channels
        Names, for what is said.
    weights
        The bundle's interpolation, or None: then a flat electrode cannot be replaced.
    max_share
        The share of the channels that may be replaced; with more flat ones nothing is decoded.

    Attributes
    ----------
    replaced
        The channels that are flat, missing or masked.
    """

    def __init__(self, channels: Sequence[str], weights: NDArray[np.float64] | None, *, max_share: float) -> None:
        self._channels, self._weights = tuple(channels), weights
        self._n_most = max_interpolated(len(channels), max_share)
        self.begin(sfreq_hz=1.0)

    def begin(self, *, sfreq_hz: float, n_window: int = 1, missing: Sequence[int] = ()) -> None:
        """Start with a stream that lacks the channels `missing`; `n_window` is the window's length at its rate."""
        self.n_block = block_samples(n_window, sfreq_hz)  # what is flat is known before a window is full
        n = len(self._channels)
        self._low, self._high = np.empty(n), np.empty(n)
        self._kept = np.empty((self.n_block, n), np.float32)  # what `pass_on` took and nobody has looked at
        self._n_heard = 0  # samples of the block that `listen` is in
        self._is_heard = np.zeros(n, bool)  # channels with a finite value in it
        self._all_heard = False  # by the quick way: all of them have one
        self._n_alive = np.full(n, _BACK_BLOCKS)  # blocks in a row in which it was not flat
        self._n_alive[list(missing)] = 0
        self._masked: frozenset[int] = frozenset()
        self.restart()
        self._set_flat(frozenset(missing))

    def restart(self) -> None:
        """Begin a new block after a break; what is flat stays flat."""
        self._n_in_block = self._n_kept = 0
        self._low.fill(np.inf)
        self._high.fill(-np.inf)

    @property
    def status(self) -> str:
        """Say what is replaced, or why nothing can be decoded; empty where all is well."""
        if not self.replaced:
            return ""
        names = [self._channels[k] for k in sorted(self.replaced)]
        what = "masked, flat or missing" if self._masked else "flat or missing"
        which = f"{len(names)} of {len(self._channels)} electrodes {what}: {', '.join(names)}"
        if self._matrix is not None:
            return f"{which}; interpolated from their neighbours"
        if self._weights is None:
            return f"{which}; this bundle cannot interpolate, train it again"
        if len(self.replaced) > self._n_most:
            return f"{which}; at most {self._n_most} may be interpolated (stream.max_interpolated)"
        return f"{which}; not all of them have a known position"

    @property
    def room(self) -> int:
        """How many finite samples need no repair, the last of a block among them: so many may go to `pass_on`."""
        return 0 if self.replaced else self.n_block - self._n_in_block

    def mask(self, channels: frozenset[int]) -> str:
        """Replace these too, as if they were flat; says what changes, empty for nothing."""
        before, self._masked = self.replaced, channels
        self._set_flat(self._flat)
        return "" if self.replaced == before else self.status or "all electrodes are back"

    def pass_on(self, x_uv: NDArray[np.float32]) -> str:
        """Take finite samples (n_new, n_channels) as `listen` and `push` would; at most `room` of them.

        More where it is known that every electrode lives in the blocks before the last sample's. Says what changes
        after them, empty for nothing.
        """
        self._n_heard = (self._n_heard + len(x_uv)) % self.n_block
        self._all_heard = self._n_heard > 0
        if not self._all_heard:
            self._is_heard[:] = False
        change, start = "", 0
        while start < len(x_uv):
            part = x_uv[start : start + self.n_block - self._n_in_block]
            start += len(part)
            self._kept[self._n_kept : self._n_kept + len(part)] = part
            self._n_kept += len(part)
            self._n_in_block += len(part)
            if self._n_in_block == self.n_block:
                self._look_at_kept()
                change = self._become(self._judge())
        return change

    def _look_at_kept(self) -> None:
        """Find the extremes of what `pass_on` took, all at once: it takes as long as for one sample."""
        if self._n_kept:
            self._see(self._kept[: self._n_kept])
            self._n_kept = 0

    def _see(self, x_uv: NDArray[np.float32]) -> None:
        np.minimum(self._low, np.minimum.reduce(x_uv), out=self._low)
        np.maximum(self._high, np.maximum.reduce(x_uv), out=self._high)

    def listen(self, x_uv: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], str]]:
        """Take all samples as they come (n_new, n_channels), before those with NaN are sorted out.

        An electrode with no finite value in a whole block counts as flat from then on. Gives the samples, cut after
        such a block with what changed; non-finite values of electrodes that are flat already are zeros in them.
        """
        if self._all_heard:
            self._is_heard[:] = True
            self._all_heard = False
        if np.isfinite(x_uv).all():
            self._is_heard[:] = True
            self._n_heard = (self._n_heard + len(x_uv)) % self.n_block
            if not self._n_heard:
                self._is_heard[:] = False
            yield x_uv, ""
            return
        start = 0
        while start < len(x_uv):
            part = x_uv[start : start + self.n_block - self._n_heard]
            finite = np.isfinite(part)  # (n_part, n_channels)
            self._is_heard |= finite.any(axis=0)
            self._n_heard += len(part)
            start += len(part)
            known = [k for k in self.replaced if not finite[:, k].all()]
            if known:
                part = part.copy()
                part[:, known] = np.where(finite[:, known], part[:, known], np.float32(0))
            change = ""
            if self._n_heard == self.n_block:
                mute = frozenset(np.flatnonzero(~self._is_heard).tolist())
                self._n_heard = 0
                self._is_heard[:] = False
                if not mute <= self._flat:
                    self._n_alive[list(mute)] = 0
                    self._set_flat(self._flat | mute)
                    change = self.status
            yield part, change

    def push(self, x_uv: NDArray[np.float32]) -> Iterator[Run]:
        """Take contiguous clean samples (n_new, n_channels); give them repaired, cut where the repair changes."""
        self._look_at_kept()
        start = at = 0
        while at < len(x_uv):
            stop = min(len(x_uv), at + self.n_block - self._n_in_block)
            part = x_uv[at:stop]
            self._see(part)
            self._n_in_block += stop - at
            at = stop
            flat = self._judge() if self._n_in_block == self.n_block else self._flat
            if flat == self._flat and at < len(x_uv):
                continue
            repaired, replaced = self._repair(x_uv[start:at]), self.replaced  # as it was before what is found now
            yield Run(repaired, at - start, replaced, self._become(flat))
            start = at

    def _repair(self, x_uv: NDArray[np.float32]) -> NDArray[np.float32] | None:
        if not self.replaced:
            return x_uv
        if self._matrix is None:
            return None
        repaired = x_uv.copy()
        for k in self.replaced:
            # Row by row, and not one product: its shape, and with it the last bit, would depend on the chunk.
            repaired[:, k] = (x_uv * self._matrix[k]).sum(axis=1)
        return repaired

    def _judge(self) -> frozenset[int]:
        """End the block; says which electrodes are flat from here on."""
        alive = self._high - self._low > FLAT_UV  # (n_channels,)
        self.restart()
        if not self._flat and alive.all():
            self._n_alive += 1
            return self._flat
        self._n_alive = np.where(alive, self._n_alive + 1, 0)
        back = self._n_alive >= _BACK_BLOCKS
        return frozenset(k for k in range(len(alive)) if not alive[k] or (k in self._flat and not back[k]))

    def _become(self, flat: frozenset[int]) -> str:
        """Let these be flat from here on; says what changes."""
        if flat == self._flat:
            return ""
        self._set_flat(flat)
        return self.status or "all electrodes are back"

    def _set_flat(self, flat: frozenset[int]) -> None:
        self._flat = flat
        self.replaced = replaced = flat | self._masked
        self._matrix = None
        weights = self._weights
        few = 0 < len(replaced) <= self._n_most
        if weights is not None and few and all(can_interpolate(weights, k) for k in replaced):
            self._matrix = interpolating_matrix(weights, sorted(replaced))
