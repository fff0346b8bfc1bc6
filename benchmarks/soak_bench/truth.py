"""The samples that a replay with faults sent, reconstructed from its options and its report. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.recording import Recording
from pretap.signal.channels import microvolts_per
from pretap_realtime.replay.faults import Fault, FaultSettings, Wiring
from pretap_realtime.replay.injector import inject
from pretap_realtime.replay.pieces import Piece, pieces

__all__ = ["Life", "Truth"]

_UNIT_S = 1.0  # after which a wrong unit must have been noticed
_OFF_S = 0.15  # how far the time of a sample may be off, right after a start with jitter and packets of 50 ms


@dataclass
class Life:
    """An outlet from its opening to its end, on LSL's clock; `to_s` is infinite if it is unknown.

    `fits` is False if its values are not in the unit that its description says.
    """

    from_s: float
    to_s: float
    fits: bool = True


@dataclass
class Truth:
    """The samples that one replay sent, as a service should have received them.

    `x_uv` (n_sent, n_channels) in the channels of the recording, `t_s` (n_sent,) when they were taken, `n` (n_sent,)
    sample numbers, `life` (n_sent,) the outlet that sent it, `wrong_s` (n_sent,) for how long the unit has differed
    from the description; `pushed_s` when each piece was due, on LSL's clock.
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
    def make(cls, recording: Recording, faults: FaultSettings, *, n_chunk: int, t0_s: float, n_taken: int) -> Truth:
        """Repeat the replay, up to the sample `n_taken` of the device."""
        wiring = Wiring.of("uV", len(recording.channels))
        lives = [Life(-np.inf, np.inf)]
        rows: list[tuple[NDArray[np.float32], int]] = []
        life, wrong, pushed, kinds = [], [], [], dict[str, int]()
        wrong_since_s = np.inf
        stream = pieces(recording, n_chunk=n_chunk, loop=True)
        for item in inject(stream, faults, sfreq_hz=recording.sfreq_hz, channels=recording.channels, unit="uV"):
            if item.first_n >= n_taken:
                break
            if isinstance(item, Fault):
                wiring = item.wiring or wiring
                fits = wiring.unit == wiring.described_unit
                wrong_since_s = np.inf if fits else min(wrong_since_s, item.due_s)
                kinds[item.kind] = kinds.get(item.kind, 0) + 1
                if item.kind == "disconnect":
                    lives[-1].to_s = t0_s + item.due_s
                elif item.kind == "connect":
                    lives.append(Life(t0_s + item.due_s, np.inf, fits))
                    wrong_since_s = np.inf if fits else item.due_s  # a new connection has seen no earlier samples
            elif len(item.x_uv):
                rows.append((_received(item, wiring), item.first_n))
                life += [len(lives) - 1] * len(item.x_uv)
                wrong += np.maximum(0.0, item.t_s - wrong_since_s).tolist()
                pushed.append(t0_s + item.due_s)
        n = np.concatenate([first_n + np.arange(len(x)) for x, first_n in rows])  # (n_sent,)
        return cls(
            x_uv=np.concatenate([x for x, _ in rows]),
            t_s=t0_s + n / recording.sfreq_hz * faults.time_scale,
            n=n,
            life=np.array(life),
            wrong_s=np.array(wrong),
            pushed_s=np.array(pushed),
            lives=lives,
            kinds=kinds,
        )

    def __post_init__(self) -> None:
        self._order = np.argsort(self.t_s, kind="stable")
        self._sorted_s = self.t_s[self._order].tolist()
        self.clean = np.isfinite(self.x_uv).all(axis=1)  # (n_sent,)

    def rows_near(self, time_s: float) -> list[int]:
        """Return the rows of the samples that were taken within 150 ms of a time, the nearest first."""
        first, last = (bisect_left(self._sorted_s, time_s + off_s) for off_s in (-_OFF_S, _OFF_S))
        near = sorted(range(first, last), key=lambda k: abs(self._sorted_s[k] - time_s))
        return self._order[near].tolist()

    def n_taken_by(self, time_s: float) -> int:
        """Return how many samples the device had certainly taken at the time of a sample."""
        k = bisect_left(self._sorted_s, time_s - _OFF_S)
        return int(self.n[self._order[k - 1]]) + 1 if k else 0

    def window(self, last: int, n_window: int) -> NDArray[np.float32] | str:
        """Return the window (n_window, n_channels) that ends at a row, or the reason why there is none."""
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
        """Count the windows that a decoder without losses and delays could have decided on."""
        breaks = np.flatnonzero((np.diff(self.n) != 1) | (np.diff(self.life) != 0) | ~self.clean[1:]) + 1
        runs = np.diff([0, *breaks, len(self.n)])
        return int(np.maximum(0, (runs - n_window) // hop + 1).sum())


def _received(piece: Piece, wiring: Wiring) -> NDArray[np.float32]:
    """Return the samples as a service receives them, after undoing the described units and order."""
    raw = wiring.values(piece.x_uv)
    back = np.argsort(wiring.described_order)
    x = raw[:, back].astype(np.float64) * microvolts_per(wiring.described_unit)  # (n, n_channels)
    return x.astype(np.float32)
