"""Connecting to the stream that the configuration asks for: find exactly one, check it, open it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from pretap.config.serve import ServeConfig
from pretap.errors import StreamRefusedError
from pretap_realtime.lsl import library as lsl
from pretap_realtime.lsl.ahead import Ahead
from pretap_realtime.signal.chunk import Chunk, Cue
from pretap_realtime.signal.compatibility import Description, Mapping, changes, check_stream, printable

if TYPE_CHECKING:
    from pretap.decoder.decoder import Decoder

__all__ = ["Connector", "Looks", "LslConnection"]

_CORRECTION_EVERY_S = 5.0


class LslConnection:
    """An EEG inlet, and the cue inlet where cues are asked for; losing either loses the connection.

    `changed` says in what it differs from the one before.
    """

    def __init__(
        self, inlet: lsl.Inlet, cues: lsl.MarkerInlet | None, mapping: Mapping, *, looks: Looks, changed: str
    ) -> None:
        self.description, self.mapping, self.changed = inlet.description, mapping, changed
        self._inlet, self._cues, self._looks = inlet, cues, looks
        self._correction_s: float | None = 0.0
        self._closed = threading.Event()
        if self.description.speed != 1.0:
            self._correction_s = None
        elif not inlet.is_local:
            # The first correction takes 0.6 s, so it is not asked for in the loop; until then no latency is known.
            self._correction_s = None
            threading.Thread(target=self._follow_clock, name="clock", daemon=True).start()

    def pull(self, timeout_s: float, n_wanted: int = 1) -> Chunk | None:
        return self._inlet.pull(timeout_s, n_wanted)

    @property
    def inlet(self) -> lsl.Inlet:
        return self._inlet

    @property
    def n_most(self) -> int:
        return self._inlet.n_most

    def newcomers(self) -> list[str]:
        return self._looks.newcomers()

    @property
    def has_cues(self) -> bool:
        return self._cues is not None

    def pull_cues(self) -> list[Cue]:
        return self._cues.pull() if self._cues is not None else []

    def clock_offset_s(self) -> float | None:
        return self._correction_s

    def close(self) -> None:
        self._closed.set()
        self._inlet.close()
        if self._cues is not None:
            self._cues.close()

    def _follow_clock(self) -> None:
        while not self._closed.is_set():
            try:
                self._correction_s = self._inlet.time_correction(_CORRECTION_EVERY_S)
            except lsl.ConnectionLostError:
                return
            self._closed.wait(_CORRECTION_EVERY_S)


class Looks:
    """Looks for the streams of a configuration, from now on all the time: so a second one that comes later is seen.

    What was asked `ahead` was its stream.query.
    """

    def __init__(self, config: ServeConfig, *, ahead: Ahead | None = None) -> None:
        queries = {"stream.query": config.stream.query} | ({"cue.query": config.cue.query} if config.cue.query else {})
        self._queries = {key: lsl.parse_query(query) for key, query in queries.items()}
        self._watches = {
            key: lsl.Watch(query, ahead=ahead if key == "stream.query" else None)
            for key, query in self._queries.items()
        }
        self._first = set(self._queries)  # nobody has looked for these yet
        self._unhurried = set(self._queries)  # nor asked what answers first
        self._lost: dict[str, lsl.Found] = {}  # what was connected last
        self._seen: set[str] = set()  # uids of what was connected or announced

    def open_first(self, key: str) -> lsl.Inlet | None:
        """Open the stream that answers first, where nobody has looked yet; `only_one` tells whether another does."""
        if key not in self._unhurried:
            return None
        self._unhurried.discard(key)  # once: a watch still lists what has ended
        return self._watches[key].open_first()

    def only_one(self, key: str) -> lsl.Found | None:
        """Give the one stream that answers to the query `key`, None where none does.

        Raises
        ------
        StreamRefusedError
            Where several answer, or another stream stands where the lost one was.
        """
        found = self._return_of(key) if key in self._lost else self._newcomer(key)
        if len(found) > 1:
            raise StreamRefusedError(
                f"{len(found)} streams answer to {key}:\n  {lsl.listing(found)}\nAsk for one of them, such as "
                "source_id=...; deciding on the wrong head would be worse than not starting."
            )
        return found[0] if found else None

    def _newcomer(self, key: str) -> list[lsl.Found]:
        if key in self._first:
            self._first.discard(key)
            found = self._watches[key].first_look()
            if len(found) == 1:
                return found
        return lsl.find(self._queries[key])  # a watch may still list what is gone

    def _return_of(self, key: str) -> list[lsl.Found]:
        """Look at once: a twin that was there before is known to the watch, one that comes now will be announced."""
        lost, query = self._lost[key], self._queries[key]
        others = [found for found in self._watches[key].found() if found.uid not in self._seen]
        if len(others) > 1:
            return lsl.find(query)
        if others:
            self._seen.add(others[0].uid)  # where it died meanwhile, a second try would fail like the first
            return others
        found, alike = lsl.find_return(query, lost)
        if alike and not found:
            raise StreamRefusedError(_not_the_one(query, alike[0], lost))
        return found

    def connecting(self, key: str, found: lsl.Found) -> None:
        """Note that a stream is being connected to: what is lost from now on."""
        self._seen.add(found.uid)
        self._lost[key] = found

    def newcomers(self) -> list[str]:
        """Name each stream that has come to answer to a query beside the one that is connected; each once."""
        told = []
        for key, watch in self._watches.items():
            for found in watch.found():
                if found.uid not in self._seen:
                    self._seen.add(found.uid)
                    told.append(f"another stream answers to {key}: {found}; still connected to {self._lost[key]}")
        return told


def _not_the_one(query: dict[str, str], found: lsl.Found, lost: lsl.Found) -> str:
    wrong = [
        f"expected {key} {value!r}, found {printable(getattr(found, key))!r}"
        for key, value in query.items()
        if getattr(found, key) != value
    ]
    return (
        f"Stream {found} stands where {printable(lost.source_id)!r} was lost, but is another one: {', '.join(wrong)}. "
        "Bring the first one back, or ask for this one (stream.query)."
    )


class Connector:
    """Tries to connect, once per call."""

    def __init__(self, decoder: Decoder, config: ServeConfig, *, looks: Looks, say: Callable[[str], None]) -> None:
        self._decoder, self._config, self._looks, self._say = decoder, config, looks, say
        self._told = False  # that only the cue stream is missing
        self._before: Description | None = None  # of the last stream

    def __call__(self, validating: Callable[[], None]) -> LslConnection | None:
        """Look for at most half a second; None where a stream is missing.

        Raises
        ------
        StreamRefusedError
            When several streams answer, the one that does does not fit, or another one stands where it was.
        """
        inlet = None
        if not self._config.cue.query:  # cues open before the EEG
            # The first window fills while it is seen whether another stream answers too.
            inlet = self._looks.open_first("stream.query")
        eeg = self._looks.only_one("stream.query")
        if eeg is None:
            return None
        cue = None
        if self._config.cue.query:
            cue = self._looks.only_one("cue.query")
            if cue is None:
                if not self._told:
                    self._told = True
                    self._say(f"found {eeg}; no cue stream yet: {self._config.cue.query}")
                return None
            if cue.format != "string" or cue.n_channels != 1:
                raise StreamRefusedError(f"Cue stream {cue}: expected one channel of strings.")
        validating()
        self._say(f"found {eeg}")
        if inlet is None or inlet.found.uid != eeg.uid:
            inlet = lsl.Inlet(eeg)
        changed = changes(self._before, inlet.description) if self._before is not None else ""
        mapping = check_stream(
            inlet.description,
            self._decoder.manifest,
            self._config.stream,
            interpolation=self._decoder.interpolation,
        )
        cues = None
        if cue is not None:
            self._say(f"cues from {cue}")
            cues = lsl.MarkerInlet(cue)  # before the EEG: whoever waits for its reader may send cues from then on
            cues.open()
            self._looks.connecting("cue.query", cue)
        self._warn_of_another_head(inlet.description)
        inlet.open(order=mapping.order, factors=mapping.factors, counter=mapping.counter)
        self._looks.connecting("stream.query", eeg)
        self._before = inlet.description
        return LslConnection(inlet, cues, mapping, looks=self._looks, changed=changed)

    def _warn_of_another_head(self, found: Description) -> None:
        trained_on = self._decoder.manifest.training.subject
        if found.subject and found.subject == trained_on:
            return
        who = f"subject {printable(found.subject)!r}" if found.subject else "a subject it does not name"
        self._say(
            f"WARNING: the bundle was trained on {trained_on or 'an unnamed subject'!r}, the stream is of {who}. "
            "Unless it is the same head and montage, expect chance."
        )
