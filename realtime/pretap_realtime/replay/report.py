"""Report of a replay: which samples were sent and lost, and all faults. Written by ``pretap replay --json``."""

from __future__ import annotations

import msgspec
import numpy as np

from pretap_realtime.replay.faults import Fault
from pretap_realtime.replay.pieces import Piece


class Connection(msgspec.Struct, frozen=True):
    """When an outlet existed, on LSL's clock, and which samples of the device were sent through it."""

    from_s: float
    unit: str
    channels: tuple[str, ...]
    first_n: int = -1
    last_n: int = -1
    to_s: float | None = None


class Lost(msgspec.Struct, frozen=True):
    """A run of samples of the device that were not sent, from `first_n` on."""

    first_n: int
    n_samples: int


class Report(msgspec.Struct, rename={"faults": "mishaps"}):  # renamed: the key in the file
    """An exact record of a replay: ``n_taken = n_sent + n_lost``.

    `t0_s` is the LSL time from which the seconds of the faults count. `n_taken` ends with the last sample that was
    sent, and `n_nonfinite` counts the sent samples with a NaN. The samples of `faults` are the planned ones: if a gap
    falls into a disconnection, its samples are lost only once.
    """

    t0_s: float = 0.0
    n_taken: int = 0
    n_sent: int = 0
    n_lost: int = 0
    n_nonfinite: int = 0
    n_markers: int = 0
    lost: list[Lost] = []
    connected: list[Connection] = []
    faults: list[Fault] = []

    def add(self, piece: Piece, t0_s: float) -> None:
        """Count a piece that was sent."""
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

    def disconnect(self, t_s: float) -> None:
        self.connected[-1] = msgspec.structs.replace(self.connected[-1], to_s=t_s)

    def describe(self) -> str:
        sent = f"{self.n_sent} samples and {self.n_markers} markers sent"
        if not self.faults:
            return sent
        kinds = [fault.kind for fault in self.faults if fault.kind != "connect"]
        counts = ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))
        return f"{sent}; of {self.n_taken} samples {self.n_lost} were lost, {self.n_nonfinite} have NaN; {counts}"
