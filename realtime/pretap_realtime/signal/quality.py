"""The quality of a signal: which electrodes are bad, and what is wrong with the stream as a whole.

Used by the front end. Pure. Samples are judged in blocks of a quarter of a second, counted from the start of a
connection, so chunk boundaries decide nothing. What a block shows takes effect one block later. So it can be computed
after the decision on the block's last sample was sent, and each decision still has everything it is due.

An electrode is bad when the findings against it outweigh those for it by four blocks (more if a window is longer), and
good again when all of that is made up for. A blink or a movement is no fault, and a bad electrode stays bad until no
window holds a bad block of it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.config.serve import QualityConfig
from pretap.decoder.decoder import Decoder
from pretap.signal.interpolation import can_interpolate
from pretap.signal.statistics import Statistics, block_samples
from pretap_realtime.signal.block_checks import BlockChecks, Findings
from pretap_realtime.signal.cap_check import CapCheck
from pretap_realtime.signal.rate import RateCheck

_PERSIST: Final = 4  # blocks
_CAP_BLOCKS: Final = 20  # 5 s: one check of the cap
_CAP_AGREE: Final = 2  # checks of the cap that must find the same
_NEVER: Final = 2**62  # samples
_N_KINDS: Final = 5  # of faults: non-finite values, railed, mains, off scale, noisy
_N_UNUSABLE: Final = 2  # the first of these leave nothing of the signal


class SignalQuality(msgspec.Struct, frozen=True):
    """Faults from some sample on: `bad` channels, each with its fault in words, and `faults` of the stream.

    The worst channel comes first: one without a usable value, then the one that is furthest off its scale.
    """

    bad: dict[int, str] = {}
    faults: tuple[str, ...] = ()

    def describe(self, channels: Sequence[str]) -> str:
        """Return all faults as text, empty if there are none."""
        by_fault: dict[str, list[str]] = {}
        for k, fault in sorted(self.bad.items()):
            by_fault.setdefault(fault, []).append(channels[k])
        return "; ".join([*self.faults, *(f"{', '.join(names)}: {fault}" for fault, names in by_fault.items())])


GOOD: Final = SignalQuality()


def masking_limits(settings: QualityConfig, decoder: Decoder) -> str:
    """Return which electrodes the policy ``mask`` cannot replace, for the operator; empty if it can replace each."""
    channels, weights = decoder.manifest.channels, decoder.interpolation
    needed = [name for k, name in enumerate(channels) if weights is None or not can_interpolate(weights, k)]
    if settings.policy != "mask" or not needed:
        return ""
    if len(needed) == len(channels):
        return (
            "this bundle cannot interpolate electrodes, so it needs each of them: bad ones are reported, and not "
            "masked. It takes five or more with standard names; train it again with them."
        )
    return f"{', '.join(needed)}: the position is unknown, so if one of these is bad it is reported, and not masked"


class QualityCheck:
    """Judges the signal of one connection; see the module.

    Parameters
    ----------
    known
        Statistics of the training signal. Without them scale, unit and cap are not judged.
    n_window
        Length of the decoder's window, at the stream's rate.
    missing
        Channels that the stream lacks.
    order
        For each channel of the bundle its number in the stream; by default they are in the same order.
    """

    def __init__(
        self,
        channels: Sequence[str],
        known: Statistics | None,
        settings: QualityConfig,
        *,
        sfreq_hz: float,
        n_window: int,
        missing: Sequence[int] = (),
        order: Sequence[int] | None = None,
    ) -> None:
        n = len(channels)
        self.n_block = block_samples(n_window, sfreq_hz)
        self.n_seen = 0
        n_persist = max(_PERSIST, -(-n_window // self.n_block) + 1)  # blocks
        present = np.ones(n, bool)
        present[list(missing)] = False
        self._checks = BlockChecks(settings, known, sfreq_hz=sfreq_hz, n_block=self.n_block, present=present)
        self._rate = RateCheck(sfreq_hz, n_block=self.n_block, percent=settings.rate_percent)
        self._electrodes = _ElectrodeLevels(present, n_persist)
        self._cap = None
        if known is not None and settings.cap:
            self._cap = _CapTrend(CapCheck(channels, known, order=range(n) if order is None else order), present)
        self._whole = _Persistent(n_persist, step=-(-n_persist // 2))  # two blocks: no movement lasts as long
        self._block = np.empty((self.n_block, n), np.float32)
        self._due: deque[tuple[int, SignalQuality]] = deque()  # (number of the first sample, what holds from there)
        self._newest = GOOD

    @property
    def next_change(self) -> int:
        """The number of the first sample with another quality, as far as is known."""
        return self._due[0][0] if self._due else _NEVER

    @property
    def n_plain(self) -> int:
        """How many samples may come before `update` has to see them.

        What a block shows takes effect when the next block is over, so two blocks may be open.
        """
        return min(2 * self.n_block - self.n_seen % self.n_block, self.next_change - self.n_seen)

    def take_change(self) -> SignalQuality:
        """Return the quality that takes effect at `next_change`."""
        return self._due.popleft()[1]

    def update(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Add samples (n_new, n_channels) and timestamps as they arrived, including those that are not finite."""
        start, n = 0, len(t_s)
        while start < n:
            n_filled = self.n_seen % self.n_block
            m = min(n - start, self.n_block - n_filled)
            self._block[n_filled : n_filled + m] = x_uv[start : start + m]
            self._rate.add(t_s[start : start + m])
            self.n_seen += m
            start += m
            if n_filled + m == self.n_block:
                self._judge_block()

    def _judge_block(self) -> None:
        found = self._checks.judge(self._block)
        self._electrodes.update(found)
        whole = self._whole.update(self._checks.describe_size(found.overall))
        swap = "" if self._cap is None else self._cap.update(found, self._electrodes.is_bad)
        faults = tuple(fault for fault in (whole, swap, self._rate.update()) if fault)
        quality = SignalQuality(self._electrodes.describe_bad(), faults)
        if quality != self._newest:
            self._newest = quality
            self._due.append((self.n_seen + self.n_block, quality))


