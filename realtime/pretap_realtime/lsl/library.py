"""Lab Streaming Layer: the one module that imports pylsl.

Finding streams, reading what they say about themselves, inlets that never reconnect behind our back, and outlets that
always carry a stable source_id and one stamp per sample. `recover=False` throughout: liblsl's own recovery reattaches
to any outlet of the same name without checking rate, labels or units again.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretap.errors import MissingPackageError, StreamRefusedError, UsageError
from pretap.signal.channels import MISSING
from pretap_realtime.lsl import sockets
from pretap_realtime.lsl.ahead import BUFFER_S, FORGET_S, QUIET, Ahead
from pretap_realtime.lsl.api_config import find_configuration
from pretap_realtime.lsl.limits import MAX_CHANNELS, affordable_s, give_back, resident_bytes
from pretap_realtime.lsl.query import parse_query, predicate
from pretap_realtime.signal.chunk import Chunk, Cue
from pretap_realtime.signal.compatibility import Description, printable

try:
    import pylsl
    from pylsl.lib import lib as _library
    from pylsl.util import InternalError, LostError, handle_error
    from pylsl.util import TimeoutError as LslTimeoutError
except (ImportError, RuntimeError, OSError) as _error:  # RuntimeError: pylsl is there, the C library is not
    raise MissingPackageError(
        f"liblsl cannot be loaded ({str(_error).splitlines()[0]}). Run: pip install 'pylsl>=1.18' (Linux, Windows), "
        "or: brew install labstreaminglayer/tap/lsl (macOS)."
    ) from None

__all__ = [
    "ConnectionLostError",
    "Found",
    "Inlet",
    "MarkerInlet",
    "NativeInlet",
    "Outlet",
    "RawInlet",
    "Watch",
    "clock_address",
    "describe",
    "find",
    "find_return",
    "library_version",
    "listing",
    "local_clock",
    "parse_query",
]


def _quiet() -> None:
    """Keep liblsl's own log off the terminal where nobody configured it; the service says in words what happens.

    Setting a configuration replaces every file, so this is done only where liblsl would find none.
    """
    if find_configuration() is None:
        pylsl.set_config_content(QUIET)


_quiet()

local_clock: Callable[[], float] = _library.lsl_local_clock  # `pylsl.local_clock` is a function around it
library_version: Callable[[], int] = pylsl.library_version

_FORMATS = {
    pylsl.cf_float32: "float32",
    pylsl.cf_double64: "float64",
    pylsl.cf_string: "string",
    pylsl.cf_int32: "int32",
    pylsl.cf_int16: "int16",
    pylsl.cf_int8: "int8",
    pylsl.cf_int64: "int64",
}
_CODES = {name: code for code, name in _FORMATS.items()}
_FIND_S = 0.2  # asking for 2 matches spends the whole timeout where there is one
_OPEN_S = 0.5  # blocking calls of liblsl do not see Ctrl-C
_LOOK_S: Final = 0.002  # between looks at the memory: over loopback a description comes at 1.5 MB a millisecond
_MAX_INFO_BYTES: Final = 16 << 20  # of memory, for a description: 4096 channels take 5 MB
_UNTOUCHED: Final = 0x7FF8707265746170  # bits of a NaN that is no stamp; receive.c has them too
_SPARE = 1024  # rows for samples that were decided on, and wait for the accounts
_RAW_S: Final = 0.5
_RAW_VALUES: Final = 1 << 20  # 8 MB of the widest numbers
_MAX_LISTED: Final = 20
_CLOSE_S = 0.5  # for an outlet; it takes some milliseconds
_OPENING = threading.Lock()  # held while an outlet opens: its sockets are those that came meanwhile
_MAX_BYTES = 4096  # of a marker's text
_MOST_MARKERS = 1024  # in a pull
# liblsl's functions that push a sample: outlet, values (and the lengths of texts), stamp, whether to send at once.
_PUSH_NUMBERS = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2, ctypes.c_double, ctypes.c_int)
_PUSH_TEXTS = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, ctypes.c_double, ctypes.c_int)


class ConnectionLostError(Exception):
    """The stream's source is gone."""


