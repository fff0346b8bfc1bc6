"""Re-centring: follows the mean covariance of a session, so that a decoder sees it where it saw that of its training.

Used by the kinds that decode the covariance of a band, see `Kind.adaptive`. No labels are needed. Zanini et al. (IEEE
Trans. Biomed. Eng. 65, 2018) re-centre by the mean of a whole session; here the mean runs, so it is causal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.networks.covariance import power
from pretap.networks.kind import Engine

_Floats = NDArray[np.float64]
# Relative distances. On real heads (studies/heads/recentring.py) 19 of 20 windows lie within 0.7 to 1.3 of their mean,
# and most sessions within 0.5 of those before. log(10) is a factor of 10 in the variances, or 3.2 in amplitude.
MAX_DISTANCE = math.log(10)  # of the mean from that of the training
_MAX_REACH = 1.0  # of a covariance from the mean: one that is further away, such as an artefact, counts as nearer


class Memory(msgspec.Struct, frozen=True):
    """How slowly a running mean moves, in windows.

    Attributes
    ----------
    n_start
        The weight of the training mean at the start.
    n_max
        A new window has at least the weight 1 / `n_max`, so the mean forgets what is older.
    """

    n_start: int
    n_max: int


class RunningMean:
    """The running Riemannian mean of covariances (n_inputs, n_inputs), which starts at the mean of the training.

    Each covariance moves it along the geodesic (Bhatia, Positive Definite Matrices, 2007, ch. 6). One that is far away,
    such as an artefact, moves it no more than one at a usual distance. It never moves further from the mean of the
    training than `MAX_DISTANCE`.

    Attributes
    ----------
    training, mean
        The mean of the training, and the one that runs.
    n_windows
        The number of covariances that have moved it.
    distance
        The `relative_distance` of both means.
    """

    def __init__(self, training: _Floats, memory: Memory) -> None:
        self.training, self._memory = training, memory
        self._to_training = power(training, 0.5)
        self.restore(training, n_windows=0)

    def restore(self, mean: _Floats, *, n_windows: int) -> None:
        """Continue with a mean that `n_windows` covariances have moved."""
        self.mean, self.n_windows = (mean + mean.T) / 2, n_windows  # symmetric but for rounding before
        self.distance = relative_distance(self.training, self.mean)
        self.whitening = power(self.mean, -0.5)  # moves the mean to the identity
        self.transport = self._to_training @ self.whitening  # moves it to the mean of the training

    def update(self, covariance: _Floats) -> None:
        """Move the mean towards a covariance."""
        weight = 1 / min(self._memory.n_start + self.n_windows + 1, self._memory.n_max)
        reach = relative_distance(self.mean, covariance) / _MAX_REACH
        moved = geodesic(self.mean, covariance, weight / max(1.0, reach))
        distance = relative_distance(self.training, moved)
        if distance > MAX_DISTANCE:
            moved = geodesic(self.training, moved, MAX_DISTANCE / distance)
        self.restore(moved, n_windows=self.n_windows + 1)


class Recentred:
    """The adaptive engine of one covariance, see `pretap.networks.kind.AdaptiveEngine`.

    Parameters
    ----------
    covariance
        Computes the covariance of a scaled window.
    logits
        Decodes a scaled window with the present `mean`.
    """

    def __init__(self, mean: RunningMean, covariance: Callable[[_Floats], _Floats], logits: Engine) -> None:
        self.means: Sequence[RunningMean] = [mean]
        self._covariance, self.logits = covariance, logits

    def covariances(self, x: _Floats) -> list[_Floats]:
        """Compute the covariance of a scaled window (n_steps, n_inputs)."""
        return [self._covariance(x)]


def geodesic(start: _Floats, end: _Floats, share: float) -> _Floats:
    """Return the covariance at a `share` of the way from `start` to `end`."""
    root, inverse = power(start, 0.5), power(start, -0.5)
    return np.asarray(root @ power(inverse @ end @ inverse, share) @ root)


def relative_distance(one: _Floats, other: _Floats) -> float:
    """Return the affine-invariant distance of two covariances, divided by the square root of the number of inputs.

    That is the root mean square of the logarithms of the ratios of their variances, over the directions in which the
    two are diagonal.
    """
    inverse = power(one, -0.5)
    ratios = np.linalg.eigvalsh(inverse @ other @ inverse)
    return float(np.sqrt(np.mean(np.log(ratios) ** 2)))
