"""What a replay on a bad day sent, made anew from its options and its account: pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.recording import Recording
from pretap.signal.channels import microvolts_per
from pretap_realtime.replay.faults import BadDay, Mishap, Wiring, inject
from pretap_realtime.replay.pieces import Piece, pieces

__all__ = ["Life", "Truth"]

_UNIT_S = 1.0  # after which a wrong unit must have been noticed
_SAME_STAMP_S = 1e-8  # what adding a stamp's parts in another order may change


@dataclass
class Life:
    """An outlet from its opening to its end, on LSL's clock; `to_s` is infinite where nobody knows.

    `fits` is False where its values are not in the unit that its description says.
    """

    from_s: float
    to_s: float
    fits: bool = True


@dataclass
class Truth:
    """What one replay sent, as a service should have got it.

    `x_uv` (n_sent, n_channels) in the channels of the recording, `t_s` (n_sent,) stamps, `n` (n_sent,) sample numbers,
    `life` (n_sent,) the outlet that sent it, `wrong_s` (n_sent,) for how long the unit has been another than described;
    `pushed_s` when each piece was due, on LSL's clock.
    """

    x_uv: NDArray[np.float32]
    t_s: NDArray[np.float64]
    n: NDArray[np.int64]
    life: NDArray[np.int64]
    wrong_s: NDArray[np.float64]
    pushed_s: NDArray[np.float64]
    lives: list[Life] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)

    @classmethod
    def make(cls, recording: Recording, day: BadDay, *, n_chunk: int, t0_s: float, n_taken: int) -> Truth:
        """Run the day again, up to the sample `n_taken` of the device."""
        order = tuple(range(len(recording.channels)))
        wiring = Wiring("uV", order, "uV", order)
        lives = [Life(-np.inf, np.inf)]
        rows: list[tuple[NDArray[np.float32], NDArray[np.float64], int]] = []
        life, wrong, pushed, kinds = [], [], [], dict[str, int]()
        wrong_since_s = np.inf
        stream = pieces(recording, n_chunk=n_chunk, loop=True)
        for item in inject(stream, day, sfreq_hz=recording.sfreq_hz, channels=recording.channels, unit="uV"):
            if item.first_n >= n_taken:
                break
            if isinstance(item, Mishap):
                wiring = item.wiring or wiring
                fits = wiring.unit == wiring.said_unit
                wrong_since_s = np.inf if fits else min(wrong_since_s, item.due_s)
                kinds[item.kind] = kinds.get(item.kind, 0) + 1
                if item.kind == "disconnect":
                    lives[-1].to_s = t0_s + item.due_s
                elif item.kind == "connect":
                    lives.append(Life(t0_s + item.due_s, np.inf, fits))
                    wrong_since_s = np.inf if fits else item.due_s  # who connects now has seen nothing before
            elif len(item.x_uv):
                rows.append((_received(item, wiring), t0_s + item.t_s, item.first_n))
                life += [len(lives) - 1] * len(item.x_uv)
                wrong += np.maximum(0.0, item.t_s - wrong_since_s).tolist()
                pushed.append(t0_s + item.due_s)
        return cls(
            x_uv=np.concatenate([x for x, _, _ in rows]),
            t_s=np.concatenate([t_s for _, t_s, _ in rows]),
            n=np.concatenate([first_n + np.arange(len(x)) for x, _, first_n in rows]),
            life=np.array(life),
            wrong_s=np.array(wrong),
            pushed_s=np.array(pushed),
            lives=lives,
            kinds=kinds,
        )

    def __post_init__(self) -> None:
        self._by_stamp = np.argsort(self.t_s, kind="stable")
        self._sorted_s = self.t_s[self._by_stamp].tolist()
        self.clean = np.isfinite(self.x_uv).all(axis=1)  # (n_sent,)

    def row_of(self, stamp_s: float) -> int | None:
        """Find the sample with this stamp."""
        k = bisect_left(self._sorted_s, stamp_s - _SAME_STAMP_S)
        found = k < len(self._sorted_s) and abs(self._sorted_s[k] - stamp_s) <= _SAME_STAMP_S
        return int(self._by_stamp[k]) if found else None

    def window(self, last: int, n_window: int) -> NDArray[np.float32] | str:
        """Give the window that ends at a row, or say why it is none: (n_window, n_channels)."""
        first = last - n_window + 1
        if first < 0:
            return f"only {last + 1} samples had been sent"
        rows = slice(first, last + 1)
        if self.life[first] != self.life[last]:
            return "it spans a disconnection"
        if self.n[last] - self.n[first] != n_window - 1:
            return f"{self.n[last] - self.n[first] - n_window + 1} samples of it were lost"
        if not self.clean[rows].all():
            return "NaN in it"
        if self.wrong_s[first] > _UNIT_S:
            return f"its values have been in the wrong unit for {self.wrong_s[last]:.1f} s"
        return self.x_uv[rows]

    def n_possible(self, n_window: int, hop: int) -> int:
        """Count the windows a decoder could have decided on that loses no sample and no time."""
        breaks = np.flatnonzero((np.diff(self.n) != 1) | (np.diff(self.life) != 0) | ~self.clean[1:]) + 1
        runs = np.diff([0, *breaks, len(self.n)])
        return int(np.maximum(0, (runs - n_window) // hop + 1).sum())


def _received(piece: Piece, wiring: Wiring) -> NDArray[np.float32]:
    """Give what a service makes of what the outlet sends: described units and labels undone."""
    raw = wiring.values(piece.x_uv)
    back = np.argsort(wiring.said_order)
    x = raw[:, back].astype(np.float64) * microvolts_per(wiring.said_unit)  # (n, n_channels)
    return x.astype(np.float32)
