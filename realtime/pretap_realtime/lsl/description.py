"""Descriptions of streams: short ones in answers to a query, full ones over a connection of their own.

Used by `resolver`, `inlets`, and everything that lists or chooses streams.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pretap.errors import StreamRefusedError
from pretap_realtime.lsl.library import (
    FORMATS,
    LOST_ERRORS,
    OPEN_S,
    ConnectionLostError,
    LslTimeoutError,
    local_clock,
    opening,
    pylsl,
)
from pretap_realtime.lsl.limits import MAX_CHANNELS, affordable_s, release_memory, resident_bytes
from pretap_realtime.signal.compatibility import Description, printable

_CHECK_S: Final = 0.002  # between checks of the memory: over loopback a description grows by 1.5 MB in a millisecond
_MAX_INFO_BYTES: Final = 16 << 20  # of memory, for a description: 4096 channels use 5 MB
_MAX_TEXT: Final = 256  # characters of a label, a unit or a subject
_MAX_SERVICE: Final = 1 << 16  # characters
_MAX_LISTED: Final = 20
# In an answer to a query, and again in a description.
_REPEATED: Final = ("name", "hostname", "source_id", "format", "n_channels", "sfreq_hz")


@dataclass(frozen=True, eq=False)
class StreamInfo:
    """A stream that answered a query. Labels and units are not in the answer: see `describe`."""

    name: str
    type: str
    source_id: str
    hostname: str
    uid: str
    format: str
    n_channels: int
    sfreq_hz: float
    info: Any  # pylsl's

    @classmethod
    def of(cls, info: Any) -> StreamInfo:
        """Read a `pylsl.StreamInfo`."""
        return cls(
            name=info.name(),
            type=info.type(),
            source_id=info.source_id(),
            hostname=info.hostname(),
            uid=info.uid(),
            format=FORMATS.get(info.channel_format(), "undefined"),
            n_channels=info.channel_count(),
            sfreq_hz=info.nominal_srate(),
            info=info,
        )

    def matches(self, query: Mapping[str, str]) -> bool:
        """Whether the stream has all the values of a query."""
        return all(getattr(self, key) == value for key, value in query.items())

    def __str__(self) -> str:
        rate = f"{self.sfreq_hz:g} Hz" if self.sfreq_hz else "irregular"
        return (
            f"{printable(self.name)!r} (type {printable(self.type)}, {self.n_channels} x {self.format}, {rate}, "
            f"source_id {printable(self.source_id)!r}, on {printable(self.hostname)})"
        )


def list_streams(streams: Sequence[StreamInfo]) -> str:
    """Return a line for each of the first 20 streams, and how many more there are."""
    lines = [str(each) for each in streams[:_MAX_LISTED]]
    more = [f"and {len(streams) - _MAX_LISTED} more"] if len(streams) > _MAX_LISTED else []
    return "\n  ".join(lines + more)


class _NoAnswerError(ConnectionLostError):
    """The stream's source accepted a connection, or is far away, and did not answer in time."""


def describe(stream: StreamInfo) -> Description:
    """Read the full description of a stream, over a connection of its own.

    Raises
    ------
    ConnectionLostError
        If the stream does not answer.
    StreamRefusedError
        If its description is too large, or contradicts its answer to the query.
    """
    affordable_buffer_s(stream)
    return read_description(stream, read_full_info(stream, make_inlet(stream, buffer_s=1)))


def has_ended(stream: StreamInfo) -> bool:
    """Whether the outlet of a stream is gone. One that does not answer within half a second counts as there."""
    try:
        describe(stream)
    except (_NoAnswerError, StreamRefusedError):
        return False
    except ConnectionLostError:
        return True
    return False


class _StreamInlet(pylsl.StreamInlet):  # type: ignore[misc]
    """pylsl's inlet, which can also be closed after it was destroyed.

    When the interpreter ends, the order of the two is not known, and liblsl would use freed memory and spin.
    """

    def __del__(self) -> None:
        super().__del__()
        self.obj = None

    def close_stream(self) -> None:
        if self.obj is not None:
            super().close_stream()


def make_inlet(stream: StreamInfo, *, buffer_s: int) -> Any:
    """Return an inlet of pylsl that is not open yet.

    It never reconnects: liblsl's own recovery would attach to any outlet of the same name, type and source_id, without
    checking rate, labels or units again.
    """
    with opening(f"the stream {printable(stream.name)!r}"):
        return _StreamInlet(stream.info, max_buflen=buffer_s, recover=False)


def affordable_buffer_s(stream: StreamInfo) -> int:
    """Return `affordable_s` of a stream; raise StreamRefusedError if there is none."""
    try:
        return affordable_s(stream.n_channels, stream.sfreq_hz, stream.format)
    except ValueError as error:
        raise StreamRefusedError(f"Stream {stream}: {error}. Choose another stream.") from None


def read_full_info(stream: StreamInfo, inlet: Any) -> Any:
    """Read the full info of a stream, and stop if that takes too much memory.

    liblsl reads whatever is sent, as fast as it is sent, and needs up to 50 times its size to hold it.
    """
    before = resident_bytes()
    deadline_s = local_clock() + OPEN_S
    while True:
        info = None
        with contextlib.suppress(LslTimeoutError):
            try:
                info = inlet.info(timeout=_CHECK_S)
            except LOST_ERRORS as error:
                raise ConnectionLostError("it ended before it described itself") from error
        if resident_bytes() - before > _MAX_INFO_BYTES:
            del info
            inlet.__del__()  # ends the reading
            release_memory()
            raise StreamRefusedError(
                f"Stream {stream} has a description that takes more than {_MAX_INFO_BYTES >> 20} MB of memory, far "
                "more than that of any amplifier. Choose another stream."
            )
        if info is not None and info.uid() != stream.uid:
            raise ConnectionLostError("it ended, and another stream uses its port")
        if info is not None:
            return info
        if local_clock() > deadline_s:
            raise _NoAnswerError(f"no description within {OPEN_S:g} s")


def read_description(stream: StreamInfo, info: Any) -> Description:
    """Return what the full info of a stream says about it; raise StreamRefusedError if it contradicts its answer."""
    found = StreamInfo.of(info)
    for key in _REPEATED:
        before, now = getattr(stream, key), getattr(found, key)
        if before != now:
            raise StreamRefusedError(
                f"Stream {stream} contradicts itself: {key} {printable(str(before))!r} when it was found, "
                f"{printable(str(now))!r} in its description. Its program is broken, or worse; choose another stream."
            )
    desc = info.desc()
    labels: list[str] = []
    units: list[str] = []
    channel = desc.child("channels").child("channel")
    while not channel.empty() and len(labels) < MAX_CHANNELS:
        label = channel.child_value("label").strip() or channel.child_value("name").strip()  # as some programs write it
        labels.append(label[:_MAX_TEXT])
        units.append(channel.child_value("unit").strip()[:_MAX_TEXT])
        channel = channel.next_sibling("channel")
    try:
        speed = float(desc.child_value("speed") or 1.0)
    except ValueError:
        speed = 1.0
    return Description(
        **{key: getattr(found, key) for key in _REPEATED},
        labels=tuple(labels) if any(labels) else (),
        units=tuple(units) if any(units) else (),
        subject=desc.child("subject").child_value("id")[:_MAX_TEXT],
        speed=speed,
        service=desc.child_value("service")[:_MAX_SERVICE],
    )
