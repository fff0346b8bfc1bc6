"""Readers of a service's decisions and of its EEG stream, with the times of arrival. Used by `measure`.

All times are on this computer's clock: the clock offset of each stream is measured, and followed in a thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.errors import CheckFailedError, StreamRefusedError
from pretap_realtime.console.stopping import Stop
from pretap_realtime.latency.passages import Passage
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import Inlet, MarkerInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.send.messages import Message

_PULL_S: Final = 0.1
_CLOCK_EVERY_S: Final = 1.0
_FIRST_EVERY_S: Final = 0.02  # until the offset is known


class ClockFollower:
    """Follows the offset of a stream's clock; `offset_s` is None until it is known."""

    def __init__(self, inlet: Inlet | MarkerInlet, *, stop: Stop) -> None:
        self.offset_s: float | None = None
        self._inlet, self._stop = inlet, stop
        threading.Thread(target=self._follow, name="clock", daemon=True).start()

    def _follow(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(ConnectionLostError):
                self.offset_s = self._inlet.clock_offset_s()
            self._stop.wait(_FIRST_EVERY_S if self.offset_s is None else _CLOCK_EVERY_S)


class Arrivals:
    """Reads the EEG stream in a thread, and knows when each sample arrived."""

    def __init__(self, stream: StreamInfo, *, stop: Stop) -> None:
        self._inlet = Inlet(stream)
        speed, n = self._inlet.description.speed, stream.n_channels
        if speed != 1.0:
            raise StreamRefusedError(
                f"The stream {stream} plays at {speed:g} times real time, so its timestamps say nothing about latency. "
                "Play it with --speed 1."
            )
        self._inlet.open(order=range(n), factors=[1.0] * n)
        self._half_s = 0.5 / stream.sfreq_hz if stream.sfreq_hz > 0 else 0.0
        self._stop = stop
        self.clock = ClockFollower(self._inlet, stop=stop)
        self._last_s: list[float] = []  # timestamp of the last sample of each chunk
        self._arrived_s: list[float] = []
        threading.Thread(target=self._read, name="eeg", daemon=True).start()

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                chunk = self._inlet.pull(_PULL_S)
            except ConnectionLostError:
                return
            now_s, offset_s = local_clock(), self.clock.offset_s
            if chunk is not None and offset_s is not None:
                self._arrived_s.append(now_s)
                self._last_s.append(float(chunk.t_s[-1]) + offset_s)

    def add_to(self, passages: list[Passage]) -> None:
        """Set `arrived_s` of passages whose sample was read."""
        n = min(len(self._last_s), len(self._arrived_s))
        last_s: NDArray[np.float64] = np.maximum.accumulate(np.array(self._last_s[:n]))  # (n_chunks,)
        chunks = np.searchsorted(last_s, [each.sample_s - self._half_s for each in passages]).tolist()
        for passage, k in zip(passages, chunks, strict=True):
            if 0 < k < n:  # the first chunk may have arrived before it was read
                passage.arrived_s = self._arrived_s[k]


class Decisions:
    """Reads the messages of a service, and passes on each valid decision.

    Attributes
    ----------
    n_missed
        Messages that were lost on the way.
    why
        The last reason that the service gave for having no decision.
    """

    def __init__(self, stream: StreamInfo, *, stop: Stop) -> None:
        self.n_missed, self.why = 0, ""
        self._stream = stream
        self._inlet = MarkerInlet(stream)
        self._inlet.start()
        self.clock = ClockFollower(self._inlet, stop=stop)
        self._next_seq: int | None = None

    def read(self, on_decision: Callable[[Passage, Message], None]) -> None:
        """Wait up to 0.1 s for messages, and call `on_decision` for each decision among them.

        Raises
        ------
        ConnectionLostError
            If the service has ended.
        CheckFailedError
            If it does not send its messages as JSON.
        """
        texts = [marker.text for marker in self._inlet.pull(_PULL_S)]
        received_s, offset_s = local_clock(), self.clock.offset_s
        for text in texts:
            try:
                message = msgspec.json.decode(text, type=Message)
            except msgspec.MsgspecError:
                raise CheckFailedError(
                    f"{self._stream.name} sent {text[:60]!r}, expected JSON with the time of sending. Start the "
                    'service with markers.format = "json".'
                ) from None
            if self._next_seq is not None:
                self.n_missed += max(0, message.seq - self._next_seq)
            self._next_seq = message.seq + 1
            self.why = message.why or self.why
            if message.type == "verdict" and message.valid and offset_s is not None:
                passage = Passage(message.t + offset_s, message.sent + offset_s, received_s)
                on_decision(passage, message)
