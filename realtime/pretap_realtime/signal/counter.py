"""The counter channel of a device: samples that it skips were lost, whatever the timestamps say. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.errors import StreamRefusedError
from pretap.spelling import counted

_MAX_LOSS_S = 3600.0  # a longer loss is a counter that was reset
_TRIAL = 100  # samples in which a channel that does not count is found out,
_MAX_JUMPS = 10  # by more jumps than this
_SHARE, _SLACK_S = 0.01, 0.25  # how far counter and timestamps may differ over a disconnection


@dataclass(frozen=True)
class Jump:
    """The counter did not increase by one before sample `index` of a chunk; `n_lost` samples are missing."""

    index: int
    n_lost: int
    why: str


class Counter:
    """Follows the counter of a device.

    Parameters
    ----------
    wraps_at : int
        The value at which it starts again from 0, such as 256; 0 for a counter that never does. If a loss may be longer
        than one cycle, the timestamps say how many cycles.
    """

    def __init__(self, *, wraps_at: int) -> None:
        self._wraps_at = wraps_at
        self._next = math.nan  # NaN: nothing seen yet
        self._t_s = math.nan  # of the sample before
        self.reset(sfreq_hz=math.nan)

    def reset(self, *, sfreq_hz: float) -> None:
        """Prepare for another connection.

        Samples lost in between are counted if counter and timestamps agree: then it is the same device, still running.
        """
        self._sfreq_hz = sfreq_hz
        self._n_seen = self._n_jumps = 0

    def follow(self, count: NDArray[np.float64], t_s: NDArray[np.float64]) -> list[Jump]:
        """Return the jumps in the counter's values (n_new,) of a chunk with the timestamps (n_new,).

        A value that is not finite is ignored.

        Raises
        ------
        StreamRefusedError
            If the channel does not count samples.
        """
        n = len(count)
        expected = self._next + np.arange(n)  # (n_new,)
        if self._wraps_at:
            expected %= self._wraps_at
        if n and np.array_equal(count, expected):
            self._next, self._t_s = self._after(expected[-1]), float(t_s[-1])
            self._n_seen += n
            return []
        jumps = [jump for i in range(n) if (jump := self._step(i, float(count[i]), float(t_s[i])))]
        self._n_jumps += sum(self._n_seen + jump.index < _TRIAL for jump in jumps)
        self._n_seen += n
        if self._n_jumps > _MAX_JUMPS:
            raise StreamRefusedError(
                f"The counter does not count samples: among the first {_TRIAL} values {self._n_jumps} are not the one "
                f"before plus 1. Name the channel that does (stream.counter), say at which value it starts again "
                "(stream.counter_wraps_at), or leave both out."
            )
        return jumps

    def _after(self, value: float) -> float:
        return (value + 1) % self._wraps_at if self._wraps_at else value + 1

    def _step(self, i: int, value: float, t_s: float) -> Jump | None:
        expected, is_first = self._next, self._n_seen + i == 0
        elapsed = (t_s - self._t_s) * self._sfreq_hz  # samples; NaN if a timestamp is
        self._t_s = t_s
        if not math.isfinite(value):
            value = expected
        self._next = self._after(value)
        n_lost = value - expected
        if n_lost == 0 or math.isnan(n_lost):
            return None
        if self._wraps_at:
            n_lost %= self._wraps_at
            if math.isfinite(elapsed):
                n_lost += self._wraps_at * max(0, round((elapsed - 1 - n_lost) / self._wraps_at))
        is_loss = n_lost.is_integer() and 0 < n_lost <= _MAX_LOSS_S * self._sfreq_hz
        if is_first and not abs(n_lost + 1 - elapsed) <= _SHARE * abs(elapsed) + _SLACK_S * self._sfreq_hz:
            return None  # another device, or one that was restarted
        if is_loss:
            return Jump(i, int(n_lost), f"gap: {counted(int(n_lost), 'sample')} lost, by the counter")
        return Jump(i, 0, f"the counter went to {value:g}, expected {expected:g}")
