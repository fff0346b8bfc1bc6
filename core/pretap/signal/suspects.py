"""Suspects: timestamps off the line that are watched until they prove a shift or come back. Used by `ShiftDetector`."""

from __future__ import annotations

import numpy as np

from pretap.signal.timeline_fit import Floats


class Suspects:
    """Samples in a row that lie off the line on one side: a shift, if they persist.

    Attributes
    ----------
    side
        +1 if they are late, -1 if they are early, 0 if there are none.
    n_held, n_seen
        Samples that agree with each other so far, and all of them.
    n_due
        They are judged when so many are held.
    has_broken
        Whether the stream was interrupted because of them.
    believed
        Losses that were counted in the last minute because of earlier suspects: (sample number, samples).
    """

    def __init__(self, n_max: int) -> None:
        self._held = np.empty((2, n_max))  # sample numbers and timestamps
        self.believed: list[tuple[float, int]] = []
        self.begin(0, n_due=0)

    def begin(self, side: int, *, n_due: int) -> None:
        self.side, self.n_due = side, n_due
        self.n_held = self.n_seen = 0
        self.peak = 0.0  # samples
        self.has_broken = False

    def add(self, n: Floats, t_s: Floats, offsets: Floats) -> None:
        self._held[:, self.n_held : self.n_held + n.size] = n, t_s
        self.n_held += n.size
        self.n_seen += n.size
        self.peak = max(self.peak, float(offsets.max(initial=0.0)))

    @property
    def held(self) -> tuple[Floats, Floats]:
        """The sample numbers and timestamps that agree with each other so far."""
        n, t_s = self._held[:, : self.n_held]
        return n, t_s

    def keep(self, n_newest: int, *, n_more: int) -> None:
        """Forget all samples but the newest; judge them again with `n_more`."""
        self._held[:, :n_newest] = self._held[:, self.n_held - n_newest : self.n_held].copy()
        self.n_held, self.n_due = n_newest, n_newest + n_more

    @property
    def why(self) -> str:
        return f"{'late' if self.side > 0 else 'early'} timestamps, being watched"
