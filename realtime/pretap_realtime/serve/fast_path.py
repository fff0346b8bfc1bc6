"""The fast path: from the samples in LSL to the probabilities on their way in one call of C code, see receive.c.

Used by the service. It is a `SendingCall`: the leader runs it, and the service then asks what came of
it. Plain samples are decided on in C; all others the service passes to `Pipeline.process`.
"""

from __future__ import annotations

import ctypes
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretap.signal.timeline import MAX_PLAIN
from pretap_realtime.decide.modes import FreeRunning
from pretap_realtime.decide.pipeline import Pipeline, Taken
from pretap_realtime.lsl.inlets import Inlet
from pretap_realtime.lsl.library import address_of, local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.native import library as native
from pretap_realtime.send.outlet_group import OutletGroup
from pretap_realtime.send.sending_clock import SendingClock
from pretap_realtime.signal.chunk import Chunk, Decision
from pretap_realtime.signal.electrodes import FLAT_UV
from pretap_realtime.signal.plain_samples import Horizon

_PAUSE_S: Final = 250e-6  # for liblsl's thread to send; without it the numbers arrive 200 us later


def make_fast_path(
    inlet: Inlet, pipeline: Pipeline, outlets: OutletGroup, *, sending_clock: SendingClock, hop_s: float
) -> FastPath | None:
    """Build the fast path; None if there is no library, or the stream or the decoder needs what it cannot do.

    Parameters
    ----------
    hop_s
        Time between decisions: samples that follow a decision may wait for a part of it.
    """
    mode = pipeline.mode
    if native.library() is None or inlet.native is None or pipeline.resampler is not None:
        return None
    if not isinstance(mode, FreeRunning) or mode.lanes is None or mode.lanes.native is None:
        return None
    return FastPath(inlet, pipeline, mode, outlets, sending_clock=sending_clock, hop_s=hop_s)


