"""What more trials would give: a curve through the accuracies of decoders trained on parts of the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRACTIONS", "outlook", "twice"]

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
_N_DRAWS = 1000
_HARDLY = 0.02  # a gain that is not worth another recording


def twice(sizes: NDArray[np.int64], right: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit the curve and give it at the largest size and at twice that.

    Accuracy as a function of the number n of trials is taken as ``a - b / sqrt(n)``, b >= 0, by least squares over the
    sizes; the rate is that of the error of an estimated parameter. At most 1.

    Parameters
    ----------
    sizes
        (n_sizes,), ascending.
    right
        (n_sizes, n_trials), whether each trial was decoded right by the decoder of that size.
    """
    accuracy = right.mean(axis=1)
    x = 1 / np.sqrt(sizes)
    centred = x - x.mean()
    slope = min(0.0, float(centred @ accuracy / (centred @ centred)))  # -b
    top = float(accuracy.mean()) - slope * float(x.mean())  # a
    now, then = top + slope * x[-1], top + slope * x[-1] / np.sqrt(2)
    return min(1.0, float(now)), min(1.0, float(then))


def outlook(sizes: NDArray[np.int64], right: NDArray[np.bool_], *, rng: np.random.Generator) -> str:
    """Say in words what twice as many trials would give; the interval is a bootstrap over the trials.

    The draws share one set of fits, so the interval leaves out the chance of training itself.
    """
    now, then = twice(sizes, right)
    n_trials = right.shape[1]
    draws = [twice(sizes, right[:, rng.integers(n_trials, size=n_trials)]) for _ in range(_N_DRAWS)]
    gains = np.array([after - before for before, after in draws])
    low, high = (100 * float(q) for q in np.quantile(gains, (0.025, 0.975)))
    gain = 100 * (then - now)
    interval = f"{gain:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
    if high < 100 * _HARDLY:
        return f"twice as many trials would hardly help ({interval})"
    if low > 0:
        return f"twice as many trials would give about {then:.2f} instead of {now:.2f} ({interval})"
    return f"whether twice as many trials would help cannot be told from these ({interval})"
