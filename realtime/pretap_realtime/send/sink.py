"""Outgoing, Sink and SendingCall: the data and the protocols between the loop, the publisher and the sinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from pretap.decoder.adapting import Adapted
from pretap_realtime.send.messages import Message
from pretap_realtime.signal.chunk import CueOrigin


class Outgoing(msgspec.Struct, eq=False, gc=False):
    """A message of the loop, with what the sinks need besides it.

    Attributes
    ----------
    message
        The publisher replaces its number and its time of sending, which mean nothing before.
    code
        Of a verdict: the index of the class + 1, or 0.
    row
        Of a verdict: what the probabilities stream sends, the quality last. All zeros if there is no valid window.
    withheld_p
        The probabilities of a decision that is no verdict: only the log may show them.
    facts
        In a state: what the streams' descriptions state from now on.
    is_sent
        Whether `row` was sent already, or noted by the outlets.
    has_latency
        Whether it has probabilities, and its timestamp is on this machine's clock.
    origin, sample
        Of a verdict at a cue: see `Decision`.
    adapted
        Of a verdict: see `Decision`.
    """

    message: Message
    code: int = 0
    row: Sequence[float] = ()
    withheld_p: Sequence[float] = ()
    facts: Mapping[str, str] | None = None
    is_sent: bool = False
    has_latency: bool = False
    origin: CueOrigin | None = None
    sample: int = -1
    adapted: Adapted | None = None


class Sink(Protocol):
    """Something that messages are sent to. It never blocks, except `OutletSink`."""

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Send what became ready together; called from one thread at a time, in order."""
        ...


class SendingCall(Protocol):
    """An operation of the loop that may hang in the outlets, so the leader runs it; see steps 1 to 3 in leader.py."""

    def __call__(self, *, may_send: bool) -> int:
        """Run the operation, and send probabilities if it may; return how many were sent."""
        ...

    def cancel(self) -> bool:
        """Make a call that another thread is in send nothing more; return whether that thread is in the outlets.

        If it is, the outlets note what is being sent, and `finish` follows if the call returns after all.
        """
        ...

    def finish(self) -> None:
        """Tell the outlets that a cancelled call has returned."""
        ...
