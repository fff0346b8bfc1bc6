"""The front end: inspects, checks and repairs samples, and turns them into clean runs and interruptions.

Used by the pipeline. Samples take one of two ways. Plain samples, at which no check changes anything, are only
collected by `accept`, and `catch_up` shows them to the checks once the decision they complete was sent. All other
samples go through `process`, check by check. `horizon` says how many plain samples may be accepted. The same samples
give the same results on both ways, however they were cut into chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.config.serve import QualityConfig
from pretap.errors import StreamRefusedError
from pretap.signal.statistics import Statistics
from pretap_realtime.signal.amplitude import AmplitudeCheck
from pretap_realtime.signal.chunk import Chunk
from pretap_realtime.signal.electrodes import Electrodes
from pretap_realtime.signal.losses import LossDetector
from pretap_realtime.signal.plain_samples import Horizon
from pretap_realtime.signal.quality import GOOD, QualityCheck


class Run(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Clean samples in a row, repaired: `x_uv` (n, n_channels) in microvolts and `t_s` (n,) in seconds.

    Attributes
    ----------
    replaced
        Channels that are interpolated from their neighbours.
    n_lost
        Samples counted as lost before this run.
    """

    x_uv: NDArray[np.float32]
    t_s: NDArray[np.float64]
    replaced: frozenset[int]
    n_lost: int


class Interruption(msgspec.Struct, frozen=True, gc=False):
    """The samples before and after `t_s` do not belong together, and `why`; `n_lost` were lost up to here."""

    t_s: float
    why: str
    n_lost: int


class SignalStatus:
    """Which electrodes are replaced or bad at the moment, what is wrong with the stream, and what follows from it."""

    def __init__(self, channels: Sequence[str], electrodes: Electrodes, policy: str) -> None:
        self._channels, self._electrodes, self._policy = channels, electrodes, policy
        self.quality = GOOD

    def share(self, replaced: frozenset[int] = frozenset()) -> float:
        """Return the share of good electrodes if `replaced` are interpolated; 0 if the stream as a whole is bad."""
        if self.quality.faults:
            return 0.0
        return 1 - len(replaced.union(self.quality.bad)) / len(self._channels)

    @property
    def held(self) -> str:
        """Why no verdict may be given; empty if it may."""
        quality, policy = self.quality, self._policy
        is_held = (quality.faults and policy != "flag") or (quality.bad and policy == "hold")
        return f"held: {quality.describe(self._channels)}" if is_held else ""

    @property
    def replaced(self) -> frozenset[int]:
        """The channels that are flat, missing or masked."""
        return self._electrodes.replaced

    @property
    def current_share(self) -> float:
        """The share of good electrodes at the moment, see `share`."""
        return self.share(self.replaced)

    @property
    def bad(self) -> tuple[str, ...]:
        """Names of the electrodes that are replaced or bad."""
        return tuple(self._channels[k] for k in sorted(self.replaced.union(self.quality.bad)))

    def describe(self) -> str:
        """Return which electrodes are replaced or bad, and what is wrong with the stream; empty if nothing is."""
        found = [self._electrodes.describe(), self.quality.describe(self._channels)]
        needed = [self._channels[k] for k in sorted(self.quality.bad) if k not in self.replaced]
        if needed and self._policy == "mask":
            found.append(
                f"{', '.join(needed)}: cannot be masked, so decisions are less accurate until the contact is better"
            )
        return "; ".join(filter(None, found))


class Backlog:
    """Plain samples that were accepted since the checks last caught up, `n` of them. They must not be overwritten."""

    def __init__(self) -> None:
        self.n = 0
        self._chunks: list[Chunk] = []

    def add(self, chunk: Chunk) -> None:
        """Add the chunk that follows."""
        self._chunks.append(chunk)
        self.n += len(chunk.t_s)

    def take(self) -> Chunk:
        """Return all samples as one chunk, and forget them."""
        chunks, self._chunks, self.n = self._chunks, [], 0
        if len(chunks) == 1:
            return chunks[0]
        return Chunk(np.concatenate([c.x_uv for c in chunks]), np.concatenate([c.t_s for c in chunks]))


