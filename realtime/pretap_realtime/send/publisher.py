"""Publisher: numbers what the loop publishes and passes it on to the sinks, step by step. Used by `serve` and `leader`.

It starts no threads. The loop publishes; the thread that sends, see `sender.py`, runs the steps.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from pretap_realtime.send.latencies import Latencies
from pretap_realtime.send.messages import Message
from pretap_realtime.send.outlet_sink import OutletSink
from pretap_realtime.send.sink import Outgoing, Sink

_MAX_PENDING: Final = 4096  # items: four seconds at 1000 decisions a second
_MAX_BATCH: Final = 256  # items sent in one step, which takes some milliseconds

# One operation of the thread that sends: a sink, or None for the publisher itself, and what to run.
_Step = tuple[Sink | None, Callable[[], object]]


class Publisher:
    """Numbers items, and sends them to the outlets first and then to the other sinks.

    A sink that raises is left out from then on: the session is worth more than one of its outputs.

    Parameters
    ----------
    outlets
        The one sink in which a thread may hang; None if nothing goes to LSL.
    say
        Shows a line to the operator.
    seqs
        Yields the sequence numbers; None to count from 0. A service that replaces another one continues there.

    Attributes
    ----------
    outlets
        As above; None from the moment they failed.
    n_dropped
        Items that were not sent because too many were pending. They have no sequence number.
    latencies
        Of each verdict: the time of sending minus the timestamp of the window's last sample.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        outlets: OutletSink | None = None,
        clock: Callable[[], float],
        say: Callable[[str], None],
        seqs: Iterator[int] | None = None,
    ) -> None:
        self.n_dropped = 0
        self.outlets = outlets
        self._sinks: list[Sink] = [*sinks] if outlets is None else [outlets, *sinks]
        self.latencies = Latencies()
        self._clock, self._say = clock, say
        self._seqs = itertools.count() if seqs is None else seqs
        self._pending: deque[Outgoing] = deque()
        self._newest: Message | None = None  # of those that were sent
        self._steps: deque[_Step] = deque()  # the first one is in progress

    def publish(self, *items: Outgoing) -> None:
        """Queue items that became ready together, without waiting."""
        if len(self._pending) + len(items) > _MAX_PENDING:
            self.n_dropped += len(items)
        else:
            self._pending.extend(items)

    @property
    def has_pending(self) -> bool:
        """Whether items were published that no step covers yet."""
        return bool(self._pending)

    def next_step(self) -> _Step | None:
        """Return the step to run now, and keep returning it until `end_step`; None if all is sent."""
        if not self._steps and self._pending:
            self._start_batch()
        return self._steps[0] if self._steps else None

    def end_step(self) -> None:
        """Remove the first step, which is done."""
        self._steps.popleft()

    def add_step(self, *, is_in_outlets: bool, run: Callable[[], object]) -> None:
        """Put a step in front: a call of the loop that is in progress, or the rescue of the outlets."""
        self._steps.appendleft((self.outlets if is_in_outlets else None, run))

    @property
    def is_in_outlets(self) -> bool:
        """Whether the step in progress is one of the outlets."""
        return self.outlets is not None and bool(self._steps) and self._steps[0][0] is self.outlets

    def drop(self, sink: Sink | None) -> None:
        """Leave a sink out, with its steps."""
        if sink is self.outlets:
            self.outlets = None
        self._sinks = [each for each in self._sinks if each is not sink]
        self._steps = deque(step for step in self._steps if step[0] is not sink)

    def announce(self, why: str) -> None:
        """Warn the operator, and the readers in a message of the newest state."""
        self._say(f"WARNING: {why}")
        if (newest := self._newest) is not None:
            now_s = self._clock()
            message = Message(
                type="state",
                seq=0,
                state=newest.state,
                why=why,
                lost=newest.lost,
                n_judged=newest.n_judged,
                n_correct=newest.n_correct,
                n_none=newest.n_none,
                quality=newest.quality,
                t=now_s,
                sent=now_s,
            )
            self._pending.appendleft(Outgoing(message))

    def _start_batch(self) -> None:
        items = [self._pending.popleft() for _ in range(min(len(self._pending), _MAX_BATCH))]
        self._newest = items[-1].message
        if self.outlets is not None and any(not item.is_sent for item in items):
            self._steps.append((self.outlets, partial(self.outlets.send_probabilities, items)))
        self._steps.append((None, partial(self._number, items)))

    def _number(self, items: Sequence[Outgoing]) -> None:
        """Set the sequence numbers and times of sending of messages, and count the latencies that follow."""
        for item in items:
            item.message = replace(item.message, seq=next(self._seqs), sent=self._clock())
            if item.has_latency and item.message.valid:
                self.latencies.add(item.message.sent - item.message.t)
        for sink in self._sinks:
            self._steps.append((sink, partial(sink.send, items)))
