"""Publisher: numbers what the loop publishes and passes it on to the sinks, step by step. Used by `serve` and `leader`.

It starts no threads. The loop publishes; the thread that sends, see `sender.py`, runs the steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
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
    first_seq, keep_seq
        The first sequence number, and a function that gets the next one before each sending, so that the service that
        replaces this one continues there.

    Attributes
    ----------
    outlets
        As above; None from the moment they failed.
    n_dropped
        Items that were not sent because too many were pending. They have no sequence number.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        outlets: OutletSink | None = None,
        clock: Callable[[], float],
        say: Callable[[str], None],
        first_seq: int = 0,
        keep_seq: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.n_dropped = 0
        self.outlets = outlets
        self._sinks: list[Sink] = [*sinks] if outlets is None else [outlets, *sinks]
        self._say = say
        self._numbering = _Numbering(clock=clock, first_seq=first_seq, keep_seq=keep_seq)
        self._pending: deque[Outgoing] = deque()
        self._newest: Message | None = None  # of those that were sent
        self._steps: deque[_Step] = deque()  # the first one is in progress

    @property
    def latencies(self) -> Latencies:
        """Of each verdict: the time of sending minus the timestamp of the window's last sample."""
        return self._numbering.latencies

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
            now_s = self._numbering.clock()
            message = Message(type="state", seq=0, state=newest.state, why=why, lost=newest.lost, t=now_s, sent=now_s)
            self._pending.appendleft(Outgoing(message))

    def _start_batch(self) -> None:
        items = [self._pending.popleft() for _ in range(min(len(self._pending), _MAX_BATCH))]
        self._newest = items[-1].message
        if self.outlets is not None and any(not item.is_sent for item in items):
            self._steps.append((self.outlets, partial(self.outlets.send_probabilities, items)))
        self._steps.append((None, partial(self._number, items)))

    def _number(self, items: Sequence[Outgoing]) -> None:
        self._numbering.number(items)
        for sink in self._sinks:
            self._steps.append((sink, partial(sink.send, items)))


class _Numbering:
    """Adds sequence numbers and times of sending to messages, and counts the latencies that follow from them."""

    def __init__(self, *, clock: Callable[[], float], first_seq: int, keep_seq: Callable[[int], None]) -> None:
        self.latencies, self.clock = Latencies(), clock
        self._seq, self._keep_seq = first_seq, keep_seq

    def number(self, items: Sequence[Outgoing]) -> None:
        for item in items:
            sent_s = self.clock()
            item.message = replace(item.message, seq=self._seq, sent=sent_s)
            self._seq += 1
            if item.has_latency and item.message.valid:
                self.latencies.add(sent_s - item.message.t)
        self._keep_seq(self._seq)
