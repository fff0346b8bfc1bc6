"""Measurement: finds a running service and its EEG stream, and measures the latencies. Used by `command`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from pretap.errors import CheckFailedError, NoStreamError
from pretap_realtime.console.stopping import Stop
from pretap_realtime.latency.passages import Latencies, Passage
from pretap_realtime.latency.readers import Arrivals, Decisions
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.monitor.choice import Selection, choose
from pretap_realtime.send.messages import Message

OnDecision = Callable[[Passage, Message], None]

_FIND_S: Final = 30.0
_GATHER_S: Final = 1.0
_FIRST_S: Final = 30.0  # to the first decision


class Measurement:
    """One measurement of a running service.

    Parameters
    ----------
    service
        The name of the service (``markers.name``); empty for the only one on the network.
    eeg
        Query of the EEG stream that it decodes.
    check
        Called while it waits; it may raise if a child process has failed.
    """

    def __init__(
        self, service: str, eeg: Mapping[str, str], *, stop: Stop, check: Callable[[], None] = lambda: None
    ) -> None:
        self._stop, self._check = stop, check
        self._ended = threading.Event()
        messages, stream = self._find(Selection(service, eeg, None))
        self._service, self._eeg = messages.name.removesuffix("-markers"), stream.name
        try:
            self._arrivals = Arrivals(stream, stop=self._ended)
            self._decisions = Decisions(messages, stop=self._ended)
        except ConnectionLostError as error:
            raise NoStreamError(f"{stream.name} or {messages.name} does not answer: {error}. Try again.") from None
        self._passages: list[Passage] = []

    def _find(self, selection: Selection) -> tuple[StreamInfo, StreamInfo]:
        resolver, deadline_s = StreamResolver(), local_clock() + _FIND_S
        while True:
            choice = choose(resolver.streams(gather_s=_GATHER_S), selection)
            if "messages" in choice.streams and "eeg" in choice.streams:
                return choice.streams["messages"], choice.streams["eeg"]
            self._check()
            if self._stop.wait(0.1):
                raise KeyboardInterrupt
            if local_clock() > deadline_s:
                raise NoStreamError(" ".join(choice.problems) or "The service sends no messages.")

    def run(self, seconds: float, *, on_decision: OnDecision | None = None) -> Latencies | None:
        """Measure for some seconds from the first decision on, or until `stop`, and return the latencies.

        None means that it was stopped before the first decision.

        Raises
        ------
        CheckFailedError
            If there is no valid decision.
        """
        began_s = local_clock()

        def add(passage: Passage, message: Message) -> None:
            if self._arrivals.clock.offset_s is None or passage.sent_s < began_s:
                return  # an older one waited in the inlet's buffer
            self._passages.append(passage)
            if on_decision is not None:
                on_decision(passage, message)

        until_s = began_s + _FIRST_S
        start_s = None
        try:
            while local_clock() < until_s and not self._stop.is_set():
                self._decisions.read(add)
                if start_s is None and self._passages:
                    start_s = self._passages[0].received_s
                    until_s = start_s + seconds
                self._check()
        except ConnectionLostError:
            if not self._passages:
                raise CheckFailedError(f"The service {self._service} ended before it decided anything.") from None
        finally:
            self._ended.set()
        if start_s is None and self._stop.is_set():
            return None
        if start_s is None:
            why = self._decisions.why or "no reason was given"
            raise CheckFailedError(f"The service {self._service} sent no valid decision within {_FIRST_S:g} s: {why}.")
        self._arrivals.add_to(self._passages)
        return Latencies.of(
            self._passages,
            service=self._service,
            eeg=self._eeg,
            seconds=local_clock() - start_s,
            n_missed=self._decisions.n_missed,
        )
