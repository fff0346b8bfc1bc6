"""WindowFollower: moves the state of an adapting decoder along a stream that is decided at every hop. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.adapting import Adapted, AdaptingDecoder


class WindowFollower:
    """Moves the state by one window after another that do not overlap, whatever the hop.

    Windows of decisions overlap, so they are not independent. Samples with a bad electrode, and those around an
    interruption, belong to no window.
    """

    def __init__(self, decoder: AdaptingDecoder) -> None:
        manifest = decoder.manifest
        self._decoder = decoder
        self._window = np.empty((manifest.n_window, len(manifest.channels)), np.float32)
        self._n_filled = 0

    @property
    def adapted(self) -> Adapted:
        """How far the state has moved."""
        return self._decoder.adapted

    def restart(self) -> None:
        """Start a window: the next sample does not follow the last one."""
        self._n_filled = 0

    def parts(self, x_uv: NDArray[np.float32], *, is_good: bool) -> Iterator[slice]:
        """Yield parts of samples (n_new, n_channels) to decide on; the state moves after a part that fills a window."""
        start = 0
        while start < len(x_uv):
            stop = min(len(x_uv), start + len(self._window) - self._n_filled)
            yield slice(start, stop)
            n_filled = self._n_filled + stop - start
            self._window[self._n_filled : n_filled] = x_uv[start:stop]
            self._n_filled = n_filled if is_good else 0
            if self._n_filled == len(self._window):
                self._decoder.update(self._window)
                self._n_filled = 0
            start = stop
