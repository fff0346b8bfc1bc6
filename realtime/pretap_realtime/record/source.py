"""Source: a connected stream, its clock, and the track that it feeds. Used by `recorder`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

from pretap_realtime.lsl.inlets import RawInlet
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.record import xdf_writer
from pretap_realtime.record.tracks import Track

_MUTE_S: Final = 1.0  # before another stream with the same identity replaces one with a rate
_SILENT_S: Final = 3.0
_RETRY_S: Final = 1.0
_CLOCK_EVERY_S: Final = 5.0
_SAME_CLOCK_S: Final = 0.005  # measured on one machine: noise of 0.1 ms, milliseconds under load


class Source:
    """A live stream and the track that it feeds. A thread measures the offset of its clock every five seconds."""

    def __init__(self, inlet: RawInlet, track: Track, *, clock: Callable[[], float]) -> None:
        self.track = track
        self._inlet, self._clock = inlet, clock
        self._heard_s, self._is_silent = clock(), False
        self._offsets: queue.SimpleQueue[tuple[float, float]] = queue.SimpleQueue()
        self._closed = threading.Event()
        threading.Thread(target=self._measure_clock, name="clock", daemon=True).start()

    def pull(self) -> None:
        """Move all samples that have arrived to the track."""
        while True:
            values, t_s = self._inlet.pull()
            self.track.append(values, t_s)
            if t_s.size:
                self._heard_s = self._clock()
            if t_s.size < self._inlet.max_samples:
                return

    def is_mute(self) -> bool:
        """Whether a stream with a rate has sent nothing for a second."""
        return self.track.counts_losses and self._clock() > self._heard_s + _MUTE_S

    def silence(self) -> str:
        """Return a message if a stream with a rate has just stopped or resumed sending, otherwise an empty string."""
        is_silent = self.track.counts_losses and self._clock() > self._heard_s + _SILENT_S
        if is_silent == self._is_silent:
            return ""
        self._is_silent = is_silent
        return f"{self.track.name} " + (f"has sent nothing for {_SILENT_S:g} s" if is_silent else "sends again")

    def clock_offsets(self) -> list[xdf_writer.Chunk]:
        """Return the clock offsets measured since the last call, as chunks."""
        chunks = []
        while not self._offsets.empty():
            measured_s, offset_s = self._offsets.get()
            chunks.append(self.track.clock_offset(measured_s=measured_s, offset_s=offset_s))
        return chunks

    def _measure_clock(self) -> None:
        while not self._closed.is_set():
            try:
                offset_s = self._inlet.time_correction(_CLOCK_EVERY_S)
            except ConnectionLostError:
                self._closed.wait(_RETRY_S)
                continue
            if self._inlet.is_local and abs(offset_s) < _SAME_CLOCK_S:
                offset_s = 0.0  # the same clock: the rest is noise, and a reader would fit a drift to it
            self._offsets.put((self._clock() - offset_s, offset_s))
            self._closed.wait(_CLOCK_EVERY_S)

    def close(self) -> None:
        self._closed.set()
        self._inlet.close()
