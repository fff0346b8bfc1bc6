"""The quality of a signal: which electrodes are bad, and what is wrong with the stream as a whole. Pure.

Samples are looked at in blocks of a quarter of a second, counted from the start of a connection, so chunk boundaries
decide nothing. What a block shows has no effect before another block's length has passed: so it can be computed after
the decision that came with the block's last sample is out, and still each decision knows what it is to know.

An electrode is bad when what is found outweighs what is not by four blocks (more where a window is longer), and good
again when all of that is made up for: a blink or a movement is no fault, and a window that holds a bad block is
known to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.config.serve import QualityConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import UsageError
from pretap.signal.interpolation import can_interpolate
from pretap.signal.statistics import Statistics, block_samples
from pretap_realtime.signal.block_checks import BlockChecks, Findings
from pretap_realtime.signal.cap_check import CapCheck
from pretap_realtime.signal.rate import RateCheck

__all__ = ["SOUND", "Quality", "Standing", "check_policy"]

_PERSIST = 4  # blocks
_CAP_BLOCKS = 20  # 5 s: one look at the cap
_AGREE = 2  # looks at the cap that must say the same
_FAR: Final = 2**62  # samples: never
_KINDS = ("non-finite values", "railed", "mains", "off scale")


class Standing(msgspec.Struct, frozen=True):
    """What is wrong from some sample on: `bad` electrodes, each with its fault in words, and `faults` of the stream."""

    bad: dict[int, str] = {}
    faults: tuple[str, ...] = ()

    def words(self, channels: Sequence[str]) -> str:
        """Say it; empty where nothing is wrong."""
        by_fault: dict[str, list[str]] = {}
        for k, fault in self.bad.items():
            by_fault.setdefault(fault, []).append(channels[k])
        return "; ".join([*self.faults, *(f"{', '.join(names)}: {fault}" for fault, names in by_fault.items())])


SOUND = Standing()


def check_policy(settings: QualityConfig, decoder: Decoder) -> None:
    """Refuse the policy ``mask`` for a bundle that cannot replace electrodes."""
    weights = decoder.interpolation
    if settings.policy == "mask" and (
        weights is None or not any(can_interpolate(weights, k) for k in range(len(weights)))
    ):
        raise UsageError(
            'quality.policy = "mask": expected a bundle that can interpolate electrodes; this one does not know where '
            'they sit. Train it again with standard electrode names, or choose "flag" or "hold".'
        )


class Quality:
    """See the module.

    Parameters
    ----------
    known
        What the training signal was like; None: then scale, unit and cap are not judged.
    """

    def __init__(self, channels: Sequence[str], known: Statistics | None, settings: QualityConfig) -> None:
        self._channels, self._known, self._settings = tuple(channels), known, settings
        self.begin(sfreq_hz=1.0)

    def begin(
        self, *, sfreq_hz: float, n_window: int = 1, missing: Sequence[int] = (), order: Sequence[int] | None = None
    ) -> None:
        """Start with a stream; `n_window` is the window's length at its rate.

        `order` says which channel of the stream each of the bundle's is; by default they stand in the same order.
        """
        n = len(self._channels)
        self.n_block = block_samples(n_window, sfreq_hz)
        self._full = max(_PERSIST, -(-n_window // self.n_block) + 1)  # blocks
        self._step = -(-self._full // _PERSIST)
        self._present = np.ones(n, bool)
        self._present[list(missing)] = False
        self._checks = BlockChecks(
            self._settings, self._known, sfreq_hz=sfreq_hz, n_block=self.n_block, present=self._present
        )
        self._rate = RateCheck(sfreq_hz, n_block=self.n_block, percent=self._settings.rate_percent)
        self._cap = None
        if self._known is not None and self._settings.cap:
            self._cap = CapCheck(self._channels, self._known, order=range(n) if order is None else order)
        self._block = np.empty((self.n_block, n), np.float32)
        self._n_filled = 0
        self.n_taken = 0  # the number of the sample that comes next
        self._levels = np.zeros((len(_KINDS), n), np.int64)
        self._is_bad = np.zeros((len(_KINDS), n), bool)
        self._words: dict[tuple[int, int], str] = {}  # (kind, channel)
        self._whole = _Persistent(self._full, step=-(-self._full // 2))  # two blocks: no movement does that
        self._swap = _Persistent(_AGREE, step=1, same=False)
        self._good = self._present
        self._restart_cap(self._present)
        self._due: deque[tuple[int, Standing]] = deque()
        self._newest = SOUND

    def _restart_cap(self, good: NDArray[np.bool_]) -> None:
        self._covariance, self._n_in_cap, self._in_cap = np.zeros((len(good), len(good))), 0, good.copy()

    @property
    def next_change(self) -> int:
        """The number of the first sample with another standing, as far as is known."""
        return self._due[0][0] if self._due else _FAR

    @property
    def room(self) -> int:
        """How many samples may come before `take` has to see them.

        What a block shows comes into force when the next one is over.
        """
        return min(2 * self.n_block - self._n_filled, self.next_change - self.n_taken)

    def change(self) -> Standing:
        """Give the standing that comes into force now."""
        return self._due.popleft()[1]

    def take(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Take samples (n_new, n_channels) and stamps as they came, NaN and all."""
        start, n = 0, len(t_s)
        while start < n:
            m = min(n - start, self.n_block - self._n_filled)
            self._block[self._n_filled : self._n_filled + m] = x_uv[start : start + m]
            self._n_filled += m
            self.n_taken += m
            start += m
            if self._n_filled == self.n_block:
                self._n_filled = 0
                self._end_block(float(t_s[start - 1]))

    def _end_block(self, end_s: float) -> None:
        found = self._checks.look(self._block)
        self._weigh(found)
        whole = self._whole.push(self._checks.whole(found.overall))
        swap = self._swap.now if self._cap is None else self._look_at_cap(self._cap, found)
        faults = tuple(words for words in (whole, swap, self._rate.push(end_s)) if words)
        standing = Standing(self._bad(), faults)
        if standing != self._newest:
            self._newest = standing
            self._due.append((self.n_taken + self.n_block, standing))

    def _weigh(self, found: Findings) -> None:
        """Raise the levels of what was found, lower those of what was looked for and not found."""
        shown = np.stack([found.nonfinite, found.railed, found.mains, found.off_scale])  # (n_kinds, n_channels)
        if not shown.any() and not self._levels.any():
            return
        looked = np.stack([self._present, found.judged, found.judged, found.scaled])
        steps = np.where(shown, self._step, np.where(looked, -1, 0))
        self._levels = np.clip(self._levels + steps, 0, self._full)
        risen = ~self._is_bad & (self._levels == self._full)
        self._is_bad = (self._is_bad | risen) & (self._levels > 0)
        for kind, channel in np.argwhere(risen).tolist():
            self._words[kind, channel] = _fault(kind, channel, found)

    def _bad(self) -> dict[int, str]:
        bad: dict[int, str] = {}
        for kind, channel in np.argwhere(self._is_bad).tolist():
            bad.setdefault(channel, self._words[kind, channel])  # the first kind says most
        return bad

    def _look_at_cap(self, cap: CapCheck, found: Findings) -> str:
        good = found.scaled & ~self._is_bad.any(axis=0)
        before, self._good = self._good, good
        if (good != self._in_cap).any():
            if (good == before).all():  # it stays so
                self._restart_cap(good)
            return self._swap.now
        products = found.products if good.all() else found.products * (good & good[:, None])
        total = float(products.trace(dtype=np.float64))
        own = total - float(products.sum(dtype=np.float64)) / len(good)  # the trace, against the average of all
        if own > 1e-9 * total:  # each block has the same weight; `cap` takes the average off
            self._covariance += products / np.float32(own)
        self._n_in_cap += 1
        if self._n_in_cap == _CAP_BLOCKS:
            self._swap.push(cap.verdict(self._covariance, good))
            self._restart_cap(good)
        return self._swap.now


