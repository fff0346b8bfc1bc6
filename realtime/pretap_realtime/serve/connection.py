"""The connection of a service: finds the one stream that the configuration asks for, checks it, and opens it.

Used by `serve`. A lost stream is searched for in the same way; other streams that appear meanwhile are announced.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pretap.config.serve import ServeConfig
from pretap.errors import StreamRefusedError, UsageError
from pretap.recordings.events import is_marker_stream
from pretap.signal.trigger import TriggerChannel
from pretap_realtime.lsl.description import StreamInfo, has_ended, list_streams
from pretap_realtime.lsl.inlets import Inlet, MarkerInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.lsl.query import can_be_queried, parse_query
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.serve.stream_clocks import StreamClock, StreamClocks
from pretap_realtime.signal.chunk import Chunk, Cue
from pretap_realtime.signal.compatibility import Description, Mapping, changes, check_stream, printable

if TYPE_CHECKING:
    from pretap.decoder.decoder import Decoder


class StreamSearch:
    """The search for the one stream that answers a query, from now on until the session ends.

    Parameters
    ----------
    key
        The configuration's name of the query, for messages.
    own
        The source_ids of the outlets of this process. They are never its input, even if they answer the query.
    sleep
        See `StreamResolver.streams`.

    Attributes
    ----------
    has_ignored
        Whether an outlet of this process has answered the query.
    """

    def __init__(self, key: str, query: str, *, own: Collection[str], sleep: Callable[[float], object]) -> None:
        self.has_ignored = False
        self._key, self._query, self._own, self._sleep = key, parse_query(query), own, sleep
        self._resolver = StreamResolver(self._query, accepts=self._is_foreign)
        self._last: StreamInfo | None = None  # that was connected
        self._alike: StreamResolver | None = None  # finds streams of its name and type

    def first(self) -> StreamInfo | None:
        """Return the stream that answers first, or None if none or several do; see `only_one` for later ones."""
        found = self._resolver.wait()
        return found[0] if len(found) == 1 else None

    def only_one(self) -> StreamInfo | None:
        """Return the one stream that answers; None if none does.

        Before the first connection, all streams have time to answer. After a loss, the first one is connected at once:
        streams that were there before are known by then, and later ones are announced.

        Raises
        ------
        StreamRefusedError
            If several streams answer, or none but another one of the lost stream's name and type.
        """
        found = self._resolver.wait()
        if found and self._last is None:
            found = self._resolver.streams(gather_s=self._resolver.answer_s, sleep=self._sleep)
        if len(found) > 1:
            for stream in filter(has_ended, found):
                self._resolver.drop(stream)
            found = self._resolver.streams()
        if len(found) > 1:
            raise StreamRefusedError(
                f"{len(found)} streams answer to {self._key}:\n  {list_streams(found)}\nAsk for one of them, such as "
                "source_id=...; deciding on the wrong head would be worse than not starting."
            )
        if not found and self._last is not None:
            self._refuse_substitute(self._last)
        return found[0] if found else None

    def connected(self, stream: StreamInfo) -> None:
        """Note which stream is connected now."""
        self._resolver.mark_known(stream)
        self._last, self._alike = stream, None

    def lost(self, stream: StreamInfo) -> None:
        """Note that a stream was lost or could not be opened: it has to answer the query again."""
        self._resolver.drop(stream)

    def newcomers(self) -> list[str]:
        """Return a sentence for each other stream that has come to answer the query, once."""
        return [
            f"another stream answers to {self._key}: {stream}; still connected to {self._last}"
            for stream in self._resolver.new_streams()
        ]

    def _is_foreign(self, stream: StreamInfo) -> bool:
        is_own = stream.source_id in self._own and stream.hostname == socket.gethostname()
        self.has_ignored |= is_own and stream.matches(self._query)
        return not is_own

    def _refuse_substitute(self, lost: StreamInfo) -> None:
        if self._alike is None:
            if not (can_be_queried(lost.name) and can_be_queried(lost.type)):
                return
            try:
                self._alike = StreamResolver({"name": lost.name, "type": lost.type}, accepts=self._is_foreign)
            except UsageError:  # no room for more open files: the lost stream is still searched for
                return
        for stream in self._alike.streams():
            wrong = [
                f"expected {key} {value!r}, found {printable(getattr(stream, key))!r}"
                for key, value in self._query.items()
                if getattr(stream, key) != value
            ]
            if wrong:
                raise StreamRefusedError(
                    f"Stream {stream} stands where {printable(lost.source_id)!r} was lost, but is another one: "
                    f"{', '.join(wrong)}. Bring the first one back, or ask for this one (stream.query)."
                )


def start_searches(
    config: ServeConfig, *, own: Collection[str] = (), sleep: Callable[[float], object] = time.sleep
) -> list[StreamSearch]:
    """Start to search for the EEG stream, and for the cue stream if the configuration asks for one.

    `StreamSearch` describes `own` and `sleep`.
    """
    search = partial(StreamSearch, own=own, sleep=sleep)
    searches = [search("stream.query", config.stream.query)]
    if config.cue.query:
        searches.append(search("cue.query", config.cue.query))
    return searches


class LslConnection:
    """An EEG inlet, and a cue inlet if cues are asked for; losing either loses the connection.

    Attributes
    ----------
    changed
        How the EEG stream differs from the previous one; empty if it does not, or there was none.
    """

    def __init__(
        self, inlet: Inlet, cues: MarkerInlet | None, mapping: Mapping, *, searches: list[StreamSearch], changed: str
    ) -> None:
        self.inlet, self.mapping, self.changed = inlet, mapping, changed
        self._trigger = None if mapping.cue_channel is None else TriggerChannel(mapping.labels[mapping.cue_channel])
        self.has_cues = cues is not None or self._trigger is not None
        self._cues, self._searches = cues, searches
        self._clocks = StreamClocks(inlet, cues, is_real_time=inlet.description.speed == 1.0)
        self._first_s = math.nan  # timestamp of the first sample

    @property
    def description(self) -> Description:
        """The description of the EEG stream, as it stands in LSL."""
        return self.inlet.description

    @property
    def max_buffered(self) -> int:
        """How many samples can wait for a pull before the oldest are lost."""
        return self.inlet.max_samples

    def pull(self, timeout_s: float, n_wanted: int = 1) -> Chunk | None:
        """Pull samples, see `Inlet.pull`, with the cues in their trigger channel."""
        chunk = self.inlet.pull(timeout_s, n_wanted)
        if chunk is not None and math.isnan(self._first_s):
            self._first_s = float(chunk.t_s[0])
        if chunk is not None and chunk.codes is not None and self._trigger is not None:
            found = self._trigger.process(chunk.codes)
            chunk = replace(chunk, cues=tuple(Cue(float(chunk.t_s[i]), code, row=i) for i, code in found))
        return chunk

    def newcomers(self) -> list[str]:
        """Return a sentence for each other stream that answers to a query and has come since, without waiting."""
        return [line for search in self._searches for line in search.newcomers()]

    def pull_cues(self) -> list[Cue]:
        """Return the cues of the cue stream that are there, on the clock of the EEG stream."""
        if self._cues is None:
            return []
        return self._clocks.place(self._cues.pull(), first_s=self._first_s, now_s=local_clock())

    def clock(self) -> StreamClock:
        """Return how the EEG's timestamps relate to this machine's clock, without waiting."""
        return self._clocks.now(local_clock())

    def close(self) -> None:
        self._clocks.stop()
        inlets = (self.inlet,) if self._cues is None else (self.inlet, self._cues)
        for inlet, search in zip(inlets, self._searches, strict=True):
            inlet.close()
            search.lost(inlet.stream)


class Connector:
    """Tries to connect, once per call."""

    def __init__(
        self, decoder: Decoder, config: ServeConfig, *, searches: list[StreamSearch], say: Callable[[str], None]
    ) -> None:
        self._decoder, self._config, self._searches, self._say = decoder, config, searches, say
        self._can_open_early = len(searches) == 1  # cues open before the EEG
        self._said_of_cues = ""
        self._before: Description | None = None  # of the last stream

    def __call__(self, validating: Callable[[], None]) -> LslConnection | None:
        """Search for at most half a second; return None if a stream is missing.

        Raises
        ------
        StreamRefusedError
            If several streams answer, the one that does does not fit, or another one stands where it was lost.
        ConnectionLostError
            If the stream ends while it is checked.
        """
        with contextlib.ExitStack() as on_failure:
            early = self._open_early(on_failure)
            streams = self._find()
            if len(streams) < len(self._searches):
                return None
            validating()
            self._say(f"found {streams[0]}")
            try:
                connection = self._connect(streams, early, on_failure)
            except ConnectionLostError:
                for search, stream in zip(self._searches, streams, strict=True):
                    search.lost(stream)
                raise
            on_failure.pop_all()
            return connection

    def _open_early(self, on_failure: contextlib.ExitStack) -> Inlet | None:
        """Open the first stream that answers: its first window fills while a second one has time to answer.

        This is tried with one stream only; the state is not VALIDATING yet.
        """
        stream = self._searches[0].first() if self._can_open_early else None
        if stream is None:
            return None
        self._can_open_early = False
        try:
            inlet = Inlet(stream)
            on_failure.callback(inlet.close)
            inlet.start()
        except ConnectionLostError:
            self._searches[0].lost(stream)
            raise
        return inlet

    def _find(self) -> list[StreamInfo]:
        """Return the EEG stream and the cue stream, up to the first one that is missing."""
        streams: list[StreamInfo] = []
        for search in self._searches:
            stream = search.only_one()
            if stream is None:
                break
            streams.append(stream)
        if len(streams) == 1 < len(self._searches):
            line = f"found {streams[0]}; no cue stream yet: {self._config.cue.query}"
            if self._searches[1].has_ignored:
                line += " (an outlet of this process answers, but is never its input; choose another markers.name)"
            if line != self._said_of_cues:
                self._said_of_cues = line
                self._say(line)
        for cues in streams[1:]:
            if not is_marker_stream(format=cues.format, type=cues.type, sfreq_hz=cues.sfreq_hz):
                raise StreamRefusedError(
                    f"Cue stream {cues}: expected markers, which are strings, or numbers at no regular rate in a "
                    "stream of type Markers. Choose another stream; for a trigger channel of the EEG stream, use "
                    "--cue-channel."
                )
        return streams

    def _connect(
        self, streams: Sequence[StreamInfo], early: Inlet | None, on_failure: contextlib.ExitStack
    ) -> LslConnection:
        """Check the EEG stream, and open both."""
        eeg, *others = streams
        if early is not None and early.stream.uid == eeg.uid:
            inlet = early
        else:
            inlet = Inlet(eeg)
            on_failure.callback(inlet.close)
        changed = changes(self._before, inlet.description) if self._before is not None else ""
        mapping = check_stream(
            inlet.description,
            self._decoder.manifest,
            self._config.stream,
            interpolation=self._decoder.interpolation,
            cue_channel=self._config.cue.channel,
        )
        cue_inlet = None
        for cues in others:
            self._say(f"cues from {cues}")
            cue_inlet = MarkerInlet(cues)  # before the EEG: a task that waits for its reader may then send cues
            on_failure.callback(cue_inlet.close)
            cue_inlet.start()
        self._warn_of_another_head(inlet.description)
        inlet.open(
            order=mapping.order, factors=mapping.factors, counter=mapping.counter, cue_channel=mapping.cue_channel
        )
        for search, stream in zip(self._searches, streams, strict=True):
            search.connected(stream)
        self._before = inlet.description
        return LslConnection(inlet, cue_inlet, mapping, searches=self._searches, changed=changed)

    def _warn_of_another_head(self, found: Description) -> None:
        trained_on = self._decoder.manifest.training.subject
        if trained_on in ("", found.subject):  # most recordings name no subject, which is no reason to warn
            return
        head = f"subject {printable(found.subject)!r}" if found.subject else "a subject it does not name"
        self._say(
            f"WARNING: the bundle was trained on {trained_on!r}, the stream is of {head}. "
            "Unless it is the same head and montage, expect chance-level accuracy."
        )
