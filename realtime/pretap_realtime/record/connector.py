"""Connector: finds the streams to record and connects to them without blocking the loop. Used by `recorder`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Container, Sequence
from typing import Final

from pretap.errors import StreamRefusedError
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import RawInlet
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.record import xdf_writer

_RETRY_S: Final = 1.0
_BUFFER_S: Final = 360  # of liblsl, 256 MB at most: a recorder that stalls for that long loses nothing


class Connector:
    """Connects to each stream in a thread of its own: one that does not answer takes half a second.

    Attributes
    ----------
    listed
        The uids of all streams on the network that match a query.
    """

    def __init__(self, queries: Sequence[dict[str, str]], *, clock: Callable[[], float]) -> None:
        self.listed: set[str] = set()
        self._watches = [StreamResolver(query) for query in queries] or [StreamResolver()]
        self._clock = clock
        self._pending: set[str] = set()  # uids
        self._retry_at_s: dict[str, float] = {}  # by uid
        self._reported: set[str] = set()  # uids of the streams that were refused
        self._results: queue.SimpleQueue[tuple[StreamInfo, RawInlet | str]] = queue.SimpleQueue()

    def connect_to_new(self, *, known: Container[str]) -> None:
        """Start to connect to each listed stream whose uid is not `known`, unless it failed less than 1 s ago."""
        there = {found.uid: found for watch in self._watches for found in watch.streams()}
        self.listed = set(there)
        now_s = self._clock()
        for uid, found in there.items():
            if uid not in known and uid not in self._pending and now_s >= self._retry_at_s.get(uid, 0.0):
                self._pending.add(uid)
                threading.Thread(target=self._connect, args=(found,), name="connect", daemon=True).start()

    def _connect(self, found: StreamInfo) -> None:
        try:
            inlet = RawInlet(found, buffer_s=_BUFFER_S)
            inlet.xml = xdf_writer.valid_xml(inlet.xml)
            inlet.start()
        except ConnectionLostError:
            self._results.put((found, ""))  # it has ended but is still listed: nothing to report
        except (ValueError, RuntimeError, StreamRefusedError) as error:  # RuntimeError: pylsl could not make an inlet
            self._results.put((found, str(error)))
        else:
            self._results.put((found, inlet))

    def results(self) -> list[tuple[StreamInfo, RawInlet | str]]:
        """Return new results: an open inlet, or the reason why a stream cannot be recorded (only the first time)."""
        results: list[tuple[StreamInfo, RawInlet | str]] = []
        while not self._results.empty():
            found, opened = self._results.get()
            self._pending.discard(found.uid)
            self._retry_at_s[found.uid] = self._clock() + _RETRY_S
            if isinstance(opened, RawInlet):
                results.append((found, opened))
            elif opened and found.uid not in self._reported:
                self._reported.add(found.uid)
                results.append((found, opened))
        return results