class _Persistent:
    """Words that are believed once they have come several times, and until they have been absent as long.

    Where they need not be the `same` words each time, the newest are believed.
    """

    def __init__(self, full: int, *, step: int, same: bool = True) -> None:
        self._full, self._step, self._same = full, step, same
        self.now = self._heard = ""
        self._level = 0

    def push(self, words: str) -> str:
        """Take what was found, empty for nothing; gives what is believed."""
        if words and (words == self._heard or (self._heard and not self._same)):
            self._heard = words
            self._level = min(self._full, self._level + self._step)
        elif words and not self.now:
            self._heard, self._level = words, self._step
        else:
            self._level -= 1
        if self._level >= self._full:
            self.now = self.now or self._heard
        elif self._level <= 0:
            self.now, self._heard, self._level = "", words, self._step if words else 0
        return self.now


def _fault(kind: int, channel: int, found: Findings) -> str:
    """Say what an electrode's fault is."""
    if kind == 2:
        return (
            f"dominated by {found.mains_hz[channel]:g} Hz; check its contact, the ground and what is plugged in nearby"
        )
    if kind == 3:
        times = float(found.relative[channel])
        if times > 1:
            return "much too large beside the others; loose, or without contact"
        return "much too small beside the others; without contact, bridged to the reference, or another gain"
    return ("non-finite values; check its cable and the amplifier", "railed: cut off at the amplifier's limit")[kind]
