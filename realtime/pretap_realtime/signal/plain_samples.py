"""Plain samples: finite, on time, from channels that all move, so that no check changes anything before they end.

Nearly all samples of a good stream are plain. The rules are written twice: here in Python and in C, in receive.c and,
for values that are not finite, in lanes.c. `tests/unit/test_fast_path.py` holds both equal. Python stops at each check
for flat channels; C may go on if it has seen every channel move. Samples that are not plain go to the front end.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

# ufunc.reduce costs half of what the array methods do.
_all, _min, _max = np.logical_and.reduce, np.minimum.reduce, np.maximum.reduce
_SMALL: Final = 64  # for fewer timestamps plain Python is faster than numpy


class ExpectedTimestamps(msgspec.Struct, frozen=True, gc=False):
    """The line on which the timestamps of a regular stream lie, and how far off it they may be.

    Sample n is expected ``(n - n_ref) / rate_hz`` after ``t0_s + s_ref``. Its offset is how many samples its timestamp
    lies after that moment. `limit` is the largest offset of a sample that is on time.
    """

    t0_s: float
    s_ref: float
    rate_hz: float
    n_ref: float
    limit: float

    def offsets(self, n: NDArray[np.float64], t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how many samples the timestamps `t_s` of the samples `n` are late: (n,), element by element."""
        return ((t_s - self.t0_s) - self.s_ref) * self.rate_hz - (n - self.n_ref)

    def are_met(self, n_first: float, t_s: NDArray[np.float64]) -> bool:
        """Whether consecutive timestamps, the first of sample `n_first`, all lie within the limit.

        The arithmetic is that of `offsets`, to the bit.
        """
        if len(t_s) > _SMALL:
            offsets = self.offsets(n_first + np.arange(float(len(t_s))), t_s)
            return bool(max(_max(offsets), -_min(offsets)) <= self.limit)
        t0_s, s_ref, rate_hz, n_ref, limit = self.t0_s, self.s_ref, self.rate_hz, self.n_ref, self.limit
        n = n_first
        for at_s in t_s.tolist():
            if not abs(((at_s - t0_s) - s_ref) * rate_hz - (n - n_ref)) <= limit:  # NaN is off the line too
                return False
            n += 1
        return True


class Horizon(msgspec.Struct, frozen=True, gc=False):
    """How far the front end can see: what it knows about the next samples before they arrive.

    Attributes
    ----------
    n_samples
        How many plain samples may be accepted before the front end has to catch up; 0 if the next one must be examined,
        as in the first window, whose amplitude is judged.
    n_to_flat_check
        How many samples come before the next check for flat channels. A taker that has not seen every channel move
        since the last check stops there.
    n_first
        Number of the next sample, lost ones included, for `expected`.
    expected
        Where the timestamps should lie.
    quality
        Quality of the decisions on these samples, see `Decision.quality`.
    is_held
        Whether decisions on these samples must not become verdicts.
    """

    n_samples: int
    n_to_flat_check: int
    n_first: float
    expected: ExpectedTimestamps
    quality: float
    is_held: bool


def count_plain(horizon: Horizon, n_accepted: int, x_uv: NDArray[np.float32], t_s: NDArray[np.float64]) -> int:
    """Return how many of the next samples may be accepted unexamined: as many as the horizon allows, or none.

    Parameters
    ----------
    horizon : Horizon
        What the front end said before the `n_accepted` samples that were accepted since.
    x_uv : array (n_new, n_channels)
        Samples in microvolts.
    t_s : array (n_new,)
        Timestamps in seconds.
    """
    n = min(len(t_s), horizon.n_samples - n_accepted, horizon.n_to_flat_check - n_accepted)
    if n <= 0 or not horizon.expected.are_met(horizon.n_first + n_accepted, t_s[:n]):
        return 0
    return n if _all(np.isfinite(x_uv[:n]), None) else 0  # a sum would be as fast, but warns if infinities meet


def n_to_wait_for(n_to_next: int) -> int:
    """Return how many samples are worth waiting for: half of the `n_to_next` that the next decision needs.

    So a hop of 50 samples that arrive one by one takes 6 pulls instead of 50. Before the last sample most of the work
    is done and the processor's caches are warm.
    """
    return (n_to_next + 1) // 2
