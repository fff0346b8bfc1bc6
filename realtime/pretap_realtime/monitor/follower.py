"""Follower: finds the EEG stream, the outlets of a service and the markers of other programs, and reads them.

Every timestamp is brought to this machine's clock: each stream may come from another computer.

Used by `server`. One thread resolves and connects, which may block; another reads new samples forty times a second.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.errors import StreamRefusedError
from pretap.signal.channels import electrode_names, unit_factor
from pretap_realtime.console.stopping import Stop
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import Inlet, MarkerInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.monitor.choice import Selection, choose
from pretap_realtime.monitor.dashboard import MAX_LABEL
from pretap_realtime.monitor.positions import positions
from pretap_realtime.monitor.rate import RateMeasurement
from pretap_realtime.monitor.view import Cursor, Update, View
from pretap_realtime.send.messages import ServiceDescription
from pretap_realtime.send.service_outlets import service_of
from pretap_realtime.signal.chunk import Cue
from pretap_realtime.signal.compatibility import Description, printable

_READ_S: Final = 0.025
_RESOLVE_S: Final = 0.3
_RETRY_S: Final = 2.0  # before a stream that failed is tried again
_FORGOTTEN_S: Final = 6.0  # a watch lists a stream for five seconds after its end
_MAX_CHANNELS: Final = 256
_NUMBER_ROLES: Final = {"probabilities", "codes"}
_SERVICE_ROLES: Final = {"messages", "probabilities"}
_NOTHING: Final = "", (), ServiceDescription()
_MAX_SPEED: Final = 1000.0


class Follower:
    """Follows one service; `update` returns what is new, for any number of browsers."""

    def __init__(self, selection: Selection, *, stop: Stop) -> None:
        self._selection, self._stop = selection, stop
        self._lock = threading.Lock()  # protects everything below
        self._view = View()
        self._inlets: dict[str, Inlet | MarkerInlet] = {}  # by role
        self._skipped: dict[str, tuple[float, str]] = {}  # by uid: until when a stream is not tried, and why
        self._has_latency = False  # the EEG runs in real time
        self._unmeasured: RateMeasurement | None = None  # of an EEG stream whose nominal rate is 0

    def start(self) -> None:
        for target, name in ((self._resolve, "resolve"), (self._read, "read")):
            threading.Thread(target=target, name=name, daemon=True).start()

    def update(self, cursor: Cursor, *, with_figures: bool) -> tuple[Update, bytes, Cursor]:
        """Return what is new since `cursor`, see `View.update`."""
        with self._lock:
            return self._view.update(cursor, now_s=local_clock(), with_figures=with_figures)

    # -- finding and connecting ----------------------------------------------------------------------------------------

    def _resolve(self) -> None:
        watch = StreamResolver()
        while not self._stop.wait(_RESOLVE_S):
            now_s = local_clock()
            with self._lock:
                self._skipped = {uid: each for uid, each in self._skipped.items() if each[0] > now_s}
                skipped, connected, reads_numbers = set(self._skipped), set(self._inlets), self._reads_numbers()
                followed, _, description = self._view.followed if connected & _SERVICE_ROLES else _NOTHING
            found = [each for each in watch.streams() if each.uid not in skipped]
            choice = choose(
                found, self._selection, followed=followed, has_eeg="eeg" in connected, description=description
            )
            for role, stream in choice.streams.items():
                if role not in connected and (reads_numbers or role not in _NUMBER_ROLES):
                    self._connect(role, stream)
            with self._lock:
                for role in {f"marker {each.uid}" for each in found} & self._inlets.keys() - choice.streams.keys():
                    self._inlets.pop(role).close()  # of another player
                names = {printable(inlet.stream.name) for role, inlet in self._inlets.items() if "marker " in role}
                self._view.dashboard.set_why_not_judged(choice.why_not_judged)
                reasons = [why for _, why in self._skipped.values() if why]
                problem = " ".join([*choice.problems, *reasons][:5])
                self._view.describe_streams(problem=problem, markers=tuple(sorted(names)))

    def _connect(self, role: str, stream: StreamInfo) -> None:
        """Connect to a stream; if that fails, skip it for a while."""
        try:
            inlet = _open(role, stream)
        except (ConnectionLostError, StreamRefusedError) as error:
            why = "" if isinstance(error, ConnectionLostError) else printable(str(error), limit=300)
            with self._lock:
                self._skipped[stream.uid] = local_clock() + _RETRY_S, why
            return
        with self._lock:
            self._show(role, inlet)
            self._inlets[role] = inlet

    def _show(self, role: str, inlet: Inlet | MarkerInlet) -> None:
        """Update the view for a new inlet."""
        view = self._view
        if isinstance(inlet, MarkerInlet):
            return
        if role == "eeg":
            self._show_eeg(inlet)
        elif role == "probabilities":
            service, description = service_of(inlet.stream), _service(inlet.description)
            view.start_service(service, _labels(inlet.description)[:-1], description)
            view.describe_streams(
                service=printable(service),
                classes=view.dashboard.classes,
                bundle=printable(description.bundle),
                trained_on=printable(description.subject or description.data),
                decoder=tuple(
                    printable(name, limit=MAX_LABEL) for name in electrode_names(description.channels[:_MAX_CHANNELS])
                ),
                cued=description.is_cued,
            )

    def _show_eeg(self, inlet: Inlet) -> None:
        description = inlet.description
        labels = tuple(printable(label, limit=MAX_LABEL) for label in _labels(description))
        self._view.start_eeg(labels, description.sfreq_hz)
        self._unmeasured = None if description.sfreq_hz else RateMeasurement()
        speed = description.speed if 0 < description.speed <= _MAX_SPEED else 1.0
        self._has_latency = speed == 1.0
        self._view.describe_streams(
            eeg=printable(description.name),
            subject=printable(description.subject),
            channels=labels,
            electrodes=tuple(electrode_names(labels)),
            places=positions(labels),
            unit="" if None in _factors(description) else "µV",
            sfreq_hz=description.sfreq_hz,
            speed=speed,
        )

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        while not self._stop.wait(_READ_S):
            with self._lock:
                for role, inlet in list(self._inlets.items()):
                    try:
                        self._pull(role, inlet)
                    except ConnectionLostError:
                        self._disconnect(role)
                if not self._reads_numbers():
                    for role in _NUMBER_ROLES & self._inlets.keys():
                        self._inlets.pop(role).close()
                self._view.dashboard.judge_markers(now_s=local_clock())

    def _reads_numbers(self) -> bool:
        """Whether to read the probabilities and codes: each reader of these streams delays the service's decisions.

        Only their descriptions contain the classes, so they are read until those are known, even if messages arrive.
        """
        return not (self._view.dashboard.has_messages and self._view.followed[0])

    def _pull(self, role: str, inlet: Inlet | MarkerInlet) -> None:
        now_s, board = local_clock(), self._view.dashboard
        offset_s = inlet.clock_offset_s()
        if offset_s is None:  # liblsl keeps what comes meanwhile
            return
        if isinstance(inlet, MarkerInlet):
            for marker in inlet.pull(0.0):
                if role == "messages":
                    board.add_message(marker.text, now_s=now_s, offset_s=offset_s, has_latency=self._has_latency)
                else:
                    board.add_marker(Cue(marker.t_s + offset_s, marker.text), now_s=now_s)
            return
        chunk = inlet.pull(0.0)
        if chunk is None:
            return
        t_s = chunk.t_s + offset_s  # (n_new,)
        if role == "eeg":
            self._show_samples(chunk.x_uv, t_s)
        elif role == "probabilities":
            board.add_probabilities(chunk.x_uv, t_s, now_s=now_s)
        else:
            board.add_codes(chunk.x_uv[:, 0].tolist(), t_s.tolist())

    def _show_samples(self, x_uv: NDArray[np.float32], t_s: NDArray[np.float64]) -> None:
        """Add EEG to the traces, once its rate is known."""
        if self._unmeasured is not None:
            self._unmeasured.append(x_uv, t_s)
            rate_hz = self._unmeasured.rate_hz()
            if not rate_hz:
                return
            self._view.start_eeg(self._view.about.channels, rate_hz)
            self._view.describe_streams(sfreq_hz=rate_hz)
            (x_uv, t_s), self._unmeasured = self._unmeasured.samples(), None
        self._view.traces.append(x_uv, t_s)

    def _disconnect(self, role: str) -> None:
        """Close the inlet of a stream that has ended; the page keeps what it has shown."""
        inlet, now_s = self._inlets.pop(role), local_clock()
        self._skipped[inlet.stream.uid] = now_s + _FORGOTTEN_S, ""
        inlet.close()
        if role == "eeg":
            self._view.dashboard.add_note(f"The EEG stream {self._view.about.eeg} has ended.", t_s=now_s)
        elif role == "messages":
            self._view.dashboard.has_messages = False  # the next service may send other streams
            self._view.dashboard.add_note(f"The service {self._view.about.service} has ended.", t_s=now_s)


def _open(role: str, stream: StreamInfo) -> Inlet | MarkerInlet:
    if role == "messages" or role.startswith("marker "):
        markers = MarkerInlet(stream)
        markers.start()
        return markers
    inlet = Inlet(stream)
    n = inlet.description.n_channels
    if n > _MAX_CHANNELS:
        raise StreamRefusedError(f"The page can show at most {_MAX_CHANNELS} channels; {stream} has {n}.")
    inlet.open(order=range(n), factors=[f or 1.0 for f in _factors(inlet.description)] if role == "eeg" else [1.0] * n)
    return inlet


def _service(description: Description) -> ServiceDescription:
    """Return how a service decides; nothing is known if it does not tell, or not in its own format."""
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(description.service, type=ServiceDescription)
    return ServiceDescription()


def _labels(description: Description) -> tuple[str, ...]:
    n = description.n_channels
    return description.labels if len(description.labels) == n else tuple(f"channel {k + 1}" for k in range(n))


def _factors(description: Description) -> list[float | None]:
    """Return the factor that converts each channel to microvolts, None if the unit is unknown."""
    if len(description.units) != description.n_channels:
        return [None] * description.n_channels
    return [unit_factor(unit) for unit in description.units]