@dataclass(frozen=True, eq=False)
class Found:
    """A stream that answered a query. Labels and units are not in here: see `describe`."""

    name: str
    type: str
    source_id: str
    hostname: str
    uid: str
    format: str
    n_channels: int
    sfreq_hz: float
    info: Any

    def __str__(self) -> str:
        rate = f"{self.sfreq_hz:g} Hz" if self.sfreq_hz else "irregular"
        return (
            f"{printable(self.name)!r} (type {printable(self.type)}, {self.n_channels} x {self.format}, {rate}, "
            f"source_id {printable(self.source_id)!r}, on {printable(self.hostname)})"
        )


def listing(found: Sequence[Found]) -> str:
    """Give a line for each stream; of a crowd, of the first."""
    lines = [str(each) for each in found[:_MAX_LISTED]]
    more = [f"and {len(found) - _MAX_LISTED} more"] if len(found) > _MAX_LISTED else []
    return "\n  ".join(lines + more)


def find(query: dict[str, str] | None = None, *, wait_s: float = _FIND_S) -> list[Found]:
    """Give every stream that answers within `wait_s`, each once; all streams without a query."""
    if not query:
        infos = pylsl.resolve_streams(wait_s)
    else:
        infos = pylsl.resolve_bypred(predicate(query), minimum=2, timeout=wait_s)
    return _those(infos, query)


def _those(infos: Sequence[Any], query: dict[str, str] | None) -> list[Found]:
    found = {info.uid(): _found(info) for info in infos}  # one outlet may answer on several interfaces
    return sorted(
        (f for f in found.values() if all(getattr(f, key) == value for key, value in (query or {}).items())),
        key=lambda f: (f.name, f.source_id, f.uid),
    )


def _found(info: Any) -> Found:
    return Found(
        name=info.name(),
        type=info.type(),
        source_id=info.source_id(),
        hostname=info.hostname(),
        uid=info.uid(),
        format=_FORMATS.get(info.channel_format(), "undefined"),
        n_channels=info.channel_count(),
        sfreq_hz=info.nominal_srate(),
        info=info,
    )


def find_return(query: dict[str, str], lost: Found) -> tuple[list[Found], list[Found]]:
    """Look for a stream that was lost, until one answers or 0.2 s have passed.

    Gives those that answer to the query, and where none does, those that look like the lost one: same name and type.
    """
    alike = {"name": lost.name, "type": lost.type}
    if any("'" in value or not value.isprintable() for value in alike.values()):
        return _first_of(query), []
    infos = pylsl.resolve_bypred(f"({predicate(query)}) or ({predicate(alike)})", minimum=1, timeout=_FIND_S)
    found = _those(infos, query)
    if not found and infos:
        found = _first_of(query)  # who looks like it may only have been faster
    return found, [] if found else _those(infos, alike)


def _first_of(query: dict[str, str]) -> list[Found]:
    return _those(pylsl.resolve_bypred(predicate(query), minimum=1, timeout=_FIND_S), query)


class Watch:
    """Looks for streams all the time, in a thread of liblsl's; all streams without a query.

    What was asked `ahead`, with the same query, goes on here.
    """

    def __init__(self, query: dict[str, str] | None = None, *, ahead: Ahead | None = None) -> None:
        self._query = query
        if ahead is not None and ahead.library != _library._name:
            ahead.close()  # pylsl has another library, which knows nothing of it
            ahead = None
        self._ahead = ahead
        self._ready_s = (pylsl.local_clock() if ahead is None else ahead.since_s) + _FIND_S
        if ahead is not None:
            self._resolver = object.__new__(pylsl.ContinuousResolver)
            self._resolver.obj = ctypes.c_void_p(ahead.take_resolver())
        else:
            wanted = {"pred": predicate(query)} if query else {}
            with _room_for("a look for streams"):
                self._resolver = pylsl.ContinuousResolver(**wanted, forget_after=FORGET_S)

    def open_first(self) -> Inlet | None:
        """Open the stream that answers first, as soon as it does; `first_look` tells whether others do.

        None where several were there at once, or none came in the time that `first_look` takes.

        Raises
        ------
        ConnectionLostError, StreamRefusedError
            See `Inlet`.
        """
        while not (found := self.found()) and pylsl.local_clock() < self._ready_s:
            time.sleep(_LOOK_S)
        opened = 0
        if self._ahead is not None:
            opened = self._ahead.take_inlet(found[0].uid) if len(found) == 1 else 0
            self._ahead.close()
        if len(found) != 1:
            return None
        inlet = Inlet(found[0], opened=opened)
        inlet.start()
        return inlet

    def first_look(self) -> list[Found]:
        """Give what is there, when this has looked for as long as `find` does: what was done meanwhile took no time."""
        time.sleep(max(0.0, self._ready_s - pylsl.local_clock()))
        return self.found()

    def found(self) -> list[Found]:
        """Give what is there, without waiting; a stream that died stays listed for some seconds."""
        return _those(self._resolver.results(), self._query)


