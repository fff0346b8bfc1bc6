"""Finds the EEG stream, the service's three outlets and the markers of others, and reads them: an ordinary LSL client.

One thread looks and connects, which may block; another reads what is there, forty times a second.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from pretap.errors import StreamRefusedError
from pretap.signal.channels import electrode_names, unit_factor
from pretap_realtime.console.stopping import Stop
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import Inlet, MarkerInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.monitor.board import Board, DecisionRow, Event, Figures
from pretap_realtime.monitor.choice import choose, service_of
from pretap_realtime.monitor.traces import COLUMNS_PER_S, Traces
from pretap_realtime.monitor.truths import Judged
from pretap_realtime.signal.compatibility import Description, printable

__all__ = ["About", "Follower", "Place", "Update", "positions"]

_READ_S: Final = 0.025
_LOOK_S: Final = 0.3
_AGAIN_S: Final = 2.0  # before a stream that failed is tried anew
_FORGOTTEN_S: Final = 6.0  # a watch lists a stream that ended for five seconds
_MAX_CHANNELS: Final = 256
_NUMBERS: Final = {"probabilities", "codes"}  # roles
_MAX_SPEED: Final = 1000.0


class About(msgspec.Struct, frozen=True):
    """What is followed: names are harmless text, `channels` and `places` belong together."""

    service: str = ""
    eeg: str = ""
    classes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    electrodes: tuple[str, ...] = ()  # their names as the head map has them
    places: list[tuple[float, float] | None] = []
    unit: str = ""
    sfreq_hz: float = 0.0
    speed: float = 1.0
    markers: tuple[str, ...] = ()
    problem: str = ""  # why something is not followed
    columns_per_s: int = COLUMNS_PER_S


@dataclass
class Place:
    """Up to where a page has been told."""

    era: int = -1
    n_abouts: int = 0
    n_columns: int = 0
    n_decisions: int = 0
    n_events: int = 0
    n_judged: int = 0

    def begin(self, era: int) -> None:
        """Forget what was told."""
        self.era = era
        self.n_abouts = self.n_columns = self.n_decisions = self.n_events = self.n_judged = 0


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is new for a page."""

    fresh: bool = False  # forget all that was told before: another stream or service is followed
    about: About | None = None
    decisions: list[DecisionRow] = []
    events: list[Event] = []
    judged: list[Judged] = []
    figures: Figures | None = None
    now: float = 0.0


