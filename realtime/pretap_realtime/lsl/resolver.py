"""The stream resolver: finds streams on the network, for every command that looks for one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.library import local_clock, opening, pylsl
from pretap_realtime.lsl.query import predicate

_FORGET_S: Final = 5.0  # after its last answer a stream is no longer listed
_MAX_STREAMS: Final = 1024  # that pylsl returns
# A query of `_ask` ends between two moments at which liblsl sends it again (each 0.5 s, and 0.1 s in an isolated
# session): a call that ends at such a moment may return 5 s late, as 18 of 152 did (pylsl 1.18.6, 8 threads).
_ASK_S: Final = 0.15


class StreamResolver:
    """Finds the streams that answer a query, from its creation on; all streams without a query.

    liblsl sends the query about once a second, in a thread of its own. It misses no stream, but may find a new one a
    second late, and lists a stream that ended without notice for 5 s. So `wait` and
    `streams(gather_s=...)` also send the query at once, and streams that turn out to be gone are to be dropped.

    Raises
    ------
    UsageError
        If liblsl cannot open its sockets.
    """

    def __init__(self, query: Mapping[str, str] | None = None) -> None:
        self._query = dict(query or {})
        with opening("the stream resolver"):
            self._resolver = pylsl.ContinuousResolver(pred=predicate(self._query), forget_after=_FORGET_S)
        self._empty_s = local_clock()  # the last moment without a stream
        self._answered: dict[str, tuple[float, StreamInfo]] = {}  # by uid: answers to `_ask`
        self._dropped: set[str] = set()  # uids
        self._known: set[str] = set()  # uids

    def streams(self, *, gather_s: float = 0.0) -> list[StreamInfo]:
        """Return the streams that are there now, each once.

        Parameters
        ----------
        gather_s
            How long streams have time to answer, since the last moment without one. Only what is left of it is waited.
        """
        found = self._found()
        until_s = self._empty_s + gather_s
        left_s = until_s - local_clock()
        if left_s > 0:
            self._ask(_MAX_STREAMS, timeout_s=min(left_s, _ASK_S))
            time.sleep(max(0.0, until_s - local_clock()))
            found = self._found()
        return found

    def wait(self, timeout_s: float = _ASK_S) -> list[StreamInfo]:
        """Return the streams that are there as soon as there is one; none if no stream answers in time."""
        deadline_s = local_clock() + timeout_s
        while not (found := self._found()) and (left_s := deadline_s - local_clock()) > 0:
            self._ask(1, timeout_s=min(left_s, _ASK_S))
            self._empty_s = local_clock()  # so all of `gather_s` is still to come
        return found

    def drop(self, stream: StreamInfo) -> None:
        """List a stream that is gone, or did not open, no longer; unless it answers again."""
        self._dropped.add(stream.uid)
        self._answered.pop(stream.uid, None)

    def mark_known(self, stream: StreamInfo) -> None:
        """Leave a stream out of `new_streams`."""
        self._known.add(stream.uid)

    def new_streams(self) -> list[StreamInfo]:
        """Return the streams that are there, are not known, and were not returned by this before."""
        new = [stream for stream in self._found() if stream.uid not in self._known]
        self._known.update(stream.uid for stream in new)
        return new

    def _ask(self, n_wanted: int, *, timeout_s: float) -> None:
        """Send the query at once, and wait for `n_wanted` answers."""
        for info in pylsl.resolve_bypred(predicate(self._query), minimum=n_wanted, timeout=timeout_s):
            stream = StreamInfo.of(info)
            self._answered[stream.uid] = local_clock(), stream
            self._dropped.discard(stream.uid)

    def _found(self) -> list[StreamInfo]:
        now_s = local_clock()
        self._answered = {uid: each for uid, each in self._answered.items() if now_s < each[0] + _FORGET_S}
        streams = {uid: stream for uid, (_, stream) in self._answered.items()}
        streams |= {info.uid(): StreamInfo.of(info) for info in self._resolver.results()}  # several interfaces: once
        found = [each for uid, each in streams.items() if uid not in self._dropped and each.matches(self._query)]
        if not found:
            self._empty_s = now_s
        return sorted(found, key=lambda stream: (stream.name, stream.source_id, stream.uid))
