"""Inlets: numeric streams in microvolts, markers, and streams of any format as they are. Used by every reader.

They never reconnect, see `description.make_inlet`: a lost source is a `ConnectionLostError`, and the caller finds and
checks its successor.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.events import marker_text
from pretap.signal.channels import MISSING
from pretap_realtime.lsl.description import (
    StreamInfo,
    affordable_buffer_s,
    make_inlet,
    read_description,
    read_full_info,
)
from pretap_realtime.lsl.library import (
    BUFFER_S,
    LOST_ERRORS,
    OPEN_S,
    ConnectionLostError,
    LslTimeoutError,
    address_of,
    handle_error,
    lib,
)
from pretap_realtime.lsl.limits import affordable_s
from pretap_realtime.signal.chunk import Chunk, Cue
from pretap_realtime.signal.compatibility import printable

_UNTOUCHED: Final = 0x7FF8707265746170  # bits of a NaN that is no timestamp; receive.c has them too
_N_SPARE: Final = 1024  # rows for samples that were decided on, and that the checks have not seen yet
_MIN_SAMPLES: Final = 64  # of a buffer
_RAW_S: Final = 0.5
_MAX_RAW_VALUES: Final = 1 << 20  # 8 MB of the widest numbers
_MAX_MARKERS: Final = 1024  # of a pull


class NativeInlet(NamedTuple):
    """Addresses and sizes with which C code pulls from an inlet.

    The addresses are those of liblsl's functions that pull and that count available samples, of its inlet, and of the
    buffers `x` (n_rows, n_channels) and `timestamps` (n_rows,). Of the rows, `max_samples` are for one call, and
    `n_spare` for samples of calls before it.
    """

    pull: int
    available: int
    inlet: int
    x: int
    timestamps: int
    max_samples: int
    n_spare: int
    n_channels: int


class _Buffer:
    """The rows into which liblsl writes samples: `x` (n_rows, n_channels) and `t_s` (n_rows,)."""

    def __init__(self, inlet: Any, n_rows: int, *, name: str) -> None:
        self._inlet, self._name, self._error = inlet, name, ctypes.c_int()
        self.x: NDArray[Any] = np.empty((n_rows, inlet.channel_count), inlet.np_dtype)
        self.t_s = np.empty(n_rows)
        self.x_address, self.t_address = self.x.ctypes.data, self.t_s.ctypes.data

    def pull(self, first: int, max_samples: int, timeout_s: float) -> int:
        """Read up to `max_samples` into the rows from `first` on; return how many came in time.

        `StreamInlet.pull_chunk` does the same, but makes arrays and types for each call, which takes twice the time.
        If the source ends meanwhile, liblsl returns no samples, though some may be in the buffer: those whose
        timestamps it has written.
        """
        n_channels: int = self.x.shape[1]
        written = self.t_s[first : first + max_samples].view(np.int64)
        written[:] = _UNTOUCHED
        self._error.value = 0
        n_values = self._inlet.do_pull_chunk(
            self._inlet.obj,
            ctypes.c_void_p(self.x_address + first * self.x.strides[0]),
            ctypes.c_void_p(self.t_address + first * 8),
            ctypes.c_size_t(max_samples * n_channels),
            ctypes.c_size_t(max_samples),
            ctypes.c_double(timeout_s),
            ctypes.byref(self._error),
        )
        n_new = int(n_values) // n_channels
        if self._error.value and written.size and written[0] != _UNTOUCHED:
            return int((written != _UNTOUCHED).argmin()) or max_samples
        if not n_new:
            self.check(self._error.value)
        return n_new

    def pull_available(self, max_samples: int, *, n_wanted: int, timeout_s: float) -> int:
        """Wait up to `timeout_s` for `n_wanted` samples, then read all available ones; return how many that were."""
        n_new = self.pull(0, min(n_wanted, max_samples), timeout_s)
        with contextlib.suppress(ConnectionLostError):  # the next pull raises it; these samples did come
            while n_new and (n_there := min(self._inlet.samples_available(), max_samples - n_new)):
                n_more = self.pull(n_new, n_there, 0.0)
                if not n_more:
                    break
                n_new += n_more
        return n_new

    def check(self, error: int) -> None:
        """Raise the error that a code of liblsl stands for, unless it is a timeout."""
        with contextlib.suppress(LslTimeoutError):
            try:
                handle_error(error)
            except LOST_ERRORS:
                raise _lost(self._name) from None


class _Selection:
    """Which channels of a stream become which of the bundle: channel k is ``order[k]`` times ``factors[k]``."""

    def __init__(
        self, order: Sequence[int], factors: Sequence[float], *, counter: int | None, cue_channel: int | None
    ) -> None:
        self._order, self._factors = np.array(order, np.intp), np.array(factors, np.float64)
        self._counter, self._cue_channel = counter, cue_channel
        self._missing = [k for k, i in enumerate(order) if i == MISSING]

    def is_identity(self, n_channels: int) -> bool:
        """Whether it changes nothing of a stream with `n_channels`."""
        in_order = self._order.tolist() == list(range(n_channels))
        has_extra = self._counter is not None or self._cue_channel is not None
        return in_order and bool((self._factors == 1).all()) and not has_extra

    def __call__(self, raw: NDArray[Any], t_s: NDArray[np.float64]) -> Chunk:
        x = raw[:, self._order].astype(np.float64) * self._factors  # (n_new, n_channels)
        if self._missing:
            x[:, self._missing] = 0.0
        count, codes = (
            None if i is None else raw[:, i].astype(np.float64)  # (n_new,)
            for i in (self._counter, self._cue_channel)
        )
        return Chunk(x.astype(np.float32), t_s, count, codes)


class _LslInlet:
    """The parts that all inlets share."""

    def __init__(self, stream: StreamInfo, *, buffer_s: int | None = None) -> None:
        self.stream = stream
        self._buffer_s = min(BUFFER_S, affordable_buffer_s(stream)) if buffer_s is None else buffer_s
        self._inlet = make_inlet(stream, buffer_s=self._buffer_s)

    def start(self) -> None:
        """Open the stream: liblsl keeps what arrives, and measures the clock offset, from now on."""
        try:
            self._inlet.open_stream(timeout=OPEN_S)
        except (*LOST_ERRORS, LslTimeoutError) as error:
            raise ConnectionLostError(f"the stream did not open within {OPEN_S:g} s") from error
        self.clock_offset_s()

    def clock_offset_s(self) -> float | None:
        """Return what to add to the stream's timestamps to get this machine's clock; None if it is not known yet.

        This never waits. A thread of liblsl measures the offset, for the first time within 0.7 s of the first call and
        then every 2 s. On one clock, |offset| is at most half of the round trip in which it was measured. So an offset
        that is not larger is not distinguishable from 0, and counts as 0: no noise is added to timestamps that are
        right. Whether two computers share a clock is not asked, because host names do not tell.

        Raises
        ------
        ConnectionLostError
            If the source is gone.
        """
        remote_s, round_trip_s, error = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
        offset_s = lib.lsl_time_correction_ex(
            self._inlet.obj,
            ctypes.byref(remote_s),
            ctypes.byref(round_trip_s),
            ctypes.c_double(0.0),
            ctypes.byref(error),
        )
        try:
            handle_error(error)
        except LslTimeoutError:
            return None
        except LOST_ERRORS:
            raise _lost(self.stream.name) from None
        return float(offset_s) if abs(offset_s) > round_trip_s.value / 2 else 0.0

    def close(self) -> None:
        self._inlet.close_stream()


class Inlet(_LslInlet):
    """A numeric stream, pulled as microvolts in the channel order of the bundle.

    Attributes
    ----------
    description
        What the stream says about itself: from it, the caller derives the arguments of `open`.
    max_samples
        How many samples one `pull` returns at most; if it returns as many, older ones were probably lost.
    native
        For C code that pulls itself, followed by `received`; None if samples are not used as they are received.

    Raises
    ------
    ConnectionLostError, StreamRefusedError
        See `describe`.
    """

    def __init__(self, stream: StreamInfo) -> None:
        super().__init__(stream)
        self.description = read_description(stream, read_full_info(stream, self._inlet))
        self.max_samples = 0
        self.native: NativeInlet | None = None

    def open(
        self,
        *,
        order: Sequence[int],
        factors: Sequence[float],
        counter: int | None = None,
        cue_channel: int | None = None,
    ) -> None:
        """Choose the channels, and open the stream if it is not open yet.

        Parameters
        ----------
        order, factors
            Channel k of a chunk is channel ``order[k]`` of the stream times ``factors[k]``. Index `MISSING` is a
            channel of zeros.
        counter, cue_channel
            The channels of the stream in which the device counts its samples, and sends trigger codes.
        """
        self.max_samples = max(_MIN_SAMPLES, round(self._buffer_s * self.description.sfreq_hz))
        self._buffer = _Buffer(self._inlet, self.max_samples + _N_SPARE, name=self.stream.name)
        self._select = _Selection(order, factors, counter=counter, cue_channel=cue_channel)
        is_float32 = self._inlet.np_dtype == np.float32
        is_as_received = is_float32 and self._select.is_identity(self.description.n_channels)
        if is_as_received:
            self.native = NativeInlet(
                pull=address_of(self._inlet.do_pull_chunk),
                available=address_of(lib.lsl_samples_available),
                inlet=self._inlet.obj.value,
                x=self._buffer.x_address,
                timestamps=self._buffer.t_address,
                max_samples=self.max_samples,
                n_spare=_N_SPARE,
                n_channels=self.description.n_channels,
            )
        self.start()

    def received(self, first: int, n_new: int, error: int) -> Chunk | None:
        """Return what C code has pulled into the rows from `first` on, and check liblsl's error, as `pull` does."""
        if error:
            self._buffer.check(error)
        return self.samples(first, first + n_new) if n_new else None

    def samples(self, start: int, stop: int) -> Chunk:
        """Return rows of the buffer as they were received, valid until others are pulled into them."""
        return Chunk(self._buffer.x[start:stop], self._buffer.t_s[start:stop])

    def pull(self, timeout_s: float, n_wanted: int = 1) -> Chunk | None:
        """Wait up to `timeout_s` for `n_wanted` samples, then return all available ones: valid until the next pull.

        Raises
        ------
        ConnectionLostError
            If the source is gone.
        """
        n_new = self._buffer.pull_available(self.max_samples, n_wanted=n_wanted, timeout_s=timeout_s)
        if not n_new:
            return None
        chunk = self.samples(0, n_new)
        return chunk if self.native is not None else self._select(chunk.x_uv, chunk.t_s)