class _ElectrodeLevels:
    """Weighs the findings for and against each electrode, kind of fault by kind of fault."""

    def __init__(self, present: NDArray[np.bool_], n_persist: int) -> None:
        self._present, self._n_persist = present, n_persist
        self._step = -(-n_persist // _PERSIST)
        self._levels = np.zeros((_N_KINDS, len(present)), np.int64)
        self._is_bad = np.zeros((_N_KINDS, len(present)), bool)
        self._faults: dict[tuple[int, int], tuple[float, str]] = {}  # (kind, channel): factor off its scale, words

    @property
    def is_bad(self) -> NDArray[np.bool_]:
        """Whether each electrode is bad, (n_channels,)."""
        return np.asarray(self._is_bad.any(axis=0))

    def update(self, found: Findings) -> None:
        """Raise the levels of the faults that were found, and lower those that were looked for and not found."""
        kinds = [found.nonfinite, found.railed, found.mains, found.off_scale, found.noisy]
        shown = np.stack(kinds)  # (n_kinds, n_channels)
        if not shown.any() and not self._levels.any():
            return
        judged = np.stack([self._present, found.judged, found.judged, found.scaled, found.judged])
        steps = np.where(shown, self._step, np.where(judged, -1, 0))
        self._levels = np.clip(self._levels + steps, 0, self._n_persist)
        risen = ~self._is_bad & (self._levels == self._n_persist)
        self._is_bad = (self._is_bad | risen) & (self._levels > 0)
        for kind, channel in np.argwhere(risen).tolist():
            relative = max(float(found.relative[channel]), 1e-9)
            factor = math.inf if kind < _N_UNUSABLE else max(relative, 1 / relative)
            self._faults[kind, channel] = (factor, _fault(kind, channel, found))

    def describe_bad(self) -> dict[int, str]:
        """Return the fault of each bad electrode in words, the worst first; the first kind of a fault says most."""
        bad: dict[int, tuple[float, str]] = {}
        for kind, channel in np.argwhere(self._is_bad).tolist():
            bad.setdefault(channel, self._faults[kind, channel])
        return {k: bad[k][1] for k in sorted(bad, key=lambda k: -bad[k][0])}


class _CapTrend:
    """Collects the covariance of the good electrodes, and checks the cap every 5 s."""

    def __init__(self, check: CapCheck, present: NDArray[np.bool_]) -> None:
        self._check, self._good = check, present
        self._swap = _Persistent(_CAP_AGREE, step=1, same=False)
        self._restart(present)

    def _restart(self, good: NDArray[np.bool_]) -> None:
        self._covariance, self._n_blocks, self._collected = np.zeros((len(good), len(good))), 0, good.copy()

    def update(self, found: Findings, is_bad: NDArray[np.bool_]) -> str:
        """Add what a block showed; return the swap that is believed, empty for none."""
        good = found.scaled & ~is_bad
        before, self._good = self._good, good
        if (good != self._collected).any():
            if (good == before).all():  # it stays so
                self._restart(good)
            return self._swap.now
        products = found.products if good.all() else found.products * (good & good[:, None])
        total = float(products.trace(dtype=np.float64))
        own = total - float(products.sum(dtype=np.float64)) / len(good)  # the trace against the average of all
        if own > 1e-9 * total:  # each block has the same weight; the check takes the average off
            self._covariance += products / np.float32(own)
        self._n_blocks += 1
        if self._n_blocks == _CAP_BLOCKS:
            self._swap.update(self._check.find_swap(self._covariance, good))
            self._restart(good)
        return self._swap.now


class _Persistent:
    """A text that is believed once it was found several times, and until it was absent as often.

    If it need not be the `same` text each time, the newest is believed.
    """

    def __init__(self, n_persist: int, *, step: int, same: bool = True) -> None:
        self._n_persist, self._step, self._same = n_persist, step, same
        self.now = self._candidate = ""
        self._level = 0

    def update(self, text: str) -> str:
        """Add a finding, empty for nothing; return what is believed."""
        if text and (text == self._candidate or (self._candidate and not self._same)):
            self._candidate = text
            self._level = min(self._n_persist, self._level + self._step)
        elif text and not self.now:
            self._candidate, self._level = text, self._step
        else:
            self._level -= 1
        if self._level >= self._n_persist:
            self.now = self.now or self._candidate
        elif self._level <= 0:
            self.now, self._candidate, self._level = "", text, self._step if text else 0
        return self.now


def _fault(kind: int, channel: int, found: Findings) -> str:
    """Return an electrode's fault in words."""
    if kind == 2:
        return (
            f"dominated by {found.mains_hz[channel]:g} Hz; check its contact, the ground and what is plugged in nearby"
        )
    if kind == 3:
        times = float(found.relative[channel])
        if times > 1:
            return "much too large beside the others; loose, or without contact"
        return "much too small beside the others; without contact, bridged to the reference, or another gain"
    if kind == 4:
        return "noise: unlike all others from 15 to 40 Hz; loose, without contact, or muscle"
    return ("non-finite values; check its cable and the amplifier", "railed: cut off at the amplifier's limit")[kind]
