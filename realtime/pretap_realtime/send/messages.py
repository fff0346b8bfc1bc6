"""Message: what the marker stream, the log and the network outputs carry. docs/outputs.md describes its fields.

Used by the publisher, the sinks, and every program that reads the stream.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pretap.terminal import json_text

State = Literal["WAITING", "VALIDATING", "RUNNING", "STALE", "LOST", "REFUSED"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of ``pretap-markers``.

    Attributes
    ----------
    v
        Version of this schema.
    seq
        Number of the message, from 0. It continues after a restart under ``--supervise``. A gap means that a message
        was lost on the way.
    label, p
        The verdict and the probability of each class; ``none`` and empty for an invalid window.
    command
        Whether a game should act on it: the verdict is a class, and the previous one was another. At cues, any class.
    valid, why
        Whether it is based on a whole clean window, and if not, why not. In a state message `why` is its reason.
    lost
        Samples counted as lost since the service started.
    t
        LSL time of the window's last sample; for other messages the time of sending.
    sent
        LSL time of sending.
    cue
        The cue that asked for the decision, if any.
    bad
        In states and heartbeats: the electrodes that are flat, missing or otherwise not good; `why` has details.
    """

    v: int = 1
    type: Literal["verdict", "state", "heartbeat"]
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
    """Return a message as JSON in UTF-8, without characters that a terminal would interpret."""
    encoded = msgspec.json.encode(message)
    return encoded if encoded.isascii() and b"\x7f" not in encoded else json_text(encoded).encode()
