"""An inlet, an outlet and a decoder's stream that C code calls in tests of the fast path."""

from __future__ import annotations

import ctypes

import msgspec
import numpy as np

from pretap_realtime.lsl.inlets import NativeInlet
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.signal.chunk import Chunk

FS, MAX_SAMPLES, N_SPARE = 100.0, 1000, 70
LOST = -2
Pull = ctypes.CFUNCTYPE(
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_float),
    ctypes.POINTER(ctypes.c_double),
    ctypes.c_ulong,
    ctypes.c_ulong,
    ctypes.c_double,
    ctypes.POINTER(ctypes.c_int32),
)
Available = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)
Send = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(ctypes.c_float), ctypes.c_double, ctypes.c_int32
)
CatchUp = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Inlet:
    """Plays chunks, as liblsl hands them out: at most as many samples as are asked for, then the source is gone.

    A call that finds it gone before it has all it was asked for gives none, but has written those that came.
    """

    def __init__(self, chunks, n_channels):
        self._x = np.empty((MAX_SAMPLES + N_SPARE, n_channels), np.float32)
        self._t = np.empty(MAX_SAMPLES + N_SPARE)
        self._chunks, self._n_channels = list(chunks), n_channels
        self._pull, self._available = Pull(self.pull), Available(lambda _: self._n_there)
        self._n_there = 0  # of the chunk that came
        self.waited_s = []
        pull, available = (ctypes.cast(f, ctypes.c_void_p).value for f in (self._pull, self._available))
        x, t = self._x.ctypes.data, self._t.ctypes.data
        self.native = NativeInlet(pull, available, 1, x, t, MAX_SAMPLES, N_SPARE, n_channels)

    def pull(self, _inlet, x, t, n_values, n_most, timeout_s, error):
        self.waited_s.append(timeout_s)
        n = 0
        if self._chunks:
            chunk = self._chunks.pop(0)
            n = min(len(chunk.t_s), n_most)
            np.ctypeslib.as_array(x, (n_most, self._n_channels))[:n] = chunk.x_uv[:n]
            np.ctypeslib.as_array(t, (n_most,))[:n] = chunk.t_s[:n]
            self._n_there = len(chunk.t_s) - n
            if self._n_there:
                self._chunks.insert(0, Chunk(chunk.x_uv[n:], chunk.t_s[n:]))
            if n == n_most or self._chunks:
                return n * self._n_channels
        error[0] = LOST
        return 0

    def received(self, first, n_new, error):
        if error:
            raise ConnectionLostError
        return self.samples(first, first + n_new) if n_new else None

    def samples(self, start, stop):
        return Chunk(self._x[start:stop], self._t[start:stop])


class Outlet:
    """Keeps the rows that are sent; `before_row` is called before each of them."""

    def __init__(self, classes, before_row):
        self.classes, self.rows, self.goes_out = classes, [], True
        self._send, self._before_row = Send(self.send), before_row
        self.native = ctypes.cast(self._send, ctypes.c_void_p).value, 1

    def get(self, kind):
        assert kind == "probabilities"
        return self

    def note(self, kind, rows, t_s):
        assert [t for t, _ in self.rows[len(self.rows) - len(rows) + 1 :]] == t_s[:-1]  # those before were handed over
        self.hanging = (t_s[-1], tuple(np.float32(rows[-1]).tolist()))

    def end(self):
        assert self.rows[-1] == self.hanging
        self.hanging = None

    def send(self, _outlet, row, t_s, through):
        self._before_row(len(self.rows))
        self.goes_out = bool(through)
        self.rows.append((t_s, tuple(row[: len(self.classes) + 1])))
        return 0


class WatchedStream:
    """A decoder's stream that notes, each time C code calls its lanes, whether it has any."""

    def __init__(self, stream):
        self._stream, self.had_lanes = stream, []
        self._catch_up = CatchUp(self.catch_up_in_c)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    @property
    def native(self):
        own, watched = self._stream.native, ctypes.cast(self._catch_up, ctypes.c_void_p).value
        return None if own is None else msgspec.structs.replace(own, catch_up=watched)

    def catch_up_in_c(self, engine):
        own = self._stream.native
        self.had_lanes.append(own is not None)
        if own is not None:
            CatchUp(own.catch_up)(engine)
