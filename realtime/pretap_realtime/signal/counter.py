"""A channel in which the device counts its samples: what is missing in it was lost, whatever the stamps say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.errors import StreamRefusedError

__all__ = ["Counter", "Jump"]

_LONGEST_S = 3600.0  # a loss longer than that is a counter that was set anew
_TRIAL = 100  # samples in which a channel that does not count is found out,
_MOST_JUMPS = 10  # by more jumps than this
_SHARE, _SLACK_S = 0.01, 0.25  # how far counter and stamps may differ over a disconnection


@dataclass(frozen=True)
class Jump:
    """Before sample `index` of a chunk the counter does not count on by one; `n_lost` samples are missing."""

    index: int
    n_lost: int
    why: str


class Counter:
    """Follows the counter of a device; pure.

    Parameters
    ----------
    wraps_at : int
        The value that is 0 again, such as 256; 0 for a counter that never starts again. Where losses may be longer than
        a turn, the stamps say how many turns.
    """

    def __init__(self, *, wraps_at: int) -> None:
        self._wraps_at = wraps_at
        self._next = math.nan  # NaN: nothing seen yet
        self._t_s = math.nan  # of the sample before
        self.reset(sfreq_hz=math.nan)

    def reset(self, *, sfreq_hz: float) -> None:
        """Get ready for another connection.

        What was lost meanwhile is counted where counter and stamps agree on it: then it is the same device, still on.
        """
        self._sfreq_hz = sfreq_hz
        self._n_seen = self._n_jumps = 0

    def follow(self, count: NDArray[np.float64], t_s: NDArray[np.float64]) -> list[Jump]:
        """Take the counter's values (n_new,) and the stamps (n_new,) of a chunk. A value that is not finite is no news.

        Raises
        ------
        StreamRefusedError
            When the channel does not count samples.
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
        if self._n_jumps > _MOST_JUMPS:
            raise StreamRefusedError(
                f"The counter does not count samples: among the first {_TRIAL} values {self._n_jumps} are not the one "
                f"before plus 1. Name the channel that does (stream.counter), say where it starts again "
                "(stream.counter_wraps_at), or leave both out."
            )
        return jumps

    def _after(self, value: float) -> float:
        return (value + 1) % self._wraps_at if self._wraps_at else value + 1

    def _step(self, i: int, value: float, t_s: float) -> Jump | None:
        expected, is_first = self._next, self._n_seen + i == 0
        elapsed = (t_s - self._t_s) * self._sfreq_hz  # samples, NaN where a stamp is
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
        is_loss = n_lost.is_integer() and 0 < n_lost <= _LONGEST_S * self._sfreq_hz
        if is_first and not abs(n_lost + 1 - elapsed) <= _SHARE * abs(elapsed) + _SLACK_S * self._sfreq_hz:
            return None  # another device, or one that was started again
        if is_loss:
            return Jump(i, int(n_lost), f"gap: {n_lost:.0f} samples lost, by the counter")
        return Jump(i, 0, f"the counter went to {value:g} where {expected:g} was expected")
