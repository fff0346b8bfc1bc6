"""Outlets of a replay: an EEG outlet that can be closed and reopened, and a marker outlet. Used by `command`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pretap.files import write_json
from pretap.recordings.recording import Recording
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.replay.faults import Fault, Wiring
from pretap_realtime.replay.pieces import Piece
from pretap_realtime.replay.report import Connection, Report

COUNTER_WRAPS_AT = 1 << 24  # above this, a float32 cannot represent every integer
_UNITS = {"uV": "microvolts", "mV": "millivolts", "V": "volts"}


class LslFeed:
    """An EEG outlet and its marker outlet.

    With `counter`, the EEG outlet has an additional last channel of that name: the sample number, which starts again
    after 2^24. The report is written to `report_file` when the first piece is sent, so that even a replay that is
    killed leaves its `t0_s`, and by `close`.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        name: str,
        speed: float,
        unit: str,
        counter: str | None = None,
        report_file: Path | None = None,
        say: Callable[[str], None],
    ) -> None:
        self._facts = {"simulated": "true", "speed": f"{speed:g}", "source": recording.source}
        if recording.subject:
            self._facts["subject/id"] = recording.subject
        self.report = Report()
        self._recording, self._name, self._counter = recording, name, counter
        self._report_file, self._say = report_file, say
        self._wiring = Wiring.of(unit, len(recording.channels))
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
        labels = tuple(self._recording.channels[i] for i in self._wiring.described_order)
        if self._counter is not None:
            labels = (*labels, self._counter)
        self._eeg = Outlet(
            self._name,
            "EEG",
            labels=labels,
            format="float32",
            sfreq_hz=self._recording.sfreq_hz,
            unit=_UNITS[self._wiring.described_unit],
            source_id=f"pretap-replay:{self._name}",
            facts=self._facts,
        )
        self.report.connected.append(Connection(local_clock(), self._wiring.described_unit, labels))

    def has_reader(self) -> bool:
        return self._eeg is not None and self._eeg.has_consumers()

    def send(self, piece: Piece, t0_s: float) -> None:
        """Send the markers of a piece and its samples."""
        for mark in piece.markers:  # first, as in a lab: an event is known before an amplifier delivers its samples
            self._markers.push_sample([mark.text], t0_s + mark.t_s)
        if piece.t_s.size:
            assert self._eeg is not None
            x = self._wiring.values(piece.x_uv)
            if self._counter is not None:
                count = (np.arange(len(x)) + piece.first_n) % COUNTER_WRAPS_AT  # (n,)
                x = np.column_stack([x, count.astype(np.float32)])
            self._eeg.push_chunk(x, t0_s + piece.t_s)
        is_first = not self.report.t0_s
        self.report.add(piece, t0_s)
        if is_first:
            self._write_report()

    def apply(self, fault: Fault) -> None:
        """Close, reopen or rewire the EEG outlet as a fault says, and report the fault."""
        if fault.kind != "drop":
            self._say(f"{self._name}: {fault.due_s:.3f} s: {fault.kind}: {fault.text}")
        self.report.faults.append(fault)
        if fault.wiring is not None:
            self._wiring = fault.wiring
        if fault.kind == "disconnect":
            self.report.disconnect(local_clock())
            self._eeg = None
        elif fault.kind == "connect":
            self._connect()

    def close(self) -> None:
        """Print a summary, and write the report."""
        self._say(f"{self._name}: {self.report.describe()}")
        self._write_report()

    def _write_report(self) -> None:
        if self._report_file is not None:
            write_json(self._report_file, self.report)
