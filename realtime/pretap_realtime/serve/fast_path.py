"""The hurry of a decision in one call of C code, see receive.c: from the samples in LSL to the numbers on their way."""

from __future__ import annotations

import ctypes
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.lsl.inlets import Inlet
from pretap_realtime.lsl.library import clock_address
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.native import library as native
from pretap_realtime.send.outlet_sink import OutletSink
from pretap_realtime.send.watchdog import Watch
from pretap_realtime.signal.chunk import Chunk, Decision
from pretap_realtime.signal.electrodes import FLAT_UV
from pretap_realtime.signal.timestamp_line import MOST_ROOM

__all__ = ["Express", "ExpressError"]

_PAUSE_S: Final = 250e-6  # for liblsl's thread to send; without it the numbers arrive 200 us later
_MOST_ENDS: Final = MOST_ROOM  # decisions in a piece


class ExpressError(Exception):
    """It cannot be done in C here: Python does it, somewhat later."""


class Express:
    """Receives; where there is nothing to say of the samples, it decides and sends the numbers too.

    A `Call` of the publisher; what came of it is asked for after it.

    Parameters
    ----------
    hop_s
        Time between decisions: what comes after one may wait for a part of it.

    Raises
    ------
    ExpressError
        Where there is no library, or the stream or the decoder need more than it does.
    """

    def __init__(self, inlet: Inlet, pipeline: Pipeline, sink: OutletSink, *, watch: Watch, hop_s: float) -> None:
        loaded, source, lanes = native.library(), inlet.native, pipeline.native
        if loaded is None or source is None or lanes is None:
            raise ExpressError
        self._stop = loaded.pretap_stop
        self._calls = {False: loaded.pretap_receive, True: loaded.pretap_go_on}
        self._inlet, self._pipeline, self.sink = inlet, pipeline, sink
        n_classes = len(sink.classes)
        self._ends, self._probs = np.empty(_MOST_ENDS, np.int64), np.empty((_MOST_ENDS, n_classes))
        self._may_send = self._goes_on = False
        self._outlet: Outlet | None = None  # what C code sends to
        self._x, self._stamps, self._row_bytes = source.x, source.timestamps, 4 * source.n_channels
        self._n_spare = source.n_spare
        self._n_looks = -1  # of the pipeline, when the terms were asked for
        self._chunk: Chunk | None = None  # what came
        self._first = 0  # row of the buffers where the samples of the next call go: those before wait to be settled
        self._struct = native.Receiver(
            pull=source.pull,
            available=source.available,
            inlet=source.inlet,
            x=source.x,
            stamps=source.timestamps,
            n_room=source.max_samples,
            n_channels=source.n_channels,
            flat_uv=FLAT_UV,
            push=lanes.push,
            settle=lanes.settle,
            lanes=lanes.engine,
            n_classes=n_classes,
            ends=self._ends.ctypes.data,
            probs=self._probs.ctypes.data,
            clock=clock_address(),
            watch=watch.address,
            pause_s=min(_PAUSE_S, hop_s / 4),
        )
        self._at = ctypes.byref(self._struct)

    def arm(self, *, timeout_s: float, n_most: int, too_old_s: float) -> list[Decision]:
        """Let the next call wait for samples for up to `timeout_s`, and leave more than `n_most` of them alone.

        Gives what settling the samples before gives.
        """
        self._goes_on = False
        struct = self._struct
        struct.timeout_s, struct.n_most, struct.too_old_s = timeout_s, n_most, too_old_s
        self._first += struct.n_new
        decisions = self._set_terms(settles=self._first > self._n_spare)
        if not self._pipeline.waits:
            self._first = 0
        struct.x, struct.stamps = self._x + self._first * self._row_bytes, self._stamps + self._first * 8
        return decisions

    def go_on(self) -> list[Decision]:
        """Let the next call decide on what follows the samples that were taken; gives what settling those gives."""
        self._goes_on = True
        return self._set_terms()

    def _set_terms(self, *, settles: bool = False) -> list[Decision]:
        struct, pipeline = self._struct, self._pipeline
        decisions: list[Decision] = []
        if not settles and pipeline.n_looks == self._n_looks and struct.n_taken < struct.n_quick:
            struct.n_quick -= struct.n_taken
            struct.n_seen += struct.n_taken
            struct.n_before += struct.n_taken
        else:
            if settles or (pipeline.waits and not pipeline.n_native()):
                decisions = pipeline.settle()
            self._n_looks = pipeline.n_looks
            struct.n_quick = pipeline.n_native()
            struct.quality = pipeline.share()
            struct.n_block, struct.n_before = pipeline.block
            if struct.n_quick:
                struct.t0_s, struct.s_ref, struct.rate_hz, struct.n_ref, struct.n_seen, struct.limit = pipeline.place
        struct.n_decoded, struct.n_to_next = pipeline.mode.n_seen, pipeline.mode.n_to_next
        return decisions

    def allow(self, *, sending: bool, stamp_to_clock_s: float | None) -> None:
        """Say whether numbers may be sent: only while a decision is a verdict."""
        self._may_send = sending
        self._struct.stamp_to_clock_s = stamp_to_clock_s or 0.0
        if stamp_to_clock_s is None:  # data time: nothing is too old
            self._struct.too_old_s = math.inf

    def __call__(self, *, may_send: bool) -> int:
        struct = self._struct
        outlet = self.sink.numbers if may_send and self._may_send else None  # a frozen one must outlive this call
        if outlet is not self._outlet:
            self._outlet = outlet
            struct.send, struct.outlet = (None, None) if outlet is None else outlet.native
        return int(self._calls[self._goes_on](self._at))

    def stop(self) -> bool:
        """Have it send no more, while it hangs; where that is in the sink, that notes what is being sent: True."""
        is_sending = bool(self._stop(self._at))
        if is_sending:
            struct, n = self._struct, self._struct.n_sent
            last = self._ends[:n] - (struct.n_decoded + 1) + (self._first + struct.at)  # rows of the buffers
            stamps = self._inlet.samples(0, int(last[-1]) + 1).t_s[last] + struct.stamp_to_clock_s
            self.sink.under_way([[*p, struct.quality] for p in self._probs[:n].tolist()], stamps.tolist())
        return is_sending

    def returns(self) -> None:
        """Have the sink forget it."""
        self.sink.done()

    @property
    def n_sent(self) -> int:
        """So many of the decisions that were found have their numbers sent."""
        turn = self._struct.turn  # see `passes` in receive.c
        return int((turn % native.TURN + 1) // 2 if turn else self._struct.n_sent)

    def chunk(self) -> Chunk | None:
        """Give all samples that came, of which the first ones may be taken.

        Raises
        ------
        ConnectionLostError
            When their source is gone.
        """
        self._chunk = self._inlet.received(self._first, self._struct.n_new, self._struct.error)
        return self._chunk

    def taken(self) -> Chunk | None:
        """Give the samples that were taken: the pipeline gets them with `ends` and `probs`."""
        at, n = self._struct.at, self._struct.n_taken
        if n and n == self._struct.n_new:
            return self._chunk
        return self._inlet.samples(self._first + at, self._first + at + n) if n else None

    @property
    def is_done(self) -> bool:
        """Whether all that came is taken."""
        return bool(self._struct.at + self._struct.n_taken == self._struct.n_new)

    def rest(self) -> Chunk:
        """Give the samples that were not taken."""
        first, struct = self._first, self._struct
        return self._inlet.samples(first + struct.at + struct.n_taken, first + struct.n_new)

    def found(self) -> tuple[list[int], NDArray[np.float64]]:
        """Give where the windows that were filled end, counted since the last break, and probabilities."""
        n = self._struct.n_found
        return self._ends[:n].tolist(), self._probs[:n].copy()