def describe(found: Found) -> Description:
    """Ask a stream for its full description, over a connection of its own.

    Raises
    ------
    ConnectionLostError
        When it does not answer.
    StreamRefusedError
        When it says too much, or other things than when it was found.
    """
    _affordable(found)
    return _description(found, _full_info(found, _inlet_of(found, 1)))


def _full_info(found: Found, inlet: Any) -> Any:
    """Ask for all that a stream says of itself, and watch the memory meanwhile.

    liblsl reads whatever comes, as fast as it comes, and takes up to 50 times as much to hold it.
    """
    before = resident_bytes()
    deadline_s = pylsl.local_clock() + _OPEN_S
    while True:
        info = None
        with contextlib.suppress(LslTimeoutError):
            try:
                info = inlet.info(timeout=_LOOK_S)
            except (LostError, InternalError) as error:
                raise ConnectionLostError("it ended before it described itself") from error
        if resident_bytes() - before > _MAX_INFO_BYTES:
            del info
            inlet.__del__()  # ends the reading
            inlet.obj = None
            give_back()
            raise StreamRefusedError(
                f"Stream {found} has a description that takes more than {_MAX_INFO_BYTES >> 20} MB of memory: no "
                "amplifier says so much of itself. Choose another stream."
            )
        if info is not None:
            return info
        if pylsl.local_clock() > deadline_s:
            raise ConnectionLostError(f"no description within {_OPEN_S:g} s")


def _description(found: Found, info: Any) -> Description:
    """Read what a stream says of itself."""
    desc = info.desc()
    labels: list[str] = []
    units: list[str] = []
    channel = desc.child("channels").child("channel")
    while not channel.empty() and len(labels) < MAX_CHANNELS:
        labels.append(channel.child_value("label").strip()[:256])
        units.append(channel.child_value("unit").strip()[:256])
        channel = channel.next_sibling("channel")
    try:
        speed = float(desc.child_value("speed") or 1.0)
    except ValueError:
        speed = 1.0
    description = Description(
        name=info.name(),
        hostname=info.hostname(),
        source_id=info.source_id(),
        format=_FORMATS.get(info.channel_format(), "undefined"),
        n_channels=info.channel_count(),
        sfreq_hz=info.nominal_srate(),
        labels=tuple(labels) if any(labels) else (),
        units=tuple(units) if any(units) else (),
        subject=desc.child("subject").child_value("id")[:256],
        speed=speed,
    )
    _refuse_contradictions(found, description)
    return description


def _refuse_contradictions(found: Found, description: Description) -> None:
    for key in ("name", "hostname", "source_id", "format", "n_channels", "sfreq_hz"):
        before, now = getattr(found, key), getattr(description, key)
        if before != now:
            raise StreamRefusedError(
                f"Stream {found} contradicts itself: {key} {printable(str(before))!r} when it was found, "
                f"{printable(str(now))!r} in its description. Its program is broken, or worse; choose another stream."
            )


def clock_address() -> int:
    """Give the address of `local_clock` for C code."""
    return _address(_library.lsl_local_clock)


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


