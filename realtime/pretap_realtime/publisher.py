"""The publisher: a thread that owns the outlets, behind a bounded queue.

A peer can freeze an LSL outlet for ever (liblsl #156), so nothing is pushed from the loop that decodes. The thread is a
daemon: one that hangs in liblsl does not keep the process alive.
"""

from __future__ import annotations

import queue
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.messages import Message, MessageType, State

__all__ = ["Item", "Publisher", "Sink"]

_QUEUE_SIZE = 256


@dataclass(frozen=True, eq=False)
class Item:
    """What the loop hands over: a message without its number and time of sending."""

    type: MessageType
    state: State
    t_s: float
    label: str = "none"
    code: int = 0
    probs: NDArray[np.float64] | None = None
    why: str = ""  # not empty: no verdict stands on this, and no sink but the log may show `probs`
    n_lost: int = 0
    cue: str = ""
    facts: Mapping[str, str] | None = None  # of a state: what the streams' descriptions say from now on
    stamp_to_clock_s: float | None = 0.0  # what makes `t_s` this machine's clock; None: data time, no latency


class Sink(Protocol):
    """Something that takes messages: outlets, a log, a table on a terminal."""

    def send(self, message: Message, item: Item) -> None:
        """Take one message; called from the publisher's thread, in order."""
        ...


class Publisher:
    """Numbers items and hands them to the sinks, in a thread of its own.

    Attributes
    ----------
    latencies_s
        For each valid decision: time of sending minus the stamp of the window's last sample.
    n_dropped
        Items that found the queue full: an outlet hangs.
    """

    def __init__(self, sinks: Sequence[Sink], *, classes: Sequence[str], clock: Callable[[], float]) -> None:
        self.latencies_s = array("d")  # 8 bytes each: 29 MB in an hour at 1000 decisions a second
        self.n_dropped = 0
        self._sinks, self._classes, self._clock = sinks, tuple(classes), clock
        self._queue: queue.Queue[Item | None] = queue.Queue(_QUEUE_SIZE)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item; never blocks."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.n_dropped += 1

    def close(self, *, timeout_s: float) -> bool:
        """Send what is queued, then end; False where the thread hangs and was left behind."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        seq = 0
        while (item := self._queue.get()) is not None:
            message = self._message(item, seq)
            seq += 1
            for sink in self._sinks:
                sink.send(message, item)

    def _message(self, item: Item, seq: int) -> Message:
        sent_s = self._clock()
        valid = item.type != "verdict" or not item.why
        probs = {}
        if item.probs is not None and valid:
            probs = dict(zip(self._classes, item.probs.tolist(), strict=True))
            if item.stamp_to_clock_s is not None:
                self.latencies_s.append(sent_s - item.t_s - item.stamp_to_clock_s)
        return Message(
            type=item.type,
            seq=seq,
            label=item.label,
            p=probs,
            state=item.state,
            valid=valid,
            why=item.why,
            lost=item.n_lost,
            t=item.t_s + (item.stamp_to_clock_s or 0.0),
            sent=sent_s,
            cue=item.cue,
        )