class Follower:
    """Follows one service; `update` gives what is new to any number of pages.

    Parameters
    ----------
    name
        Of the service (``markers.name``); empty: the only one there is.
    stream
        Query of the EEG stream.
    markers
        Query of the marker stream that tells the truth; None: all of one string channel that are no service's.
    """

    def __init__(self, *, name: str, stream: dict[str, str], markers: dict[str, str] | None, stop: Stop) -> None:
        self._name, self._stream, self._markers, self._stop = name, stream, markers, stop
        self._lock = threading.Lock()  # holds: everything below
        self._board = Board()
        self._traces: Traces | None = None
        self._about = About()
        self._n_abouts = 1  # counts what `about` has been
        self._era = 0  # counts what makes a page begin anew
        self._inlets: dict[str, Inlet | MarkerInlet] = {}
        self._connected: dict[str, StreamInfo] = {}  # what the inlets read
        self._followed: tuple[str, tuple[str, ...]] = "", ()  # the service and its classes
        self._aside: dict[str, tuple[float, str]] = {}  # uid of what is not tried: until when, and why
        self._is_local = False

    def start(self) -> None:
        for target, name in ((self._look, "look"), (self._read, "read")):
            threading.Thread(target=target, name=name, daemon=True).start()

    def update(self, place: Place, *, with_figures: bool) -> tuple[Update, bytes]:
        """Give what is new since `place`, which moves on; the bytes are `Traces.frame`."""
        with self._lock:
            is_new = place.era != self._era
            if is_new:
                place.begin(self._era)
            board, now_s = self._board, local_clock()
            update = Update(
                fresh=is_new,
                about=self._about if place.n_abouts != self._n_abouts else None,
                decisions=board.decisions.since(place.n_decisions),
                events=board.events.since(place.n_events),
                judged=board.judged.since(place.n_judged),
                figures=msgspec.structs.replace(board.figures(now_s=now_s)) if with_figures or is_new else None,
                now=now_s,
            )
            frame = self._traces.frame(place.n_columns) if self._traces is not None else b""
            place.n_abouts = self._n_abouts
            place.n_decisions, place.n_events, place.n_judged = board.decisions.n, board.events.n, board.judged.n
            place.n_columns = self._traces.n if self._traces is not None else 0
        return update, frame

    # -- finding and connecting ----------------------------------------------------------------------------------------

    def _look(self) -> None:
        watch = StreamResolver()
        while not self._stop.wait(_LOOK_S):
            now_s = local_clock()
            with self._lock:
                self._aside = {uid: each for uid, each in self._aside.items() if each[0] > now_s}
                aside, connected, reads_numbers = dict(self._aside), dict(self._connected), self._reads_numbers()
                followed = self._followed[0] if "messages" in connected or "probabilities" in connected else ""
            wanted, problems = choose(
                [each for each in watch.streams() if each.uid not in aside],
                name=self._name,
                stream=self._stream,
                markers=self._markers,
                followed=followed,
                has_eeg="eeg" in connected,
            )
            for role, stream in wanted.items():
                if role not in connected and (reads_numbers or role not in _NUMBERS):
                    self._connect(role, stream)
            with self._lock:
                self._say(problem=" ".join([*problems, *(why for _, why in self._aside.values() if why)][:5]))

    def _connect(self, role: str, stream: StreamInfo) -> None:
        """Connect one stream; where that fails, leave it aside for a while."""
        try:
            if role == "messages" or role.startswith("marker "):
                inlet: Inlet | MarkerInlet = _opened_markers(stream)
            else:
                inlet = _opened_numbers(stream, as_microvolts=role == "eeg")
        except (ConnectionLostError, StreamRefusedError) as error:
            why = "" if isinstance(error, ConnectionLostError) else printable(str(error), limit=300)
            with self._lock:
                self._aside[stream.uid] = local_clock() + _AGAIN_S, why
            return
        with self._lock:
            self._begin(role, stream, inlet)
            self._inlets[role], self._connected[role] = inlet, stream

    def _begin(self, role: str, stream: StreamInfo, inlet: Inlet | MarkerInlet) -> None:
        """Note what a new inlet changes for the page."""
        if role == "eeg":
            assert isinstance(inlet, Inlet)
            self._begin_eeg(inlet)
        elif role == "probabilities":
            assert isinstance(inlet, Inlet)
            service, classes = service_of(stream), _labels(inlet.description)[:-1]
            if (service, classes) != self._followed:
                self._followed = service, classes
                self._board.begin(classes)
                self._era += 1
            self._say(service=printable(service), classes=self._board.classes)
        elif role.startswith("marker "):
            self._say(markers=tuple(sorted({*self._about.markers, printable(stream.name)})))

    def _begin_eeg(self, inlet: Inlet) -> None:
        description = inlet.description
        labels = tuple(printable(label, limit=20) for label in _labels(description))
        before = self._about
        if self._traces is None or (labels, description.sfreq_hz) != (before.channels, before.sfreq_hz):
            self._traces = Traces(n_channels=description.n_channels, sfreq_hz=description.sfreq_hz)
            self._era += 1
        speed = description.speed if 0 < description.speed <= _MAX_SPEED else 1.0
        self._is_local = inlet.is_local and speed == 1.0
        self._say(
            eeg=printable(description.name),
            channels=labels,
            electrodes=tuple(electrode_names(labels)),
            places=positions(labels),
            unit="µV" if _knows_unit(description) else "",
            sfreq_hz=description.sfreq_hz,
            speed=speed,
        )

    def _say(self, **facts: Any) -> None:
        about = msgspec.structs.replace(self._about, **facts)
        if about != self._about:
            self._about = about
            self._n_abouts += 1

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not self._stop.wait(_READ_S):
            with self._lock:
                for role, inlet in list(self._inlets.items()):
                    try:
                        self._take(role, inlet)
                    except ConnectionLostError:
                        self._lose(role)
                if not self._reads_numbers():
                    for role in _NUMBERS & self._inlets.keys():
                        self._inlets.pop(role).close()
                        del self._connected[role]
                self._board.judge(now_s=local_clock())

    def _reads_numbers(self) -> bool:
        """Say whether the streams of numbers are to be read: each reader of them delays the service's decisions.

        The classes are only in their descriptions, so until those are known: a message may come first.
        """
        return not (self._board.has_messages and self._followed[0])

    def _take(self, role: str, inlet: Inlet | MarkerInlet) -> None:
        now_s = local_clock()
        if isinstance(inlet, MarkerInlet):
            for marker in inlet.pull(0.0):
                if role == "messages":
                    self._board.add_message(marker.text, now_s=now_s, latency_known=self._is_local)
                else:
                    self._board.add_marker(marker, now_s=now_s)
            return
        chunk = inlet.pull(0.0)
        if chunk is None:
            return
        if role == "eeg":
            assert self._traces is not None
            self._traces.push(chunk.x_uv, chunk.t_s)
        elif role == "probabilities":
            self._board.add_rows(chunk.x_uv, chunk.t_s, now_s=now_s)
        else:
            self._board.add_codes(chunk.x_uv[:, 0].tolist(), chunk.t_s.tolist())

    def _lose(self, role: str) -> None:
        """Let go of a stream that ended; what it has shown stays."""
        inlet, stream = self._inlets.pop(role), self._connected.pop(role)
        self._aside[stream.uid] = local_clock() + _FORGOTTEN_S, ""
        inlet.close()
        if role == "eeg":
            self._board.note(f"the EEG stream {self._about.eeg} ended", t_s=local_clock())
        elif role == "messages":
            self._board.has_messages = False  # the next one may be of another kind
            self._board.note(f"the service {self._about.service} ended", t_s=local_clock())


