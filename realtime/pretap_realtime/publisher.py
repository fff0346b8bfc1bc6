"""The publisher: sends what the loop decides, and never lets the loop wait for an outlet.

A peer can freeze an LSL outlet for ever (liblsl #156), so the loop that decodes must not wait until something was sent.
Handing it to another thread does that, but that thread's wake-up comes on top of every latency: 40 to 100 us of 500.
So one thread leads: it runs the loop and sends what comes out itself. Another one watches it, and takes the lead when
sending hangs. Then what comes is put into a bounded queue, which the first thread empties once outlets move again; then
it is the one that watches. If they never move, it stays behind in liblsl.

Both are daemons: one that hangs does not keep the process alive. The main thread only waits, so that signals are heard.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap_realtime.latencies import Latencies
from pretap_realtime.messages import Message, MessageType, State

__all__ = ["Item", "Publisher", "Sink"]

_MOST_WAITING = 4096  # items: four seconds at 1000 decisions a second
_SLOW_S, _WATCH_S = 0.01, 0.035  # sending takes 0.1 ms; the loop waits for an outlet for less than 50 ms
_LOOK_S = 0.1 if os.name == "nt" else -1.0  # where no signal interrupts a wait, Ctrl-C is seen when it returns


class Item(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What the loop has to say: a message without its number and time of sending."""

    type: MessageType
    state: State
    t_s: float
    label: str = "none"
    code: int = 0
    probs: NDArray[np.float64] | None = None
    why: str = ""  # not empty: no verdict stands on this, and no sink but the log may show `probs`
    n_lost: int = 0
    cue: str = ""
    quality: float = 1.0  # the share of good electrodes
    bad: tuple[str, ...] = ()  # of a state or heartbeat: the electrodes that are not good
    facts: Mapping[str, str] | None = None  # of a state: what the streams' descriptions say from now on
    stamp_to_clock_s: float | None = 0.0  # what makes `t_s` this machine's clock; None: data time, no latency

    @property
    def stamp_s(self) -> float:
        """The stamp that goes out."""
        return self.t_s + (self.stamp_to_clock_s or 0.0)


class Sink(Protocol):
    """Something that takes messages: outlets, a log, a table on a terminal."""

    def hurry(self, items: Sequence[Item]) -> None:
        """Send what needs no message; `send` follows with the same items."""
        ...

    def send(self, batch: Sequence[tuple[Message, Item]]) -> None:
        """Take what became ready together; called from one thread at a time, in order."""
        ...


class Publisher:
    """Numbers items and hands them to the sinks; runs the loop that makes them, see the module.

    Attributes
    ----------
    latencies
        Of each valid decision: time of sending minus the stamp of the window's last sample.
    n_dropped
        Items that found too many waiting: an outlet hangs.
    """

    def __init__(self, sinks: Sequence[Sink], *, classes: Sequence[str], clock: Callable[[], float]) -> None:
        self.latencies = Latencies()
        self.n_dropped = 0
        self._sinks, self._classes, self._clock = sinks, tuple(classes), clock
        self._seq = 0
        self._waiting: deque[Item] = deque()
        self._sending = threading.Lock()  # held by who sends
        self._changing = threading.Lock()  # held by who takes or gives up the lead
        self._leader: object = None
        self._sends_since_s = math.inf  # what the leader sends now
        self._running = threading.Lock()  # held until the loop has ended
        self._running.acquire()
        self._error: BaseException | None = None

    def put(self, *items: Item) -> None:
        """Say what became ready together; never blocks."""
        if len(self._waiting) + len(items) > _MOST_WAITING:
            self.n_dropped += len(items)
        else:
            self._waiting.extend(items)

    def run(self, loop: Iterator[None]) -> None:
        """Run a loop that yields when it has `put` something, to its end or the error that ends it."""
        for _ in range(2):
            threading.Thread(target=self._work, args=(loop,), name="decode", daemon=True).start()
        while not self._has_ended(_LOOK_S):
            pass
        if self._error is not None:
            raise self._error

    def _has_ended(self, wait_s: float) -> bool:
        """Wait for the end of the loop. A plain lock: `threading.Event` costs ten times as much a look."""
        if not self._running.acquire(timeout=wait_s):
            return False
        self._running.release()
        return True

    def close(self, *, timeout_s: float) -> bool:
        """Send what is still waiting; False where that hangs and was left behind."""
        thread = threading.Thread(target=self._send_rest, name="send the rest", daemon=True)
        thread.start()
        thread.join(timeout_s)
        return not thread.is_alive()

    def _work(self, loop: Iterator[None]) -> None:
        me = object()
        while self._takes_the_lead(me):
            self._lead(loop, me)

    def _takes_the_lead(self, me: object) -> bool:
        """Watch the leader until this thread has to lead; False where the loop has ended."""
        while True:
            if self._leader is None or time.monotonic() - self._sends_since_s > _SLOW_S:
                with self._changing:
                    if self._leader is None or time.monotonic() - self._sends_since_s > _SLOW_S:
                        self._leader, self._sends_since_s = me, math.inf
                        return True
            if self._has_ended(_WATCH_S):
                return False

    def _lead(self, loop: Iterator[None], me: object) -> None:
        """Run the loop, and send, until the loop ends or another thread leads."""
        try:
            for _ in loop:
                if self._error is not None:  # of a thread that had lost the lead
                    break
                if self._waiting and self._sending.acquire(blocking=False):
                    self._sends_since_s = time.monotonic()
                    self._send()
                    with self._changing:
                        if self._leader is not me:
                            return
                        self._sends_since_s = math.inf
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that called `run`
            self._error = self._error or error
            if self._leader is not me:
                return  # who leads ends the loop, and then `run` raises
        with self._changing:
            if self._running.locked():
                self._running.release()

    def _send(self) -> None:
        """Send all that waits, then let go of `_sending`."""
        while True:
            try:
                while self._waiting:
                    items = [self._waiting.popleft() for _ in range(len(self._waiting))]
                    for sink in self._sinks:
                        sink.hurry(items)
                    batch = [(self._message(item, self._seq + k), item) for k, item in enumerate(items)]
                    self._seq += len(items)
                    for sink in self._sinks:
                        sink.send(batch)
            finally:
                self._sending.release()
            # Something may have come after the last look, and found this thread sending.
            if not (self._waiting and self._sending.acquire(blocking=False)):
                return

    def _send_rest(self) -> None:
        self._sending.acquire()
        self._send()

    def _message(self, item: Item, seq: int) -> Message:
        sent_s = self._clock()
        valid = item.type != "verdict" or not item.why
        probs = {}
        if item.probs is not None and valid:
            probs = dict(zip(self._classes, item.probs.tolist(), strict=True))
            if item.stamp_to_clock_s is not None:
                self.latencies.add(sent_s - item.t_s - item.stamp_to_clock_s)
        return Message(
            type=item.type,
            seq=seq,
            label=item.label,
            p=probs,
            state=item.state,
            valid=valid,
            why=item.why,
            lost=item.n_lost,
            t=item.stamp_s,
            sent=sent_s,
            cue=item.cue,
            bad=item.bad,
        )
