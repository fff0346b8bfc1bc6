"""From chunks to decisions: pure, without clock, network or threads.

The same samples give the same decisions, however they were cut into chunks and however fast they came.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.config.serve import QualityConfig
from pretap.decoder.decoder import Decoder
from pretap.decoder.output import Native
from pretap.errors import StreamRefusedError
from pretap.signal.resampler import Resampler
from pretap.signal.ring import Ring
from pretap_realtime.decide.modes import Mode
from pretap_realtime.signal.block_checks import unit_words
from pretap_realtime.signal.chunk import Chunk, Cue, Decision
from pretap_realtime.signal.compatibility import same_rate
from pretap_realtime.signal.electrodes import Electrodes
from pretap_realtime.signal.losses import BAD_STAMP_S, Health
from pretap_realtime.signal.quality import SOUND, Quality

__all__ = ["Pipeline", "make_resampler"]

# Median over channels of the standard deviation within a window. Scalp EEG has 2 to 100 uV; a unit error is a factor
# of 1000 or more.
_TYPICAL_UV = 10.0  # where no training says it
_PLAUSIBLE_UV = (0.05, 2000.0)


def make_resampler(sfreq_hz: float, manifest: Manifest) -> Resampler | None:
    """Build what brings a stream to the bundle's rate; None where it has it."""
    if same_rate(sfreq_hz, manifest.sfreq_hz):
        return None
    return Resampler(from_hz=sfreq_hz, to_hz=manifest.sfreq_hz, n_channels=len(manifest.channels))