class NativeInlet(NamedTuple):
    """Addresses: of liblsl's functions that pull and that say how much is there, of its inlet, and of the buffers.

    Those are (n_rows, n_channels) and (n_rows,).

    Of the rows `n_room` are for a call, and `n_spare` for samples of calls before it.
    """

    pull: int
    available: int
    inlet: int
    x: int
    stamps: int
    n_room: int
    n_spare: int
    n_channels: int


class Inlet:
    """A numeric stream, pulled as microvolts in the channel order of the bundle.

    `order` and `factors` are set by the caller once the description was checked (`contract`). A channel that is
    `MISSING` is all zeros. What liblsl has `opened` already, with `BUFFER_S`, is read on.

    Raises
    ------
    ConnectionLostError, StreamRefusedError
        As `describe`.
    """

    def __init__(self, found: Found, *, opened: int = 0) -> None:
        self.found = found
        self._buffer_s = min(BUFFER_S, _affordable(found))
        self._inlet = _inlet_of(found, self._buffer_s)
        if opened:
            _library.lsl_destroy_inlet(self._inlet.obj)
            self._inlet.obj = ctypes.c_void_p(opened)
        self.description = _description(found, _full_info(found, self._inlet))
        self._buffer: NDArray[Any] = np.empty((0, 0))
        self._n_most = 0
        self._stamps = np.empty(0)
        self._error = ctypes.c_int()
        self._order: NDArray[np.intp] = np.arange(0)
        self._factors = np.ones(0)
        self._missing: list[int] = []
        self._as_it_comes = False
        self._counter: int | None = None

    def start(self) -> None:
        """Let samples flow, and wait for `open`."""
        _open(self._inlet)

    def open(self, *, order: Sequence[int], factors: Sequence[float], counter: int | None = None) -> None:
        """Let samples flow, where they do not yet.

        Channel k of a chunk is channel ``order[k]`` of the stream times ``factors[k]``; channel `counter` of the stream
        is the device's counter.
        """
        self._counter = counter
        self._order, self._factors = np.array(order, np.intp), np.array(factors, np.float64)
        self._missing = [k for k, i in enumerate(order) if i == MISSING]
        as_it_comes = list(order) == list(range(self.description.n_channels)) and all(f == 1 for f in factors)
        self._as_it_comes = as_it_comes and self._inlet.np_dtype == np.float32
        self._n_most = max(64, round(self._buffer_s * self.description.sfreq_hz))
        n_rows = self._n_most + _SPARE
        self._buffer = np.empty((n_rows, self.description.n_channels), self._inlet.np_dtype)
        self._stamps = np.empty(n_rows)
        self._at_buffer, self._at_stamps = self._buffer.ctypes.data, self._stamps.ctypes.data
        self.start()

    @property
    def native(self) -> NativeInlet | None:
        """For C code that pulls itself and tells with `received`; None where samples are not used as they come."""
        if not self._as_it_comes or self._counter is not None:
            return None
        pull, available = _address(self._inlet.do_pull_chunk), _address(_library.lsl_samples_available)
        inlet, n_channels = self._inlet.obj.value, self._buffer.shape[1]
        return NativeInlet(pull, available, inlet, self._at_buffer, self._at_stamps, self._n_most, _SPARE, n_channels)

    def received(self, first: int, n_new: int, error: int) -> Chunk | None:
        """Give what C code has pulled into the buffers from row `first` on, and liblsl's error, as `pull` would."""
        if error:
            self._error.value = error
            self._judge()
        return self.samples(first, first + n_new) if n_new else None

    def samples(self, start: int, stop: int) -> Chunk:
        """Give samples that lie in the buffers as they came, valid until others are pulled into their rows."""
        return Chunk(self._buffer[start:stop], self._stamps[start:stop])

    def pull(self, timeout_s: float, n_wanted: int = 1) -> Chunk | None:
        """Wait up to `timeout_s` for `n_wanted` samples, then take all that are there: valid until the next pull."""
        n_new = self._take(0, min(n_wanted, self._n_most), timeout_s)
        if not n_new:
            return None
        with contextlib.suppress(ConnectionLostError):  # the next pull says so; these samples did come
            while n_there := min(self._inlet.samples_available(), self._n_most - n_new):
                if not (n_more := self._take(n_new, n_there, 0.0)):
                    break
                n_new += n_more
        raw, t_s = self._buffer[:n_new], self._stamps[:n_new]
        if self._as_it_comes:
            return Chunk(raw, t_s)
        x = raw[:, self._order].astype(np.float64) * self._factors  # (n_new, n_channels)
        if self._missing:
            x[:, self._missing] = 0.0
        count = None if self._counter is None else raw[:, self._counter].astype(np.float64)  # (n_new,)
        return Chunk(x.astype(np.float32), t_s, count)

    def _take(self, at: int, n_most: int, timeout_s: float) -> int:
        """Read up to `n_most` samples into the buffers from row `at` on; says how many came in time.

        `StreamInlet.pull_chunk` does the same, but makes arrays and types anew for each call: twice the time. And where
        the source goes meanwhile liblsl says that none came, though some may lie in the buffers: those whose stamps it
        has written.
        """
        n_channels = self.description.n_channels
        written = self._stamps[at : at + n_most].view(np.int64)
        written[:] = _UNTOUCHED
        self._error.value = 0
        n_values = self._inlet.do_pull_chunk(
            self._inlet.obj,
            ctypes.c_void_p(self._at_buffer + at * self._buffer.strides[0]),
            ctypes.c_void_p(self._at_stamps + at * 8),
            ctypes.c_size_t(n_most * n_channels),
            ctypes.c_size_t(n_most),
            ctypes.c_double(timeout_s),
            ctypes.byref(self._error),
        )
        n_new = int(n_values) // n_channels
        if self._error.value and written.size and written[0] != _UNTOUCHED:
            n_new = int((written != _UNTOUCHED).argmin()) or n_most
        return n_new if n_new or self._judge() else 0

    def _judge(self) -> bool:
        """Say whether liblsl's last call came in time."""
        if self._error.value:
            try:
                handle_error(self._error)
            except LslTimeoutError:
                return False
            except (LostError, InternalError):
                name = printable(self.description.name)
                raise ConnectionLostError(f"the source of {name!r} is gone") from None
        return True

    @property
    def n_most(self) -> int:
        """How many samples wait at most: where a pull gives as many, older ones were probably thrown away."""
        return self._n_most

    def time_correction(self, timeout_s: float) -> float:
        """Give what must be added to the stream's stamps to get this machine's clock; the first call takes 0.6 s."""
        return _time_correction(self._inlet, timeout_s)

    @property
    def is_local(self) -> bool:
        """Whether the stream comes from this machine, so that its stamps are on this clock."""
        return self.description.hostname == socket.gethostname()

    def close(self) -> None:
        self._inlet.close_stream()


