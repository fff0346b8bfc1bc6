"""The pipeline: from chunks to decisions. Pure: no clock, network or thread.

Used by `serve` on a live stream and by `score` on a file. For each run of clean samples it asks the mode for decisions,
for each interruption it tells the mode. The same samples give the same decisions, however they were cut into chunks and
however fast they came, with two exceptions: in an overload only the newest window is decoded, and a jump of the
timestamps into the future is a clock that was set, which only the live service can know.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.config.serve import QualityConfig
from pretap.decoder.decoder import Decoder
from pretap.signal.resampler import Resampler
from pretap_realtime.decide.modes import CueLocked, Mode
from pretap_realtime.signal.chunk import Chunk, Cue, Decision
from pretap_realtime.signal.compatibility import same_rate
from pretap_realtime.signal.front_end import FrontEnd, Interruption, Run, SignalStatus
from pretap_realtime.signal.losses import LossDetector
from pretap_realtime.signal.plain_samples import Horizon, count_plain


class Taken(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Plain samples, and the decisions they completed; None if the pipeline has to make those."""

    chunk: Chunk
    decisions: list[Decision] | None = None


def make_resampler(sfreq_hz: float, manifest: Manifest) -> Resampler | None:
    """Build the resampler from a stream's rate to the bundle's; None if they are the same."""
    if same_rate(sfreq_hz, manifest.sfreq_hz):
        return None
    return Resampler(from_hz=sfreq_hz, to_hz=manifest.sfreq_hz, n_channels=len(manifest.channels))


