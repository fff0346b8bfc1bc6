"""Source: a connected stream, its clock, and the track that it feeds. Used by `recorder`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from pretap_realtime.lsl.inlets import RawInlet
from pretap_realtime.record import xdf_writer
from pretap_realtime.record.tracks import Track

_MUTE_S: Final = 1.0  # before another stream with the same identity replaces one with a rate
_SILENT_S: Final = 3.0
_CLOCK_EVERY_S: Final = 5.0


class Source:
    """A live stream and the track that it feeds; the offset of its clock is noted every five seconds."""

    def __init__(self, inlet: RawInlet, track: Track, *, clock: Callable[[], float]) -> None:
        self.track = track
        self._inlet, self._clock = inlet, clock
        self._heard_s, self._is_silent = clock(), False
        self._clock_due_s = -math.inf

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

    def clock_offset(self) -> list[xdf_writer.Chunk]:
        """Return the clock offset as a chunk if one is due and known.

        Raises
        ------
        ConnectionLostError
            If the source is gone.
        """
        now_s = self._clock()
        offset_s = self._inlet.clock_offset_s() if now_s >= self._clock_due_s else None
        if offset_s is None:
            return []
        self._clock_due_s = now_s + _CLOCK_EVERY_S
        return [self.track.clock_offset(measured_s=now_s - offset_s, offset_s=offset_s)]

    def close(self) -> None:
        self._inlet.close()
