"""Where a replay goes: an EEG outlet that may be closed and opened anew, a marker outlet, and an account of it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from pretap.files import write_json
from pretap.recordings.recording import Recording
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.replay.faults import Mishap, Wiring
from pretap_realtime.replay.pieces import Piece

__all__ = ["COUNTER_WRAPS_AT", "Account", "LslFeed"]

COUNTER_WRAPS_AT = 1 << 24  # beyond, a float32 does not count in ones
_UNITS = {"uV": "microvolts", "mV": "millivolts", "V": "volts"}


class Connected(msgspec.Struct, frozen=True):
    """An outlet's life on LSL's clock, and which samples of the device were pushed into it."""

    from_s: float
    unit: str
    channels: tuple[str, ...]
    first_n: int = -1
    last_n: int = -1
    to_s: float | None = None


class Lost(msgspec.Struct, frozen=True):
    """Samples of the device that were not pushed: from `first_n` on."""

    first_n: int
    n_samples: int


class Account(msgspec.Struct):
    """What a replay did, exactly: ``n_taken = n_sent + n_lost``.

    `t0_s` is the LSL time from which the seconds of the mishaps count. `n_taken` ends with the last sample that was
    pushed, `n_nonfinite` counts the samples with a NaN among those sent. The samples of `mishaps` are those that were
    planned: what a gap would have taken while the outlet was away was lost once.
    """

    t0_s: float = 0.0
    n_taken: int = 0
    n_sent: int = 0
    n_lost: int = 0
    n_nonfinite: int = 0
    n_markers: int = 0
    lost: list[Lost] = []
    connected: list[Connected] = []
    mishaps: list[Mishap] = []

    def add(self, piece: Piece, t0_s: float) -> None:
        """Take a piece that was pushed."""
        self.t0_s = t0_s
        self.n_markers += len(piece.markers)
        n = len(piece.x_uv)
        if not n:
            return
        if n_lost := piece.first_n - self.n_taken:
            self.lost.append(Lost(self.n_taken, n_lost))
            self.n_lost += n_lost
        self.n_taken = piece.first_n + n
        self.n_sent += n
        self.n_nonfinite += int((~np.isfinite(piece.x_uv).all(axis=1)).sum())
        now = self.connected[-1]
        first_n = piece.first_n if now.first_n < 0 else now.first_n
        self.connected[-1] = msgspec.structs.replace(now, first_n=first_n, last_n=self.n_taken - 1)

    @property
    def in_words(self) -> str:
        sent = f"{self.n_sent} samples and {self.n_markers} markers sent"
        if not self.mishaps:
            return sent
        kinds = [mishap.kind for mishap in self.mishaps if mishap.kind != "connect"]
        counts = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
        return f"{sent}; of {self.n_taken} samples {self.n_lost} were lost, {self.n_nonfinite} have NaN; {counts}"

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, self)


class LslFeed:
    """An EEG outlet and its marker outlet.

    With `counter` the EEG outlet has one more channel of that name, the last: the number of the sample, which starts
    again after 2^24. The account is written to `report` when the first piece goes out, so that a replay that is killed
    leaves its `t0_s`, and by `close`.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        name: str,
        speed: float,
        unit: str,
        counter: str | None = None,
        report: Path | None = None,
        say: Callable[[str], None],
    ) -> None:
        self._facts = {"simulated": "true", "speed": f"{speed:g}", "source": recording.source}
        if recording.subject:
            self._facts["subject/id"] = recording.subject
        self.account = Account()
        self._name, self._counter, self._report, self._say = name, counter, report, say
        self._channels, self._sfreq_hz = recording.channels, recording.sfreq_hz
        order = tuple(range(len(recording.channels)))
        self._wiring = Wiring(unit, order, unit, order)
        self._eeg: Outlet | None = None
        self._connect()
        self._markers = Outlet(
            f"{name}-markers",
            "Markers",
            labels=["marker"],
            format="string",
            source_id=f"pretap-replay:{name}-markers",
            facts=self._facts,
        )

    def _connect(self) -> None:
        labels = tuple(self._channels[i] for i in self._wiring.said_order)
        if self._counter is not None:
            labels = (*labels, self._counter)
        self._eeg = Outlet(
            self._name,
            "EEG",
            labels=labels,
            format="float32",
            sfreq_hz=self._sfreq_hz,
            unit=_UNITS[self._wiring.said_unit],
            source_id=f"pretap-replay:{self._name}",
            facts=self._facts,
        )
        self.account.connected.append(Connected(local_clock(), self._wiring.said_unit, labels))

    def has_reader(self) -> bool:
        return self._eeg is not None and self._eeg.has_consumers()

    def push(self, piece: Piece, t0_s: float) -> None:
        for mark in piece.markers:  # first, as in a lab: an event is known before an amplifier delivers its samples
            self._markers.push_sample([mark.text], t0_s + mark.t_s)
        if piece.t_s.size:
            assert self._eeg is not None
            x = self._wiring.values(piece.x_uv)
            if self._counter is not None:
                count = (np.arange(len(x)) + piece.first_n) % COUNTER_WRAPS_AT  # (n,)
                x = np.column_stack([x, count.astype(np.float32)])
            self._eeg.push_chunk(x, t0_s + piece.t_s)
        is_first = not self.account.t0_s
        self.account.add(piece, t0_s)
        if is_first:
            self._write()

    def close(self) -> None:
        """Say what was sent, and write the report."""
        self._say(f"{self._name}: {self.account.in_words}")
        self._write()

    def _write(self) -> None:
        if self._report is not None:
            self.account.write(self._report)

    def suffer(self, mishap: Mishap) -> None:
        if mishap.kind != "drop":
            self._say(f"{self._name}: {mishap.due_s:.3f} s: {mishap.kind}: {mishap.words}")
        self.account.mishaps.append(mishap)
        if mishap.wiring is not None:
            self._wiring = mishap.wiring
        if mishap.kind == "disconnect":
            last = self.account.connected[-1]
            self.account.connected[-1] = msgspec.structs.replace(last, to_s=local_clock())
            self._eeg = None
        elif mishap.kind == "connect":
            self._connect()