class FrontEnd:
    """The checks of one connection; see the module.

    Parameters
    ----------
    losses
        Counts the losses of the session; it is reset for this connection.
    interpolation, statistics
        Of the bundle: the weights that replace an electrode, and what the training signal was like.
    max_interpolated
        The share of the channels that may be replaced, see `Electrodes`.
    config
        How a bad signal is found, and what follows from it.
    sfreq_hz
        Nominal rate of the stream.
    missing, order
        Channels that the stream lacks, and the number that each of the bundle's channels has in it.

    Attributes
    ----------
    status
        Which electrodes are bad.
    backlog
        Plain samples that the checks have not seen.
    newest_s
        When the newest sample that they have seen was taken; if its timestamp is not usable, the one before.
    """

    def __init__(
        self,
        manifest: Manifest,
        losses: LossDetector,
        *,
        interpolation: NDArray[np.float64] | None,
        statistics: Statistics | None,
        max_interpolated: float,
        config: QualityConfig,
        sfreq_hz: float,
        missing: Sequence[int] = (),
        order: Sequence[int] | None = None,
    ) -> None:
        channels = manifest.channels
        n_window = max(2, round(manifest.n_window * sfreq_hz / manifest.sfreq_hz))  # in the stream's own samples
        self.losses = losses
        losses.reset(sfreq_hz=sfreq_hz)
        self._electrodes = Electrodes(
            channels, interpolation, max_share=max_interpolated, sfreq_hz=sfreq_hz, n_window=n_window, missing=missing
        )
        self._quality_check = QualityCheck(
            channels, statistics, config, sfreq_hz=sfreq_hz, n_window=n_window, missing=missing, order=order
        )
        self._amplitude = AmplitudeCheck(
            statistics, n_window=n_window, n_channels=len(channels), removes_offsets=manifest.removes_offsets
        )
        self.status = SignalStatus(channels, self._electrodes, config.policy)
        self.backlog = Backlog()
        self._masks_bad = config.policy == "mask"
        self.newest_s = 0.0
        self._horizon: Horizon | None = None

    def horizon(self) -> Horizon:
        """Return how many plain samples may be accepted, counted from the last time the checks caught up.

        It is the same object until samples are processed or the checks catch up.

        Raises
        ------
        StreamRefusedError
            If the first timestamps have another rate than the nominal one.
        """
        if self._horizon is None:
            self._check_rate()
            electrodes, losses = self._electrodes, self.losses
            n_to_flat_check = electrodes.n_plain
            n_samples = 0
            if n_to_flat_check and self._amplitude.is_done:
                n_samples = min(losses.n_plain, n_to_flat_check + electrodes.n_block, self._quality_check.n_plain)
            self._horizon = Horizon(
                n_samples=n_samples,
                n_to_flat_check=n_to_flat_check,
                n_first=float(losses.n_first),
                expected=losses.shifts.line.expected,
                quality=self.status.share(),
                is_held=bool(self.status.held),
            )
        return self._horizon

    def accept(self, chunk: Chunk) -> None:
        """Collect plain samples, as many as the horizon allows; they must not be overwritten until `catch_up`."""
        self.backlog.add(chunk)

    def catch_up(self) -> list[Interruption]:
        """Show the plain samples that were accepted to the checks; return the interruption after them, if any."""
        if not self.backlog.n:
            return []
        n_accepted, horizon = self.backlog.n, self.horizon()
        chunk, self._horizon = self.backlog.take(), None
        self.newest_s = float(horizon.times_s(n_accepted - 1, chunk.t_s[-1:])[0])
        self.losses.accept(chunk.t_s)
        change = self._electrodes.accept(chunk.x_uv)
        interruptions = [self._interruption(self.newest_s, change)] if change else []
        self._quality_check.update(chunk.x_uv, chunk.t_s)
        return interruptions

    def follow_counter(self, chunk: Chunk) -> None:
        """Read the device's counter of a chunk, before its samples are accepted or processed.

        Raises
        ------
        StreamRefusedError
            If the channel does not count samples.
        """
        if chunk.count is not None:
            self.losses.follow_counter(chunk.count, chunk.t_s, n_ahead=self.backlog.n)
            if not self.losses.n_plain:
                self._horizon = None

    def process(self, chunk: Chunk, *, now_s: float) -> Iterator[Run | Interruption]:
        """Yield the clean runs and the interruptions of any samples; the checks must have caught up before.

        `now_s` is the time on the clock of the timestamps when they arrived, infinity if it is not known.

        Raises
        ------
        StreamRefusedError
            If the first whole window has an amplitude that no EEG has, or the first timestamps have another rate than
            the nominal one.
        """
        assert not self.backlog.n
        self._horizon = None
        check, n = self._quality_check, len(chunk.t_s)
        first = check.n_seen
        check.update(
            chunk.x_uv, chunk.t_s
        )  # what it finds takes effect after this chunk, or at a later sample of it: so it is cut
        start = 0
        while start < n:
            stop = min(n, check.next_change - first)
            yield from self._observe(Chunk(chunk.x_uv[start:stop], chunk.t_s[start:stop]), now_s=now_s)
            if stop < n:
                yield from self._change_quality()
            start = stop

    def close(self) -> None:
        """Count what is still pending in the losses: no more samples follow."""
        self._horizon = None
        self.losses.close()

    def _interruption(self, t_s: float, why: str) -> Interruption:
        self._electrodes.restart_block()
        return Interruption(t_s, why, self.losses.counts.n_lost)

    def _change_quality(self) -> Iterator[Interruption]:
        """Apply the quality check's next finding."""
        self.status.quality = quality = self._quality_check.take_change()
        if self._masks_bad:
            change = self._electrodes.mask(tuple(quality.bad))
            if change:
                yield self._interruption(self.newest_s, change)

    def _observe(self, chunk: Chunk, *, now_s: float) -> Iterator[Run | Interruption]:
        start = 0
        for x_uv, change in self._electrodes.observe(chunk.x_uv):
            yield from self._check(x_uv, chunk.t_s[start : start + len(x_uv)], now_s=now_s)
            if change:
                yield self._interruption(self.newest_s, change)
            start += len(x_uv)

    def _check(
        self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, now_s: float
    ) -> Iterator[Run | Interruption]:
        """Find the losses, and cut the samples where they were interrupted."""
        n_lost = self.losses.counts.n_lost
        checked = self.losses.check(x_uv, t_s, now_s=now_s)
        self._check_rate()
        if not self._amplitude.is_done:
            self._amplitude.update(x_uv[checked.clean])
        usable = np.isfinite(checked.times_s)  # (n_new,)
        newest = np.maximum.accumulate(np.where(usable, np.arange(len(usable)), -1))  # (n_new,) usable one so far
        times_s = np.where(newest >= 0, checked.times_s[newest], self.newest_s)
        if usable.any():
            self.newest_s = float(times_s[-1])
        edges = [0, *(b.index for b in checked.breaks), len(t_s)]
        for i, (start, stop) in enumerate(pairwise(edges)):
            if i:
                found = checked.breaks[i - 1]
                n_lost += found.n_lost
                self._electrodes.restart_block()
                yield Interruption(float(times_s[start]), found.why, n_lost)
            clean = checked.clean[start:stop]
            yield from self._repair(x_uv[start:stop][clean], times_s[start:stop][clean], n_lost=n_lost)

    def _repair(
        self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, n_lost: int
    ) -> Iterator[Run | Interruption]:
        start = 0
        for part in self._electrodes.repair(x_uv):
            stop = start + part.n_samples
            if part.x_uv is not None:
                yield Run(part.x_uv, t_s[start:stop], part.replaced, n_lost)
            if part.change:
                self._electrodes.restart_block()
                yield Interruption(float(t_s[stop - 1]), part.change, n_lost)
            start = stop

    def _check_rate(self) -> None:
        wrong_hz = self.losses.wrong_rate_hz
        if wrong_hz:
            nominal_hz = self.losses.shifts.line.sfreq_hz
            raise StreamRefusedError(
                f"The stream says that it has {nominal_hz:g} Hz, and its timestamps say {wrong_hz:.4g}. "
                "Set the amplifier to what it says, or say what it does: [stream] sfreq_hz = ..."
            )