class FastPath:
    """Receives samples, decides on those that are plain, and sends their probabilities.

    The order of calls is `prepare`, the call itself, `received`, `taken`. As long as samples were taken and not all are
    done, `take_more`, the call and `taken` follow again.
    """

    def __init__(
        self,
        inlet: Inlet,
        pipeline: Pipeline,
        mode: FreeRunning,
        outlets: OutletGroup,
        *,
        sending_clock: SendingClock,
        hop_s: float,
    ) -> None:
        library, source, lanes = native.library(), inlet.native, mode.lanes
        assert library is not None
        assert source is not None
        assert lanes is not None
        assert lanes.native is not None
        self.outlets = outlets
        self._inlet, self._pipeline, self._mode = inlet, pipeline, mode
        self._function = library.pretap_receive
        self._outlet: Outlet | None = None  # that C code sends to
        self._horizon: Horizon | None = None  # that the struct holds
        self._first = 0  # row of the buffers for the next call's samples; those before may not be overwritten yet
        n_classes = len(pipeline.manifest.classes)
        self._found = np.empty(MAX_PLAIN, np.int64), np.empty((MAX_PLAIN, n_classes))  # ends of windows, probabilities
        self._struct = native.Receiver(
            pull=source.pull,
            available=source.available,
            inlet=source.inlet,
            max_samples=source.max_samples,
            n_channels=source.n_channels,
            flat_uv=FLAT_UV,
            decoder=lanes.native,
            n_classes=n_classes,
            ends=self._found[0].ctypes.data,
            probs=self._found[1].ctypes.data,
            clock=address_of(local_clock),
            watch=sending_clock.address,
            pause_s=min(_PAUSE_S, hop_s / 4),
        )

    def prepare(
        self, *, timeout_s: float, n_overload: int, may_send: bool, max_age_s: float, clock_offset_s: float
    ) -> list[Decision]:
        """Make the next call wait for new samples; return what the checks found meanwhile.

        Parameters
        ----------
        timeout_s
            How long it may wait.
        n_overload
            It decides on nothing if more samples come at once.
        may_send
            Whether decisions are verdicts, so that their probabilities may be sent.
        max_age_s
            Decisions on older samples are not sent.
        clock_offset_s
            Added to the samples' timestamps it gives this machine's clock.
        """
        struct, source = self._struct, self._inlet.native
        assert source is not None
        struct.timeout_s, struct.n_overload = timeout_s, n_overload
        struct.clock_offset_s = clock_offset_s
        struct.max_age_s = max_age_s if may_send else -math.inf
        self._function = native.library().pretap_receive  # type: ignore[union-attr]
        self._first += struct.n_new
        decisions = self._set_horizon(must_catch_up=self._first > source.n_spare)
        if self._pipeline.is_caught_up:
            self._first = 0
        assert self._pipeline.front_end.backlog.n <= self._first  # receive.c looks back at all samples of the horizon
        struct.x = source.x + self._first * 4 * source.n_channels
        struct.timestamps = source.timestamps + self._first * 8
        return decisions

    def take_more(self) -> list[Decision]:
        """Make the next call decide on what follows the samples that were taken; return what the checks found."""
        self._function = native.library().pretap_take_more  # type: ignore[union-attr]
        return self._set_horizon()

    def _set_horizon(self, *, must_catch_up: bool = False) -> list[Decision]:
        struct, pipeline, mode = self._struct, self._pipeline, self._mode
        decisions: list[Decision] = []
        horizon = pipeline.horizon()
        if must_catch_up or (not pipeline.is_caught_up and pipeline.front_end.backlog.n >= horizon.n_samples):
            decisions = pipeline.catch_up()
            horizon = pipeline.horizon()
        if horizon is not self._horizon:
            self._horizon, line = horizon, horizon.expected
            struct.t0_s, struct.s_ref, struct.rate_hz = line.t0_s, line.s_ref, line.rate_hz
            struct.n_ref, struct.limit, struct.is_exact = line.n_ref, line.limit, line.is_exact
            struct.n_floor, struct.floor_s = line.n_floor, line.floor_s
            struct.n_to_flat_check, struct.quality = horizon.n_to_flat_check, horizon.quality
        n_accepted = pipeline.front_end.backlog.n
        if mode.lanes.native is None:  # an audit has failed
            struct.lanes = None
        struct.n_plain = horizon.n_samples - n_accepted
        struct.n_first = horizon.n_first + n_accepted
        struct.n_accepted = n_accepted
        struct.n_decoded, struct.n_to_next = mode.n_seen, mode.n_to_next
        return decisions

    def __call__(self, *, may_send: bool) -> int:
        """Receive and decide; send if the leader lets it and the horizon does not hold verdicts back."""
        struct, horizon = self._struct, self._horizon
        assert horizon is not None
        # The local name keeps a frozen outlet alive until the call returns.
        outlet = self.outlets.get("probabilities") if may_send and not horizon.is_held else None
        if outlet is not self._outlet:
            self._outlet = outlet
            struct.send, struct.outlet = (None, None) if outlet is None else outlet.native
        return int(self._function(ctypes.byref(struct)))

    def cancel(self) -> bool:
        """Make a call that hangs send no more; return whether it hangs in an outlet; what is sent is noted then."""
        library, struct = native.library(), self._struct
        assert library is not None
        is_sending = bool(library.pretap_cancel(ctypes.byref(struct)))
        if is_sending:
            n, (ends, probs) = struct.n_sent, self._found
            first = self._first + struct.start
            last = ends[:n] - (struct.n_decoded + 1)  # rows of the buffers from `first` on
            t_s = self._times_s(self._inlet.samples(first, first + int(last[-1]) + 1))[last] + struct.clock_offset_s
            self.outlets.note("probabilities", [[*p, struct.quality] for p in probs[:n].tolist()], t_s.tolist())
        return is_sending

    def finish(self) -> None:
        """Tell the outlets that a call that hung has returned."""
        self.outlets.end()

    @property
    def n_sent(self) -> int:
        """How many of the decisions that were found had their probabilities sent."""
        claim = self._struct.claim  # see `claims` in receive.c
        return int((claim % native.CLAIM + 1) // 2 if claim else self._struct.n_sent)

    def received(self) -> Chunk | None:
        """Return all samples that came, of which the first ones may be taken.

        Raises
        ------
        ConnectionLostError
            If their source is gone.
        """
        return self._inlet.received(self._first, self._struct.n_new, self._struct.error)

    def taken(self) -> Taken | None:
        """Return the samples that were taken, with the decisions they completed; None if there are none."""
        struct, lanes = self._struct, self._mode.lanes
        first, n, n_found = self._first + struct.start, struct.n_taken, struct.n_found
        if not n or lanes is None:
            return None
        chunk, (ends, probs) = self._inlet.samples(first, first + n), self._found
        outputs = lanes.accept(chunk.x_uv, ends[:n_found].tolist(), probs[:n_found].copy())
        return Taken(chunk, self._mode.decisions(outputs, self._times_s(chunk)))

    def _times_s(self, chunk: Chunk) -> NDArray[np.float64]:
        """Return when the first samples that the last call took were taken by the device."""
        assert self._horizon is not None
        return self._horizon.times_s(self._struct.n_accepted, chunk.t_s)

    @property
    def is_done(self) -> bool:
        """Whether all samples that came were taken."""
        return bool(self._struct.start + self._struct.n_taken == self._struct.n_new)

    def remainder(self) -> Chunk:
        """Return the samples that were not taken."""
        first, struct = self._first, self._struct
        return self._inlet.samples(first + struct.start + struct.n_taken, first + struct.n_new)
