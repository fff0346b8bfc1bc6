"""Plain samples: finite, on time, from channels that all move, so that no check changes anything before they end.

Nearly all samples of a good stream are plain. The rules are written twice: here in Python and in C, in receive.c and,
for values that are not finite, in lanes.c. `tests/unit/test_fast_path.py` holds both equal. Python stops at each check
for flat channels; C may go on if it has seen every channel move. Samples that are not plain go to the front end.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.signal.timeline import ExpectedTimestamps

_all = np.logical_and.reduce  # costs half of what the array method does


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

    def times_s(self, n_accepted: int, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return when plain samples were taken: (n_new,), of those after `n_accepted` with the timestamps `t_s`."""
        n_first = self.n_first + n_accepted
        return self.expected.times_s(np.arange(n_first, n_first + len(t_s)), t_s)


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
