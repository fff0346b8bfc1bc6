"""Learning curve: extrapolates the accuracies of decoders trained on parts of the data. Used by cross-validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
SHAPES = (0.0, 0.5, 1.0)
"""Exponents c of the curves ``a - b / n**c``; 0 stands for ``a + b log n``, which never levels off.

Four points cannot tell the curves apart. From 466 trials of the synthetic head (one LSTM, 2026-11-24, seed 0), c = 1/2
predicted a gain of 5.9 points for twice as many trials and c = 1 predicted 3.3; a second session added 3.7. From 234
trials, on the steep part of the curve, they predicted 2 to 6 points, but the other half added 11. Therefore c = 0 is
included.
"""
_N_DRAWS = 1000
_NEGLIGIBLE = 0.02  # a gain that is not worth another recording
_MIN_TRIALS = 100


def gain_of_twice(sizes: NDArray[np.int64], right: NDArray[np.bool_], *, shape: float) -> float:
    """Fit a curve of `SHAPES` with b >= 0 by least squares; return its gain from the largest size to twice that size.

    Parameters
    ----------
    sizes
        (n_sizes,), numbers of training trials, ascending.
    right
        (n_sizes, n_trials), whether the decoder of each size decoded each trial correctly.
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
    """Describe the gain that twice as many trials would bring, with its spread over resampled trials and all shapes.

    The draws share one set of fits, so the interval leaves out the randomness of training itself.
    """
    n_trials = right.shape[1]
    if n_trials < _MIN_TRIALS:
        return f"{n_trials} trials are too few to predict what more would bring: record at least {_MIN_TRIALS}"
    now = float(right[-1].mean())
    gain = float(np.mean([gain_of_twice(sizes, right, shape=shape) for shape in SHAPES]))
    gains = []
    for _ in range(_N_DRAWS // len(SHAPES)):
        drawn = right[:, rng.integers(n_trials, size=n_trials)]  # (n_sizes, n_trials)
        gains += [gain_of_twice(sizes, drawn, shape=shape) for shape in SHAPES]
    low, high = (float(q) for q in np.quantile(gains, (0.025, 0.975)))
    interval = f"{100 * gain:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    if high < _NEGLIGIBLE:
        return f"twice as many trials would hardly help ({interval})"
    if low > 0:
        return f"twice as many trials would give about {now + gain:.2f} instead of {now:.2f} ({interval})"
    return f"these trials do not show whether twice as many would help ({interval})"
