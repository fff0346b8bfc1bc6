"""What more trials would give: a curve through the accuracies of decoders trained on parts of the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FRACTIONS", "SHAPES", "gain_of_twice", "outlook"]

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
SHAPES = (0.0, 0.5, 1.0)
"""Exponents c of the curves ``a - b / n**c``; 0 stands for ``a + b log n``, which never levels off.

Four points cannot tell them apart. From 466 trials of the synthetic head (own-cap.toml, seed 0) c = 1/2 foretold a gain
of 5.9 points for twice as many, c = 1 of 3.3; a second session brought 3.7. From 234 trials, on the steep part, they
foretold 2 to 6 where the other half brought 11: that is what c = 0 is for.
"""
_N_DRAWS = 1000
_HARDLY = 0.02  # a gain that is not worth another recording
_FEWEST = 100  # trials


def gain_of_twice(sizes: NDArray[np.int64], right: NDArray[np.bool_], *, shape: float) -> float:
    """Fit the curve of `SHAPES`, b >= 0, by least squares; give what it gains from the largest size to twice that.

    Parameters
    ----------
    sizes
        (n_sizes,), trials trained on, ascending.
    right
        (n_sizes, n_trials), whether each trial was decoded right by the decoder of that size.
    shape
        The exponent, see `SHAPES`.
    """
    accuracy = right.mean(axis=1)
    n = np.append(sizes, 2 * sizes[-1]).astype(np.float64)
    x = -(n**-shape) if shape else np.log(n)
    centred = x[:-1] - x[:-1].mean()
    slope = max(0.0, float(centred @ accuracy / (centred @ centred)))  # b
    gain = slope * float(x[-1] - x[-2])
    return min(gain, 1.0 - float(accuracy[-1]))


def outlook(sizes: NDArray[np.int64], right: NDArray[np.bool_], *, rng: np.random.Generator) -> str:
    """Say in words what twice as many trials would give, with the spread over resampled trials and all shapes.

    The draws share one set of fits, so the interval leaves out the chance of training itself.
    """
    n_trials = right.shape[1]
    if n_trials < _FEWEST:
        return f"what more trials would give cannot be told from so few: record {_FEWEST} and more"
    now = float(right[-1].mean())
    gain = float(np.mean([gain_of_twice(sizes, right, shape=shape) for shape in SHAPES]))
    gains = []
    for _ in range(_N_DRAWS // len(SHAPES)):
        drawn = right[:, rng.integers(n_trials, size=n_trials)]  # (n_sizes, n_trials)
        gains += [gain_of_twice(sizes, drawn, shape=shape) for shape in SHAPES]
    low, high = (float(q) for q in np.quantile(gains, (0.025, 0.975)))
    interval = f"{100 * gain:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    if high < _HARDLY:
        return f"twice as many trials would hardly help ({interval})"
    if low > 0:
        return f"twice as many trials would give about {now + gain:.2f} instead of {now:.2f} ({interval})"
    return f"whether twice as many trials would help cannot be told from these ({interval})"
