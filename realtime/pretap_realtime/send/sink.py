"""What the publisher and its sinks exchange: the item, the sink that takes it, and the call of the loop.

The publisher numbers items and hands them to every `Sink`; outlets, logs and network outputs are sinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap_realtime.send.messages import Message, MessageType, State

__all__ = ["Call", "Item", "Sink"]


class Item(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What the loop has to say: a message without its number and time of sending."""

    type: MessageType
    state: State
    t_s: float
    label: str = "none"
    code: int = 0
    command: bool = False
    probs: NDArray[np.float64] | None = None
    why: str = ""  # not empty: no verdict stands on this, and no sink but the log may show `probs`
    n_lost: int = 0
    cue: str = ""
    quality: float = 1.0  # the share of good electrodes
    bad: tuple[str, ...] = ()  # of a state or heartbeat: the electrodes that are not good
    facts: Mapping[str, str] | None = None  # of a state: what the streams' descriptions say from now on
    is_out: bool = False  # its numbers were sent already
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

    @property
    def may_hang(self) -> bool:
        """Whether what it does now may hang for ever, by somebody else's fault; what is only slow is waited for."""
        ...

    def rescue(self) -> str:
        """Do what a thread that hangs in this sink has left undone, by other means; says what hung and what was done.

        Raises
        ------
        OutletFrozenError
            Where there are no other means.
        """
        ...


class Call(Protocol):
    """What the loop wants to be done before it goes on, and what may hang: so not by the loop itself.

    Attributes
    ----------
    sink
        In which it sends.
    """

    @property
    def sink(self) -> Sink: ...

    def __call__(self, *, may_send: bool) -> int:
        """Do it; says how much was sent. While that hangs, the loop goes on in another thread."""
        ...

    def stop(self) -> bool:
        """Have it send no more, while it hangs.

        Where that is in the sink, that notes what is being sent (True); `returns` follows if it comes back after all.
        """
        ...

    def returns(self) -> None: ...