class MarkerInlet(_LslInlet):
    """A stream of markers, which are texts or whole numbers."""

    def pull(self, timeout_s: float = 0.0) -> list[Cue]:
        """Return all markers that are there, after waiting up to `timeout_s` for the first.

        Raises
        ------
        ConnectionLostError
            If the source is gone.
        """
        cues: list[Cue] = []
        try:
            while len(cues) < _MAX_MARKERS:  # one by one: a pull of several that finds the source gone returns none
                rows, t_s = self._inlet.pull_chunk(timeout=0.0 if cues else timeout_s, max_samples=1, as_numpy=True)
                if not t_s.size:
                    break
                if text := marker_text(rows[0].tolist()):
                    cues.append(Cue(float(t_s[0]), text))
        except LOST_ERRORS:
            if not cues:  # otherwise the next pull raises it
                raise _lost(self.stream.name) from None
        return cues


class RawInlet(_LslInlet):
    """A stream of any format as it is, for the recorder.

    Attributes
    ----------
    description
        What the stream says about itself.
    xml
        All of that, as it was received.
    max_samples
        How many samples one `pull` returns at most.

    Parameters
    ----------
    buffer_s
        How much liblsl keeps while nothing pulls; less if that would be more than 256 MB.

    Raises
    ------
    ConnectionLostError
        If the stream does not answer.
    ValueError
        If its format or rate cannot be recorded, or its description is not text.
    """

    def __init__(self, stream: StreamInfo, *, buffer_s: int) -> None:
        if stream.format == "undefined" or stream.n_channels < 1:
            raise ValueError(f"{stream.n_channels} channels of {stream.format} values cannot be recorded")
        affordable = affordable_s(stream.n_channels, stream.sfreq_hz, stream.format)
        super().__init__(stream, buffer_s=min(buffer_s, affordable))
        info = read_full_info(stream, self._inlet)
        self.description = read_description(stream, info)
        self.xml: str = info.as_xml()
        n_half_second = max(_MIN_SAMPLES, round(_RAW_S * stream.sfreq_hz))
        self.max_samples = max(1, min(n_half_second, _MAX_RAW_VALUES // stream.n_channels))
        self._is_text = stream.format == "string"
        shape = (self.max_samples, stream.n_channels)
        self._buffer = None if self._is_text else np.empty(shape, self._inlet.np_dtype)

    def pull(self) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return what is there, without waiting: (n_new, n_channels) in the stream's format, and (n_new,) timestamps.

        The values of a string stream are bytes.

        Raises
        ------
        ConnectionLostError
            If the source is gone.
        """
        # Only what is available: a pull that finds the source gone before it has all it was asked for returns none.
        n_wanted = max(1, min(self.max_samples, int(self._inlet.samples_available())))
        if self._is_text:
            n_wanted = 1 << (n_wanted.bit_length() - 1)  # pylsl keeps a buffer for each length
        try:
            raw, t_s = self._inlet.pull_chunk(timeout=0.0, max_samples=n_wanted, dest_obj=self._buffer, as_numpy=True)
        except LOST_ERRORS:
            raise _lost(self.stream.name) from None
        return (raw if self._is_text or not t_s.size else raw.copy()), t_s  # the next pull overwrites the buffer


def _lost(name: str) -> ConnectionLostError:
    return ConnectionLostError(f"the source of {printable(name)!r} is gone")
