"""Message: what the marker stream, the log and the network outputs carry; and what describes a service.

docs/outputs.md describes the fields.

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
    cue, truth
        The cue that asked for the decision, if any, and the class that it names, if it names one.
    n_judged, n_correct, n_none
        Up to now, the verdicts whose `truth` is known and whose window was valid, and how many of them were correct or
        ``none``. A service that decides at every hop reads no markers, so it judges nothing.
    bad
        In states and heartbeats: the electrodes that are flat, missing or otherwise not good; `why` has details.
    quality
        The share of good electrodes, 0 if the stream as a whole is bad or the verdict has no valid window. None if it
        is not known.
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
    truth: str = ""
    n_judged: int = 0
    n_correct: int = 0
    n_none: int = 0
    bad: tuple[str, ...] = ()
    quality: float | None = None


class ServiceDescription(msgspec.Struct, frozen=True):
    """Describes how a service decides, in the descriptions of its streams (``desc/service``, in JSON).

    Attributes
    ----------
    events
        The marker patterns of each class in training.
    offset_ms
        When the window ends, relative to its cue or event.
    is_cued, cue_query
        Whether it decides at cues, and from which marker stream these come; empty if from a trigger channel.
    bundle, channels
        The name of the bundle's file, and its channels.
    subject, data
        The subject and the data that the bundle was trained on. The subject is empty if the data do not name one.
    """

    events: dict[str, tuple[str, ...]] = {}
    offset_ms: float = 0.0
    is_cued: bool = False
    cue_query: str = ""
    bundle: str = ""
    subject: str = ""
    data: str = ""
    channels: tuple[str, ...] = ()


def encode(message: Message) -> bytes:
    """Return a message as JSON in UTF-8, without characters that a terminal would interpret."""
    encoded = msgspec.json.encode(message)
    return encoded if encoded.isascii() and b"\x7f" not in encoded else json_text(encoded).encode()
