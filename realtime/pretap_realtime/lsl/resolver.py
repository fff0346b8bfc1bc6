"""The stream resolver: finds streams on the network, for every command that looks for one."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from pretap.errors import UsageError
from pretap_realtime.lsl.api_config import Tuning
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.library import lib, local_clock, opening, pylsl
from pretap_realtime.lsl.query import predicate

GATHER_S: Final = 2.0  # in which all streams answer, whatever the configuration

_ASK_S: Final = 0.12  # between two queries while a stream is awaited
_ANSWER_S: Final = 0.15  # from a query to the answer
_POLL_S: Final = 0.01
_DESTROY_S: Final = 0.1
_MIN_FORGET_S: Final = 5.0
_N_MISSED: Final = 3  # waves of queries in a row that a stream may leave unanswered


class StreamResolver:
    """Finds the streams that answer a query, from its creation on; all streams without a query.

    liblsl sends a query in waves: to the multicast addresses at once, and half a second later to each port of the known
    computers. Outlets on one machine may share a port, of which only one of them hears (liblsl #282), so some streams
    answer to the second half only. One resolver of liblsl therefore stays open and misses no stream. Its waves follow
    each other after one to two seconds, so `wait` also opens short-lived ones, which ask at once.

    A stream that ended without notice is still listed for some seconds; see `drop`.

    Parameters
    ----------
    accepts
        Whether to list a stream that answers the query.

    Attributes
    ----------
    answer_s
        Time within which every stream that is there answers a query.

    Raises
    ------
    UsageError
        If liblsl cannot open its sockets.
    """

    def __init__(
        self, query: Mapping[str, str] | None = None, *, accepts: Callable[[StreamInfo], bool] = lambda _: True
    ) -> None:
        wanted, tuning = dict(query or {}), Tuning.read()
        self.answer_s = min(GATHER_S, tuning.second_half_s + _ANSWER_S)
        self._accepts: Callable[[StreamInfo], bool] = lambda stream: stream.matches(wanted) and accepts(stream)
        self._open = partial(_open, wanted, forget_s=max(_MIN_FORGET_S, _N_MISSED * tuning.wave_s))
        self._lasting = self._open()
        self._latest: _ContinuousResolver | None = None
        self._asking: threading.Thread | None = None  # opens the next one
        self._asked_s = self._empty_s = local_clock()  # the last query, and the last moment without a stream
        self._dropped: set[str] = set()  # uids
        self._known: set[str] = set()  # uids

    def streams(self, *, gather_s: float = 0.0, sleep: Callable[[float], object] = time.sleep) -> list[StreamInfo]:
        """Return the streams that are there now, each once.

        Parameters
        ----------
        gather_s
            How long streams have time to answer, since the last moment without one. Only what is left of it is waited.
        sleep
            Waits for a number of seconds, or less if the command was stopped.
        """
        found = self._found()
        left_s = self._empty_s + gather_s - local_clock()
        if left_s > 0:
            sleep(left_s)
            found = self._found()
        return found

    def wait(self, timeout_s: float = _ASK_S) -> list[StreamInfo]:
        """Return the streams that are there as soon as there is one; none if no stream answers in time."""
        deadline_s = local_clock() + timeout_s
        while not (found := self._found()) and (now_s := local_clock()) < deadline_s:
            if now_s >= self._asked_s + _ASK_S:
                self._asked_s = now_s
                self._ask()
            time.sleep(_POLL_S)
        return found

    def drop(self, stream: StreamInfo) -> None:
        """List a stream that is gone, or did not open, no longer; unless it answers again."""
        self._dropped.add(stream.uid)
        self._latest = self._asking = None  # so whatever the next one lists has answered after this

    def mark_known(self, stream: StreamInfo) -> None:
        """Leave a stream out of `new_streams`, and cease to ask more often than liblsl does."""
        self._known.add(stream.uid)
        self._latest = self._asking = None

    def new_streams(self) -> list[StreamInfo]:
        """Return the streams that are there, are not known, and were not returned by this before."""
        new = [stream for stream in self._found() if stream.uid not in self._known]
        self._known.update(stream.uid for stream in new)
        return new

    def _ask(self) -> None:
        """Send the query at once, unless liblsl still looks up the names of known computers, which can take seconds."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._open_latest, name="ask", daemon=True)
            self._asking.start()

    def _open_latest(self) -> None:
        with contextlib.suppress(UsageError):  # no room for more open files: the lasting one still asks
            latest = self._open()
            if self._asking is threading.current_thread():
                self._latest = latest

    def _found(self) -> list[StreamInfo]:
        streams = {info.uid(): StreamInfo.of(info) for info in self._lasting.results()}  # several interfaces: once
        if (resolver := self._latest) is not None:  # another thread may replace it
            latest = {info.uid(): StreamInfo.of(info) for info in resolver.results()}
            self._dropped -= latest.keys()
            streams |= latest
        found = [each for uid, each in streams.items() if uid not in self._dropped and self._accepts(each)]
        if not found:
            self._empty_s = local_clock()
        return sorted(found, key=lambda stream: (stream.name, stream.source_id, stream.uid))


class _ContinuousResolver(pylsl.ContinuousResolver):  # type: ignore[misc]
    """pylsl's resolver, which never delays the thread that releases it.

    1. The resolver is destroyed: liblsl tells the sockets of all queries to close, and waits for its own thread.
    2. That thread has begun to send a query meanwhile, and opens a socket for the answers.
    3. Nothing tells this socket to close, so it waits for answers for 5 s, and the destruction for the socket.

    Of 144 resolvers that were destroyed at the moment of a query, 5 took 5 s (pylsl 1.18.6, 8 threads). The process
    waits for them before it ends: liblsl crashes if it is unloaded meanwhile.
    """

    def __del__(self) -> None:
        if sys.is_finalizing():  # no thread can start any more
            lib.lsl_destroy_continuous_resolver(self.obj)
            return
        thread = threading.Thread(target=lib.lsl_destroy_continuous_resolver, args=(self.obj,), daemon=True)
        thread.start()
        thread.join(_DESTROY_S)
        if thread.is_alive():
            atexit.register(thread.join)


def _open(query: Mapping[str, str], *, forget_s: float) -> _ContinuousResolver:
    with opening("the stream resolver"):
        return _ContinuousResolver(pred=predicate(query), forget_after=forget_s)
