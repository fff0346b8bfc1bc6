"""Outgoing, Sink and SendingCall: the data and the protocols between the loop, the publisher and the sinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap_realtime.send.messages import Message, MessageType, State


class Outgoing(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A message of the loop that has no number and no time of sending yet."""

    type: MessageType
    state: State
    t_s: float
    label: str = "none"
    code: int = 0
    command: bool = False
    probs: NDArray[np.float64] | None = None
    why: str = ""  # if not empty, it is not a verdict, and only the log may show `probs`
    n_lost: int = 0
    cue: str = ""
    quality: float = 1.0  # the share of good electrodes
    bad: tuple[str, ...] = ()  # in a state or heartbeat: the electrodes that are not good
    facts: Mapping[str, str] | None = None  # in a state: what the streams' descriptions state from now on
    is_sent: bool = False  # whether its probabilities were sent already
    clock_offset_s: float | None = 0.0  # added to `t_s` it gives this machine's clock; None: not known

    @property
    def timestamp_s(self) -> float:
        """The timestamp that goes out."""
        return self.t_s + (self.clock_offset_s or 0.0)


class Sink(Protocol):
    """Something that messages are sent to. It never blocks: outlets, which can, are a `BlockingSink`."""

    def send(self, batch: Sequence[tuple[Message, Outgoing]]) -> None:
        """Send what became ready together; called from one thread at a time, in order."""
        ...


class BlockingSink(Sink, Protocol):
    """A sink in which a thread may hang forever, because a peer froze an LSL outlet (liblsl #156)."""

    def send_probabilities(self, items: Sequence[Outgoing]) -> None:
        """Send what needs no message, since its readers need it first; `send` follows with the same items."""
        ...

    @property
    def may_hang(self) -> bool:
        """Whether the operation in progress can block forever. One that is only slow gets the time it needs."""
        ...

    def rescue(self) -> str:
        """Finish the operation that another thread hangs in by other means; return what hung and what was done.

        Raises
        ------
        OutletFrozenError
            If there are no other means.
        """
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
