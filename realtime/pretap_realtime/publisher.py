"""The publisher: a thread that owns the outlets, behind a bounded queue.

A peer can freeze an LSL outlet for ever (liblsl #156), so nothing is pushed from the loop that decodes. The thread is a
daemon: one that hangs in liblsl does not keep the process alive.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pretap_realtime.latencies import Latencies
from pretap_realtime.messages import Message, MessageType, State

__all__ = ["Item", "Publisher", "Sink"]

_MOST_WAITING = 4096  # items: four seconds at 1000 decisions a second


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

    def send(self, batch: Sequence[tuple[Message, Item]]) -> None:
        """Take what became ready together; called from the publisher's thread, in order."""
        ...


class Publisher:
    """Numbers items and hands them to the sinks, in a thread of its own.

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
        self._n_put = self._n_taken = 0  # one thread counts the one, the other the other
        # Not `queue.Queue`: that takes three locks in Python for what this does in one step in C.
        self._queue: queue.SimpleQueue[Sequence[Item] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def put(self, *items: Item) -> None:
        """Hand over what became ready together; never blocks."""
        if self._n_put - self._n_taken + len(items) > _MOST_WAITING:
            self.n_dropped += len(items)
            return
        self._n_put += len(items)
        self._queue.put(items)

    def close(self, *, timeout_s: float) -> bool:
        """Send what is queued, then end; False where the thread hangs and was left behind."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        seq = 0
        while (items := self._queue.get()) is not None:
            batch = [(self._message(item, seq + k), item) for k, item in enumerate(items)]
            seq += len(items)
            for sink in self._sinks:
                sink.send(batch)
            self._n_taken += len(items)

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
            t=item.t_s + (item.stamp_to_clock_s or 0.0),
            sent=sent_s,
            cue=item.cue,
        )