class MarkerInlet:
    """A string stream of one channel."""

    def __init__(self, found: Found) -> None:
        buffer_s = min(BUFFER_S, _affordable(found))
        self._inlet = _inlet_of(found, buffer_s)
        self._name = found.name

    def open(self) -> None:
        _open(self._inlet)

    def pull(self, timeout_s: float = 0.0) -> list[Cue]:
        """Take all markers that are there, after waiting up to `timeout_s` for the first."""
        cues: list[Cue] = []
        try:
            while len(cues) < _MOST_MARKERS:  # one by one, see `_at_most`
                rows, t_s = self._inlet.pull_chunk(timeout=0.0 if cues else timeout_s, max_samples=1, as_numpy=True)
                if not t_s.size:
                    break
                cues.append(Cue(float(t_s[0]), bytes(rows[0][0])[:_MAX_BYTES].decode("utf-8", "replace")))
        except (LostError, InternalError):
            if not cues:  # else the next pull says so
                raise ConnectionLostError(f"the source of {printable(self._name)!r} is gone") from None
        return cues

    def close(self) -> None:
        self._inlet.close_stream()


class RawInlet:
    """A stream of any format as it comes: what a recorder reads.

    Attributes
    ----------
    description
        What it says of itself.
    xml
        All it says of itself, as it says it.
    n_rows
        How many samples one `pull` takes at most.

    Parameters
    ----------
    buffer_s
        How much liblsl keeps while nobody pulls; less where that would be more than 256 MB.

    Raises
    ------
    ConnectionLostError
        When it does not answer.
    ValueError
        When its format or rate is none that can be recorded, or its description is no text.
    """

    def __init__(self, found: Found, *, buffer_s: int) -> None:
        if found.format == "undefined" or found.n_channels < 1:
            raise ValueError(f"{found.n_channels} channels of {found.format} values cannot be recorded")
        buffer_s = min(buffer_s, affordable_s(found.n_channels, found.sfreq_hz, found.format))
        self._inlet = _inlet_of(found, buffer_s)
        info = _full_info(found, self._inlet)
        self.description = _description(found, info)
        self.xml: str = info.as_xml()
        n_values = max(1, self.description.n_channels)
        n_rows = max(64, round(_RAW_S * self.description.sfreq_hz))
        self.n_rows = max(1, min(n_rows, _RAW_VALUES // n_values))
        self._is_text = self.description.format == "string"
        self._buffer = None if self._is_text else np.empty((self.n_rows, n_values), self._inlet.np_dtype)
        self.is_local = found.hostname == socket.gethostname()

    def open(self) -> None:
        _open(self._inlet)

    def pull(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Take what is there, without waiting: (n_new, n_channels) in the stream's own format, and (n_new,) stamps.

        The values of a string stream are bytes. At most half a second is taken at a time.
        """
        n_most = _at_most(self._inlet, self.n_rows)
        if self._is_text:
            n_most = 1 << (n_most.bit_length() - 1)  # pylsl keeps a buffer for each number
        try:
            raw, t_s = self._inlet.pull_chunk(timeout=0.0, max_samples=n_most, dest_obj=self._buffer, as_numpy=True)
        except (LostError, InternalError):
            raise ConnectionLostError(f"the source of {printable(self.description.name)!r} is gone") from None
        return (raw if self._is_text or not t_s.size else raw.copy()), t_s  # the buffer is filled anew by the next pull

    def time_correction(self, timeout_s: float) -> float:
        """Give what must be added to the stream's stamps to get this machine's clock; the first call takes 0.6 s."""
        return _time_correction(self._inlet, timeout_s)

    def close(self) -> None:
        self._inlet.close_stream()


def _affordable(found: Found) -> int:
    """Give `affordable_s` of a stream to decode."""
    try:
        return affordable_s(found.n_channels, found.sfreq_hz, found.format)
    except ValueError as error:
        raise StreamRefusedError(f"Stream {found}: {error}. Choose another stream.") from None


def _at_most(inlet: Any, n_most: int) -> int:
    """Give how many samples to ask for: one, or those that are there.

    Where a call of liblsl finds the source gone before it has all it was asked for, it gives none of them.
    """
    return max(1, min(n_most, int(inlet.samples_available())))


@contextlib.contextmanager
def _room_for(what: str) -> Iterator[None]:
    """Say what to do where liblsl cannot open something."""
    try:
        yield
    except RuntimeError:
        raise UsageError(
            f"liblsl cannot open {what}: expected room for more open files, and free ports. Raise the limit of open "
            "files (ulimit -n), or widen PortRange in lsl_api.cfg."
        ) from None


def _inlet_of(found: Found, buffer_s: int) -> Any:
    with _room_for(f"the stream {printable(found.name)!r}"):
        return pylsl.StreamInlet(found.info, max_buflen=buffer_s, recover=False)


def _time_correction(inlet: Any, timeout_s: float) -> float:
    try:
        return float(inlet.time_correction(timeout_s))
    except (LostError, InternalError, LslTimeoutError) as error:
        raise ConnectionLostError("no time correction") from error


def _open(inlet: Any) -> None:
    try:
        inlet.open_stream(timeout=_OPEN_S)
    except (LostError, InternalError, LslTimeoutError) as error:
        raise ConnectionLostError(f"the stream did not open within {_OPEN_S:g} s") from error


class Outlet:
    """A stream of ours.

    Parameters
    ----------
    source_id
        Stable over restarts, unique on the network; by default the name.
    labels, unit
        Of the channels; `unit` holds for all.
    facts
        Further entries of the description, such as ``{"simulated": "true", "subject/id": "synthetic-0"}``.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        *,
        labels: Sequence[str],
        format: str,  # noqa: A002 - LSL's word
        sfreq_hz: float = 0.0,
        unit: str = "",
        source_id: str = "",
        facts: dict[str, str] | None = None,
    ) -> None:
        info = pylsl.StreamInfo(name, kind, len(labels), sfreq_hz, _CODES[format], source_id or name)
        desc = info.desc()
        channels = desc.append_child("channels")
        for label in labels:
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            if unit:
                channel.append_child_value("unit", unit)
            channel.append_child_value("type", kind)
        for key, value in {"manufacturer": "pretap", **(facts or {})}.items():
            *parents, leaf = key.split("/")
            node = desc
            for parent in parents:
                below = node.child(parent)
                node = node.append_child(parent) if below.empty() else below
            node.append_child_value(leaf, value)
        with _OPENING:
            before = sockets.of_this_process()
            with _room_for(f"the outlet {name!r}"):
                self._outlet = pylsl.StreamOutlet(info)
            self._sockets = sockets.of_this_process() - before
        self._native = _address(self._outlet.do_push_sample), self._outlet.obj.value
        # pylsl's `push_sample` makes the arrays anew for each call: twice the time.
        self._row = self._outlet.sample_type()
        self._lengths = (ctypes.c_uint32 * len(labels))() if format == "string" else None
        self._push = (_PUSH_NUMBERS if self._lengths is None else _PUSH_TEXTS)(self._native[0])
        self._at_row = ctypes.addressof(self._row)
        self._at_lengths = 0 if self._lengths is None else ctypes.addressof(self._lengths)

    @property
    def native(self) -> tuple[int, int]:
        """For C code: the addresses of liblsl's function that pushes a sample, and of its outlet."""
        return self._native

    def push(self, row: Sequence[Any], t_s: float, *, through: bool = True) -> None:
        """Send one sample, at once or together with the next one that goes `through`."""
        if self._lengths is None:
            self._row[:] = row
            error = self._push(self._native[1], self._at_row, t_s, through)
        else:
            for k, text in enumerate(row):
                self._row[k] = encoded = text if isinstance(text, bytes) else text.encode()
                self._lengths[k] = len(encoded)
            error = self._push(self._native[1], self._at_row, self._at_lengths, t_s, through)
        if error:
            handle_error(error)

    def push_all(self, rows: Sequence[Sequence[Any]], t_s: Sequence[float]) -> None:
        """Send samples together, each with its own stamp."""
        last = len(rows) - 1
        for k, row in enumerate(rows):
            self.push(row, t_s[k], through=k == last)

    def push_chunk(self, x: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Send samples (n_new, n_channels), each with its own stamp: with one stamp a loss inside would be hidden."""
        self._outlet.push_chunk(x, t_s.tolist())

    def close(self) -> None:
        """Close it; where that hangs, since a peer froze it, leave it behind."""
        ports = self._ports()
        thread = threading.Thread(target=self._destroy, name="close", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)
        if thread.is_alive():
            sockets.cut(self._sockets, ports=ports)

    def _destroy(self) -> None:
        del self._outlet  # its finalizer destroys it, unless a thread still pushes

    def abandon(self) -> bool:
        """Take it off the network while a thread hangs in it; its readers are disconnected. False where that fails.

        It cannot be destroyed: liblsl would wait for the thread that hangs, and meanwhile answer queries, a twin of the
        outlet that replaces it.
        """
        return sockets.cut(self._sockets, ports=self._ports()) > 0

    def _ports(self) -> list[sockets.Port]:
        kinds = {"data": socket.SOCK_STREAM, "service": socket.SOCK_DGRAM}
        found = re.findall(r"<v[46](data|service)_port>(\d+)<", self._outlet.get_info().as_xml())
        return [(kinds[kind], int(port)) for kind, port in found]

    def has_consumers(self) -> bool:
        return bool(self._outlet.have_consumers())