class Pipeline:
    """Turns chunks into decisions.

    `process` takes any samples. Code that finds plain samples and decides on them itself asks for the `horizon`, and
    passes them to `accept`; what is not plain goes to `process`.

    Parameters
    ----------
    mode
        When to decide.
    max_interpolated, counter_wraps_at, quality
        See `FrontEnd`.

    Attributes
    ----------
    front_end
        Checks and repairs the samples, and counts the losses.
    delay_s
        By how much resampling delays a decision, in seconds; 0 for a stream at the bundle's rate.
    is_caught_up
        Whether no samples are held for later. If some are, they must not be overwritten.
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
        self.manifest = manifest = decoder.manifest
        self.mode = mode
        self._make_front_end = functools.partial(
            FrontEnd,
            manifest,
            LossDetector(sfreq_hz=manifest.sfreq_hz, counter_wraps_at=counter_wraps_at),
            interpolation=decoder.interpolation,
            statistics=decoder.statistics,
            max_interpolated=max_interpolated,
            config=quality,
        )
        self.reset(sfreq_hz=manifest.sfreq_hz)

    def reset(self, *, sfreq_hz: float, missing: Sequence[int] = (), order: Sequence[int] | None = None) -> None:
        """Start with a stream at `sfreq_hz` that lacks the channels `missing`; the counts of losses survive.

        `order` gives for each channel of the bundle its number in the stream.
        """
        self.front_end = self._make_front_end(sfreq_hz=sfreq_hz, missing=missing, order=order)
        self.resampler = make_resampler(sfreq_hz, self.manifest)
        self.delay_s = 0.0 if self.resampler is None else self.resampler.delay_s
        self.mode.reset(delay_s=self.delay_s)
        self.is_caught_up = True
        self._newest_s = math.nan  # when the newest sample was taken, if it did not go to the fast path

    def process(
        self, chunk: Chunk, *, newest_only: bool = False, now_s: float = math.inf, arrived_s: float = 0.0
    ) -> list[Decision]:
        """Return the decisions that a chunk completes, those without a valid window among them.

        Parameters
        ----------
        newest_only
            Decide only on the newest window: there are too many samples.
        now_s
            The time on the clock of the timestamps when the chunk arrived, infinity if it is not known.
        arrived_s
            The same on the caller's clock, for the cues of the chunk; see `expire`.

        Raises
        ------
        StreamRefusedError
            If the first whole window has an amplitude that no EEG has, the first timestamps have another rate than the
            nominal one, or the counter does not count.
        """
        self.is_caught_up = False
        self.front_end.follow_counter(chunk)
        decisions: list[Decision] = []
        start = 0
        for cue in chunk.cues:  # its sample must be the newest one, so that its time is known and not yet refined
            stop = cue.row + 1
            rows = slice(start, stop)
            decisions += self._process(chunk.x_uv[rows], chunk.t_s[rows], newest_only=newest_only, now_s=now_s)
            decisions += self.ask(replace(cue, t_s=self._newest_s), arrived_s=arrived_s)
            start = stop
        return decisions + self._process(chunk.x_uv[start:], chunk.t_s[start:], newest_only=newest_only, now_s=now_s)

    def _process(
        self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, newest_only: bool, now_s: float
    ) -> list[Decision]:
        decisions: list[Decision] = []
        while len(t_s):
            # In an overload the newest decision of all samples is wanted, not that of each plain piece.
            n = 0 if newest_only else count_plain(self.horizon(), self.front_end.backlog.n, x_uv, t_s)
            if n:
                decisions += self.accept(Taken(Chunk(x_uv[:n], t_s[:n])))
                x_uv, t_s = x_uv[n:], t_s[n:]
            elif self.front_end.backlog.n:
                decisions += self._decide(self.front_end.catch_up())
            else:
                parts = self.front_end.process(Chunk(x_uv, t_s), now_s=now_s)
                decisions += self._decide(parts, newest_only=newest_only)
                self._newest_s = self.front_end.newest_s
                break
        return decisions

    def horizon(self) -> Horizon:
        """Return how many plain samples may be accepted, counted from the last time the checks caught up."""
        return self.front_end.horizon()

    def accept(self, taken: Taken) -> list[Decision]:
        """Accept plain samples; return the decisions that they complete.

        The samples must not be overwritten until `catch_up`. They are checked then, all at once, which costs as much as
        checking one.
        """
        self.is_caught_up = False
        chunk, decisions = taken.chunk, taken.decisions
        if decisions is None:
            times_s = self.horizon().times_s(self.front_end.backlog.n, chunk.t_s)
            is_good = self.front_end.status.share() == 1
            decisions = self._run_mode(chunk.x_uv, times_s, newest_only=False, is_good=is_good)
            self._newest_s = float(times_s[-1])
        self.front_end.accept(chunk)
        return _with_losses(_with_quality(decisions, self.front_end.status), self.front_end.losses.counts.n_lost)

    def catch_up(self) -> list[Decision]:
        """Do the work that was left for later, once the decisions were sent; return what the checks found."""
        if self.mode.lanes is not None:
            self.mode.lanes.catch_up()
        decisions = self._decide(self.front_end.catch_up())
        self.is_caught_up = True
        return decisions

    def close(self) -> list[Decision]:
        """Count what is pending in the losses: no more samples follow. Return what the checks found."""
        decisions = self._decide(self.front_end.catch_up())
        self.front_end.close()
        return decisions

    def interrupt(self, t_s: float, why: str) -> list[Decision]:
        """Note that the stream was lost; `reset` follows if there is one again."""
        decisions = self.close()
        return decisions + self._decide([Interruption(t_s, why, self.front_end.losses.counts.n_lost)])

    def ask(self, cue: Cue, *, arrived_s: float) -> list[Decision]:
        """Return the decisions that a cue, which arrived at `arrived_s` of the caller's clock, gets at once."""
        assert isinstance(self.mode, CueLocked)
        status = self.front_end.status
        decisions = _with_quality(self.mode.ask(cue, arrived_s), status, status.replaced)
        return _with_losses(decisions, self.front_end.losses.counts.n_lost)

    def expire(self, now_s: float) -> list[Decision]:
        """Return refusals of the cues that have waited too long for their samples."""
        assert isinstance(self.mode, CueLocked)
        return _with_losses(self.mode.expire(now_s), self.front_end.losses.counts.n_lost)

    def _decide(self, parts: Iterable[Run | Interruption], *, newest_only: bool = False) -> list[Decision]:
        decisions: list[Decision] = []
        for part in parts:  # lazily: the quality that `_with_quality` reads is that of this part
            if isinstance(part, Run):
                is_good = self.front_end.status.share(part.replaced) == 1
                found = self._run_mode(part.x_uv, part.t_s, newest_only=newest_only, is_good=is_good)
                found = _with_quality(found, self.front_end.status, part.replaced)
            else:
                if self.resampler is not None:
                    self.resampler.reset()
                found = self.mode.interrupt(part.t_s, part.why)
            decisions += _with_losses(found, part.n_lost)
        return decisions

    def _run_mode(
        self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64], *, newest_only: bool, is_good: bool
    ) -> list[Decision]:
        if self.resampler is not None:
            x_uv, t_s = self.resampler.process(x_uv, t_s)
        return self.mode.process(x_uv, t_s, newest_only=newest_only, is_good=is_good)


def _with_quality(
    decisions: list[Decision], status: SignalStatus, replaced: frozenset[int] = frozenset()
) -> list[Decision]:
    """Add the quality of the signal to decisions on it, and why they must be held back, if so."""
    if not decisions or (quality := status.share(replaced)) == 1:
        return decisions
    held = status.held
    return [replace(decision, quality=quality, why=decision.why or held) for decision in decisions]


def _with_losses(decisions: list[Decision], n_lost: int) -> list[Decision]:
    return [replace(decision, n_lost=n_lost) for decision in decisions] if n_lost else decisions