class Pipeline:
    """Checks what arrives, repairs it, brings it to the bundle's rate, and hands clean runs of samples to the mode.

    Parameters
    ----------
    max_interpolated
        The share of the channels that may be replaced by their neighbours, see `pretap_realtime.signal.electrodes`.
    counter_wraps_at
        Where the device's counter starts again, see `pretap_realtime.signal.counter`.
    quality
        How a bad signal is found, and what is made of it.

    Attributes
    ----------
    health
        The accounts: received, lost, non-finite.
    electrodes
        Which electrodes are flat.
    waits
        Whether samples wait for `settle`, and must be there until then.
    delay_s
        By how much resampling delays a decision, in seconds; 0 for a stream at the bundle's rate.
    n_looks
        How often samples, or what decides on them, were looked at. While it stands still, what C code may take changes
        by what it took alone.
    """

    def __init__(
        self,
        decoder: Decoder,
        mode: Mode,
        *,
        max_interpolated: float = 0.0,
        counter_wraps_at: int = 0,
        quality: QualityConfig = QualityConfig(),  # noqa: B008 - frozen
    ) -> None:
        self._manifest = manifest = decoder.manifest
        self.health = Health(sfreq_hz=manifest.sfreq_hz, counter_wraps_at=counter_wraps_at)
        self.electrodes = Electrodes(manifest.channels, decoder.interpolation, max_share=max_interpolated)
        self.quality = Quality(manifest.channels, decoder.statistics, quality)
        self.mode = mode
        self.n_looks = 0
        self._policy = quality.policy
        self._n_channels = len(manifest.channels)
        self._typical_uv = _TYPICAL_UV
        if decoder.statistics is not None:
            self._typical_uv = statistics.median(decoder.statistics.scale_uv.tolist()) or _TYPICAL_UV
        self.begin(sfreq_hz=manifest.sfreq_hz)

    def begin(self, *, sfreq_hz: float, missing: Sequence[int] = (), order: Sequence[int] | None = None) -> None:
        """Get ready for a stream at `sfreq_hz` that lacks the channels `missing`; the accounts survive.

        `order` says where the bundle's channels stand in the stream, see `pretap_realtime.signal.quality`.
        """
        self.n_looks += 1
        manifest = self._manifest
        self._sfreq_hz = sfreq_hz
        self._resampler = make_resampler(sfreq_hz, manifest)
        self.delay_s = 0.0 if self._resampler is None else self._resampler.delay_s
        n_window = max(2, round(manifest.n_window * sfreq_hz / manifest.sfreq_hz))  # in the stream's own samples
        self.health.reset(sfreq_hz=sfreq_hz)
        self.electrodes.begin(sfreq_hz=sfreq_hz, n_window=n_window, missing=missing)
        self.quality.begin(sfreq_hz=sfreq_hz, n_window=n_window, missing=missing, order=order)
        self._standing, self._share = SOUND, 1.0
        self._held = ""  # why no verdict may be given
        self._unseen = _Waiting()  # for `quality`
        self._first_window = Ring(n_window, len(manifest.channels))
        self._amplitude_known = False
        self._unaccounted = _Waiting()
        self.waits = False
        self._n_quick = 0
        self._last_t_s = 0.0  # the newest usable stamp
        self.mode.begin(delay_s=self.delay_s)

    def interrupt(self, t_s: float, why: str) -> list[Decision]:
        """Note that the stream was lost; `begin` follows when there is one again."""
        return self.end() + _with_losses(self._interrupt(t_s, why), self.health.n_lost)

    def end(self) -> list[Decision]:
        """Close the accounts: no more samples follow. Gives what `account` gives."""
        self.n_looks += 1
        decisions = self.account()
        self.health.end()
        return decisions

    def push(self, chunk: Chunk, *, newest_only: bool = False) -> list[Decision]:
        """Take a chunk; give the decisions it completes, those without a valid window among them.

        Raises
        ------
        StreamRefusedError
            When the first whole window has an amplitude that no EEG has, the first stamps have another rate than the
            nominal one, or the counter does not count.
        """
        self.n_looks += 1
        self._see()
        decisions = self.account()
        self._check_rate()
        if chunk.count is not None:
            self.health.count(chunk.count, chunk.t_s)
            self._n_quick = min(self._n_quick, self.health.room)
        quality, n = self.quality, len(chunk.t_s)
        first = quality.n_taken
        if n > quality.n_block:
            quality.take(chunk.x_uv, chunk.t_s)
        else:
            self._unseen.add(chunk)  # what is in it has no effect before it ends
        self.waits = True
        if quality.next_change >= first + n:
            return decisions + self._take(chunk, newest_only=newest_only)
        start = 0
        while start < n:
            stop = min(n, quality.next_change - first)
            piece = Chunk(chunk.x_uv[start:stop], chunk.t_s[start:stop])
            decisions += self._take(piece, newest_only=newest_only)
            if stop < n:
                decisions += self._change()
            start = stop
        return decisions

    def _change(self) -> list[Decision]:
        """Let what is known of the signal's quality come into force."""
        decisions = self.account()
        self._standing = standing = self.quality.change()
        self._share = 0.0 if standing.faults else 1 - len(standing.bad) / self._n_channels
        holds = (standing.faults and self._policy != "flag") or (standing.bad and self._policy == "hold")
        self._held = f"held: {standing.words(self._manifest.channels)}" if holds else ""
        if self._policy != "mask":
            return decisions
        change = self.electrodes.mask(frozenset(standing.bad))
        self._look_ahead()
        return decisions + self._changed(change)

    def _changed(self, change: str) -> list[Decision]:
        """Break where other electrodes are replaced than before."""
        return _with_losses(self._interrupt(self._last_t_s, change), self.health.n_lost) if change else []

    def _take(self, chunk: Chunk, *, newest_only: bool) -> list[Decision]:
        decisions: list[Decision] = []
        start, n = 0, len(chunk.t_s)
        while start < n:
            stop = min(n, start + self._n_quick)
            x_uv, t_s = chunk.x_uv[start:stop], chunk.t_s[start:stop]
            # In an overload the newest decision of all samples is wanted, not that of each piece.
            if newest_only or stop == start or not self.health.is_sound(x_uv, t_s):
                rest = Chunk(chunk.x_uv[start:], chunk.t_s[start:])
                return decisions + self._examine(rest, newest_only=newest_only)
            self._unaccounted.add(Chunk(x_uv, t_s))
            decisions += _with_losses(self._to_mode(x_uv, t_s, newest_only=newest_only), self.health.n_lost)
            start = stop
            if start < n or self._unaccounted.n == self.electrodes.room:  # a block ends: what it shows is said here
                decisions += self.account()
        return decisions

    @property
    def native(self) -> Native | None:
        """What C code may call in place of `push`, for samples of which there is nothing to say; see `n_native`."""
        return self.mode.native if self._resampler is None else None

    def n_native(self) -> int:
        """Give how many of the samples that follow C code may take, as long as they lie where `place` says.

        Where it is none, `settle` may make it more.
        """
        if self.native is None or self._held or not self._n_quick:
            return 0
        # A block of the electrodes may end, where C code sees that all of them live in it.
        n_unaccounted = min(self.health.room, self.electrodes.room + self.electrodes.n_block) - self._unaccounted.n
        return max(0, min(n_unaccounted, self.quality.room - self._unseen.n))

    @property
    def place(self) -> tuple[float, float, float, float, float, float]:
        """Where the samples that follow should lie, see `Health.place`."""
        t0_s, s_ref, rate_hz, n_ref, n_seen, limit = self.health.place
        return t0_s, s_ref, rate_hz, n_ref, n_seen + self._unaccounted.n, limit

    @property
    def block(self) -> tuple[int, int]:
        """How long the electrodes' block is, from the first sample that waits for the accounts on; how many wait."""
        return self.electrodes.room, self._unaccounted.n

    def took(self, chunk: Chunk, ends: Sequence[int], probs: NDArray[np.float64]) -> list[Decision]:
        """Take over what `native` did: samples, at most `n_native`, and what it found.

        The samples must be there until `settle`: the accounts of many cost as much as those of one.
        """
        self.waits = True
        self._unaccounted.add(chunk)
        self._unseen.add(chunk)
        return _with_losses(self._rated(self.mode.took(chunk, ends, probs)), self.health.n_lost)

    def settle(self) -> list[Decision]:
        """Do what the last push left for later: what is left of a sample's work when its decision is out.

        Gives what `account` gives. The samples of that push, and of all that `took` was given, must still be there.

        Raises
        ------
        StreamRefusedError
            When the first stamps have another rate than the nominal one.
        """
        self.n_looks += 1
        self.mode.settle()
        decisions = self.account()
        self._see()
        self.waits = False
        self._check_rate()
        return decisions

    def audit(self) -> str:
        """Compare the newest decision with the reference's; says what is wrong. From then on windows are recomputed."""
        fault = self.mode.audit()
        if fault:
            self.n_looks += 1  # C code may take nothing any more
        return fault

    def _see(self) -> None:
        """Let `quality` look at what waits."""
        chunk = self._unseen.take()
        if chunk is not None:
            self.quality.take(chunk.x_uv, chunk.t_s)

    @property
    def status(self) -> str:
        """Say which electrodes are replaced or bad, and what is wrong with the stream; empty where all is well."""
        return "; ".join(s for s in (self.electrodes.status, self._standing.words(self._manifest.channels)) if s)

    @property
    def bad(self) -> tuple[str, ...]:
        """Names of the electrodes that are replaced or bad."""
        channels = self._manifest.channels
        return tuple(channels[k] for k in sorted(self.electrodes.replaced.union(self._standing.bad)))

    def account(self) -> list[Decision]:
        """Take samples into the accounts of which there is nothing to say; gives the break that may follow them.

        C code may have taken the last sample of an electrodes' block: what that shows holds from the next one on.
        """
        chunk = self._unaccounted.take()
        if chunk is None:
            return []
        self.health.pass_on(chunk.t_s)
        change = self.electrodes.pass_on(chunk.x_uv)
        self._last_t_s = float(chunk.t_s[-1])
        self._look_ahead()
        return self._changed(change)

    def _look_ahead(self) -> None:
        """Find out how many samples may come before somebody has to look at them."""
        self._n_quick = min(self.electrodes.room, self.health.room) if self._amplitude_known else 0

    def _examine(self, chunk: Chunk, *, newest_only: bool) -> list[Decision]:
        """Take a chunk of which there may be something to say."""
        decisions: list[Decision] = []
        start = 0
        for x_uv, change in self.electrodes.listen(chunk.x_uv):
            t_s = chunk.t_s[start : start + len(x_uv)]
            decisions += self._push(Chunk(x_uv, t_s), newest_only=newest_only)
            decisions += self._changed(change)
            start += len(x_uv)
        self._look_ahead()
        return decisions

    def _to_mode(
        self,
        x_uv: NDArray[np.float32],
        t_s: NDArray[np.float64],
        *,
        newest_only: bool,
        replaced: frozenset[int] = frozenset(),
    ) -> list[Decision]:
        if self._resampler is not None:
            x_uv, t_s = self._resampler.process(x_uv, t_s)
        return self._rated(self.mode.push(x_uv, t_s, newest_only=newest_only), replaced)

    @property
    def n_wanted(self) -> int:
        """How many samples are worth waiting for: half of what the next decision needs.

        So a hop of 50 samples that come one by one takes 7 looks at the stream instead of 50; and before the last
        sample most of its work is done, and the processor's caches are warm.
        """
        return 1 if self._resampler is not None else (self.mode.n_to_next + 1) // 2

    def _push(self, chunk: Chunk, *, newest_only: bool) -> list[Decision]:
        n_lost = self.health.n_lost
        checked = self.health.check(chunk.x_uv, chunk.t_s)
        self._check_rate()
        if not self._amplitude_known:
            self._check_amplitude(chunk.x_uv[checked.clean])
        usable = np.abs(chunk.t_s) < BAD_STAMP_S  # (n_new,) False for NaN too
        newest = np.maximum.accumulate(np.where(usable, np.arange(len(usable)), -1))  # (n_new,) usable stamp so far
        stamps = np.where(newest >= 0, chunk.t_s[newest], self._last_t_s)
        if usable.any():
            self._last_t_s = float(chunk.t_s[usable][-1])
        if not checked.breaks and checked.clean.all():
            return _with_losses(self._hand_over(chunk.x_uv, chunk.t_s, newest_only=newest_only), n_lost)
        decisions: list[Decision] = []
        edges = [0, *(b.index for b in checked.breaks), len(chunk.t_s)]
        for i, (start, stop) in enumerate(pairwise(edges)):
            found: list[Decision] = []
            if i:
                broken = checked.breaks[i - 1]
                n_lost += broken.n_lost
                found += self._interrupt(float(stamps[start]), broken.why)
            clean = checked.clean[start:stop]
            x_uv, t_s = chunk.x_uv[start:stop][clean], chunk.t_s[start:stop][clean]
            found += self._hand_over(x_uv, t_s, newest_only=newest_only)
            decisions += _with_losses(found, n_lost)
        return decisions

    def _interrupt(self, t_s: float, why: str) -> list[Decision]:
        self.electrodes.restart()
        if self._resampler is not None:
            self._resampler.reset()
        return self.mode.interrupt(t_s, why)

    def _hand_over(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, newest_only: bool) -> list[Decision]:
        """Pass clean, contiguous samples on to the mode, repaired and at the bundle's rate."""
        decisions: list[Decision] = []
        start = 0
        for run in self.electrodes.push(x_uv):
            stop = start + run.n_samples
            if run.x_uv is not None:
                decisions += self._to_mode(run.x_uv, t_s[start:stop], newest_only=newest_only, replaced=run.replaced)
            if run.change:
                decisions += self._interrupt(float(t_s[stop - 1]), run.change)
            start = stop
        return decisions

    def ask(self, cue: Cue, *, arrived_s: float) -> list[Decision]:
        """Take a cue."""
        decisions = self._rated(self.mode.ask(cue, arrived_s), self.electrodes.replaced)
        return _with_losses(decisions, self.health.n_lost)

    def expire(self, now_s: float) -> list[Decision]:
        """Refuse cues that have waited too long for their samples."""
        return _with_losses(self.mode.expire(now_s), self.health.n_lost)

    def _rated(self, decisions: list[Decision], replaced: frozenset[int] = frozenset()) -> list[Decision]:
        """Let decisions carry the signal's quality."""
        share = self.share(replaced)
        if share == 1:
            return decisions
        return [replace(decision, quality=share, why=decision.why or self._held) for decision in decisions]

    def share(self, replaced: frozenset[int] = frozenset()) -> float:
        """Give the signal's quality where the channels `replaced` are what their neighbours say."""
        if not replaced:
            return self._share
        return 0.0 if self._standing.faults else 1 - len(replaced.union(self._standing.bad)) / self._n_channels

    def _check_rate(self) -> None:
        wrong_hz = self.health.wrong_rate_hz
        if wrong_hz:
            raise StreamRefusedError(
                f"The stream says that it has {self._sfreq_hz:g} Hz, and its stamps say {wrong_hz:.4g}. "
                "Set the amplifier to what it says, or say what it does: [stream] sfreq_hz = ..."
            )

    def _check_amplitude(self, x_uv: NDArray[np.float32]) -> None:
        ring = self._first_window
        ring.append(x_uv[: ring.capacity - ring.n_seen])
        if ring.n_seen < ring.capacity:
            return
        window = ring.window(ring.n_seen, ring.capacity).astype(np.float64)
        # The mean goes: amplifiers carry offsets of many millivolts. np.median would import numpy.ma: 15 ms, just here.
        typical_uv = statistics.median(window.std(axis=0).tolist())
        offset_uv = statistics.median(np.abs(window.mean(axis=0)).tolist())
        low, high = _PLAUSIBLE_UV
        if not low <= typical_uv <= high:
            raise StreamRefusedError(
                f"The signal's standard deviation is {typical_uv:.3g} uV (median over channels of the first window); "
                f"EEG lies between {low:g} and {high:g}. Check the electrodes, and the unit: [stream] unit = ... "
                f"{unit_words(typical_uv / self._typical_uv)}".strip()
            )
        if not self._manifest.removes_offsets and offset_uv > high:
            raise StreamRefusedError(
                f"The electrodes have an offset of {offset_uv / 1000:.3g} mV (median over channels), and this bundle "
                "takes the signal as it is. Train with a baseline (scaling.baseline_ms), or set the amplifier's "
                "high-pass filter."
            )
        self._amplitude_known = True


class _Waiting:
    """Chunks that follow one another, and wait to be looked at together."""

    def __init__(self) -> None:
        self.n = 0  # samples
        self._chunks: list[Chunk] = []

    def add(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self.n += len(chunk.t_s)

    def take(self) -> Chunk | None:
        chunks = self._chunks
        if not chunks:
            return None
        self.n, self._chunks = 0, []
        if len(chunks) == 1:
            return chunks[0]
        return Chunk(np.concatenate([c.x_uv for c in chunks]), np.concatenate([c.t_s for c in chunks]))


def _with_losses(decisions: list[Decision], n_lost: int) -> list[Decision]:
    return [replace(decision, n_lost=n_lost) for decision in decisions] if n_lost else decisions
