"""OutletSink: turns messages into rows of the three LSL streams of a service. Used by `serve` and the fast path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from pretap_realtime.send.messages import ServiceDescription, encode
from pretap_realtime.send.outlet_group import OutletGroup
from pretap_realtime.send.sink import Outgoing

_EARLY_S: Final = 0.9  # the heartbeat after a second opens the outlets


class OutletSink:
    """The streams ``<name>-markers``, ``<name>-codes`` and ``<name>-probabilities``, see docs/outputs.md.

    A thread may hang in it forever, because a peer froze an outlet (liblsl #156).

    For an invalid window the codes stream sends 0 and the probabilities stream a row of zeros with quality 0. So no
    class passes any threshold, and no reader has to handle NaN. Otherwise the quality is the share of good electrodes,
    see `pretap_realtime.signal.chunk.Decision`.

    The outlets open when the service is connected, or after a second without a stream. LSL fixes a description when an
    outlet opens, and this way it tells of the resampling from the first sample on. If a stream comes later at another
    rate, they open again.

    Parameters
    ----------
    service
        What the descriptions of the streams tell the monitor, such as what a marker ``1`` means.

    Attributes
    ----------
    group
        The outlets. C code sends probabilities to one of them itself, see `Outgoing.is_sent`.
    """

    def __init__(
        self,
        name: str,
        *,
        classes: Sequence[str],
        format: Literal["json", "label"],  # noqa: A002
        sha256: str,
        service: ServiceDescription = ServiceDescription(),  # noqa: B008 - frozen
    ) -> None:
        self._is_json = format == "json"
        about = msgspec.json.encode(service).decode()
        identity = {"bundle/sha256": sha256, "classes": ",".join(classes), "service": about}
        self.group = OutletGroup(name, classes=classes, marker_format=format, identity=identity)
        self._facts: dict[str, str] = {}
        self._is_open = False  # the outlets are open, or noted to be opened
        self._first_s: float | None = None  # when the first message was sent

    def send_probabilities(self, items: Sequence[Outgoing]) -> None:
        """Send the probabilities of the verdicts, unless the outlets are about to change; `send` with all follows."""
        if not self._is_open or any(item.facts is not None for item in items):
            return
        self._note_probabilities(items)
        self.group.work()

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Send codes and messages, and the probabilities if they are not sent yet."""
        ready: list[Outgoing] = []
        for item in batch:
            message = item.message
            if item.facts is not None:
                self._note(ready)
                ready = []
                if self._is_open and item.facts != self._facts:
                    self.group.note_open(item.facts)
                self._facts = dict(item.facts)
            if self._is_open:
                ready.append(item)
                continue
            if self._first_s is None:
                self._first_s = message.sent
            is_early = message.sent - self._first_s < _EARLY_S
            if message.state not in ("WAITING", "VALIDATING") or not is_early:
                self.group.note_open(self._facts)
                self._is_open = True  # no reader can have found them when this message goes out
        self._note(ready)
        self.group.work()

    def _note(self, batch: Sequence[Outgoing]) -> None:
        """Note the rows of each outlet. Rows for markers and codes are made only if there are readers."""
        self._note_probabilities(batch)
        verdicts = [item for item in batch if item.message.type == "verdict"]
        if self.group.has_readers("codes"):
            self.group.note("codes", [(item.code,) for item in verdicts], _timestamps(verdicts))
        if self.group.has_readers("markers"):
            told = batch if self._is_json else verdicts
            texts = [(encode(item.message) if self._is_json else item.message.label,) for item in told]
            self.group.note("markers", texts, _timestamps(told))

    def _note_probabilities(self, batch: Sequence[Outgoing]) -> None:
        unsent = [item for item in batch if item.row and not item.is_sent]
        self.group.note("probabilities", [item.row for item in unsent], _timestamps(unsent))
        for item in unsent:
            item.is_sent = True


def _timestamps(batch: Sequence[Outgoing]) -> list[float]:
    return [item.message.t for item in batch]