def _opened_markers(stream: StreamInfo) -> MarkerInlet:
    inlet = MarkerInlet(stream)
    inlet.start()
    return inlet


def _opened_numbers(stream: StreamInfo, *, as_microvolts: bool) -> Inlet:
    inlet = Inlet(stream)
    n = inlet.description.n_channels
    if n > _MAX_CHANNELS:
        raise StreamRefusedError(f"{n} channels are too many for a page: at most {_MAX_CHANNELS}")
    inlet.open(order=range(n), factors=_factors(inlet.description) if as_microvolts else [1.0] * n)
    return inlet


def _labels(description: Description) -> tuple[str, ...]:
    n = description.n_channels
    return description.labels if len(description.labels) == n else tuple(f"channel {k + 1}" for k in range(n))


def _knows_unit(description: Description) -> bool:
    units = description.units
    return len(units) == description.n_channels and all(unit_factor(unit) is not None for unit in units)


def _factors(description: Description) -> list[float]:
    """Give what makes each channel microvolts; 1 where the unit is not known."""
    if len(description.units) != description.n_channels:
        return [1.0] * description.n_channels
    return [unit_factor(unit) or 1.0 for unit in description.units]


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[float, float]]:
    return tomllib.loads(Path(__file__).with_name("positions.toml").read_text(encoding="utf-8"))


def positions(labels: Sequence[str]) -> list[tuple[float, float] | None]:
    """Return x (to the right ear) and y (to the nose) of each label, None for no electrode; see positions.toml."""
    return [_table().get(name) for name in electrode_names(labels)]
