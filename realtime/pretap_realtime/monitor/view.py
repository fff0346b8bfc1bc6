"""View: everything that the page shows, and how much of it each browser has received. Pure; used by `follower`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pretap_realtime.decide.accuracy import JudgedMarker
from pretap_realtime.monitor.dashboard import Dashboard, DecisionRow, Event, Figures
from pretap_realtime.monitor.traces import Traces
from pretap_realtime.send.messages import ServiceDescription


class About(msgspec.Struct, frozen=True):
    """Describes the streams that are followed. Names are printable; `channels` and `places` belong together."""

    service: str = ""
    eeg: str = ""
    classes: tuple[str, ...] = ()
    bundle: str = ""
    trained_on: str = ""  # the subject of the bundle's training, or its data if they name none
    subject: str = ""  # of the EEG stream
    cued: bool = False  # the service decides at cues
    channels: tuple[str, ...] = ()
    decoder: tuple[str, ...] = ()  # the electrodes that the service uses
    electrodes: tuple[str, ...] = ()  # the names of the channels on the head map
    places: list[tuple[float, float] | None] = []
    unit: str = ""
    sfreq_hz: float = 0.0
    speed: float = 1.0
    markers: tuple[str, ...] = ()
    problem: str = ""  # why something is not followed
    rate_hz: float = 0.0  # of the frames, see `Traces`


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that is new for a browser."""

    fresh: bool = False  # another stream or service is followed: discard everything received before
    about: About | None = None
    decisions: list[DecisionRow] = []
    events: list[Event] = []
    judged: list[JudgedMarker] = []
    figures: Figures | None = None
    now: float = 0.0


@dataclass
class Cursor:
    """How much of a view a browser has received."""

    n_resets: int = -1
    about: About | None = None
    n_columns: int = 0
    n_decisions: int = 0
    n_events: int = 0
    n_judged: int = 0


class View:
    """The traces, the dashboard and the description of the streams.

    Attributes
    ----------
    followed
        The service, its classes and its description, as its stream tells them.
    """

    def __init__(self) -> None:
        self.dashboard = Dashboard()
        self.traces = Traces(n_channels=0, sfreq_hz=0.0)
        self.about = About()
        self.followed: tuple[str, tuple[str, ...], ServiceDescription] = "", (), ServiceDescription()
        self._n_resets = 0

    def describe_streams(self, **facts: Any) -> None:
        self.about = msgspec.structs.replace(self.about, **facts)

    def start_service(
        self,
        service: str,
        classes: tuple[str, ...],
        description: ServiceDescription = ServiceDescription(),  # noqa: B008 - frozen
    ) -> None:
        """Begin with an empty dashboard, unless the service is the same as before."""
        if (service, classes, description) != self.followed:
            self.followed = service, classes, description
            self.dashboard = Dashboard(classes, description)
            self._n_resets += 1

    def start_eeg(self, labels: Sequence[str], sfreq_hz: float) -> None:
        """Begin with empty traces, unless the channels and the rate are the same as before."""
        if (tuple(labels), sfreq_hz) != (self.about.channels, self.about.sfreq_hz):
            self.traces = Traces(n_channels=len(labels), sfreq_hz=sfreq_hz)
            self.describe_streams(rate_hz=self.traces.rate_hz)
            self._n_resets += 1

    def update(self, cursor: Cursor, *, now_s: float, with_figures: bool) -> tuple[Update, bytes, Cursor]:
        """Return everything after `cursor`, new columns as `Traces.frame`, and the next cursor."""
        is_new = cursor.n_resets != self._n_resets
        if is_new:
            cursor = Cursor(self._n_resets)
        board = self.dashboard
        update = Update(
            fresh=is_new,
            about=self.about if cursor.about != self.about else None,
            decisions=board.decisions.since(cursor.n_decisions),
            events=board.events.since(cursor.n_events),
            judged=board.judged.since(cursor.n_judged),
            figures=board.figures(now_s=now_s) if with_figures or is_new else None,
            now=now_s,
        )
        frame, n_columns = self.traces.frame(cursor.n_columns)
        counts = (n_columns, board.decisions.n, board.events.n, board.judged.n)
        return update, frame, Cursor(self._n_resets, self.about, *counts)
