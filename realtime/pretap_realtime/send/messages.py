"""What goes out: the messages of the marker stream and of the log. WIRE.md fixes their fields."""

from __future__ import annotations

from typing import Literal

import msgspec

from pretap.terminal import json_text

__all__ = ["Message", "MessageType", "State", "encode"]

MessageType = Literal["verdict", "state", "heartbeat"]
State = Literal["WAITING", "VALIDATING", "RUNNING", "STALE", "LOST", "REFUSED"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of ``pretap-markers``.

    Attributes
    ----------
    v
        Version of this schema.
    seq
        Counts all messages of the stream, from 0, and goes on after a restart under ``--supervise``; a hole in it is a
        message that was lost on the way.
    label, p
        The verdict and the probability of each class; for an invalid window ``none`` and nothing.
    command
        The verdict is a class, and the one before was another: what a game acts on. At cues: it is a class.
    valid, why
        Whether a whole clean window stands behind it, and if not, why not. In a state message `why` is its reason.
    lost
        Samples counted as lost since the service started.
    t
        LSL time of the window's last sample; for other messages the time of sending.
    sent
        LSL time of sending.
    cue
        The cue that asked, if one did.
    bad
        In states and heartbeats: the electrodes that are flat, missing or otherwise not good; `why` says more.
    """

    v: int = 1
    type: MessageType
    seq: int
    label: str = "none"
    command: bool = False
    p: dict[str, float] = {}
    state: State
    valid: bool = True
    why: str = ""
    lost: int = 0
    t: float
    sent: float
    cue: str = ""
    bad: tuple[str, ...] = ()


def encode(message: Message) -> bytes:
    """Give a message as JSON in UTF-8, harmless for a terminal."""
    encoded = msgspec.json.encode(message)
    return encoded if encoded.isascii() and b"\x7f" not in encoded else json_text(encoded).encode()
