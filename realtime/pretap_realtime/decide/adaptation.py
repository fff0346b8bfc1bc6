"""Followers: they move the state of an adapting decoder along a stream. Used by the modes; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.adapting import Adapted, AdaptingDecoder

_MAX_SPANS: Final = 1024  # of bad signal that are remembered; quality changes every quarter of a second at most


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


class CueFollower:
    """Moves the state by the window of each cue, unless an electrode was bad in it.

    A cue can arrive after its window, so the quality of all samples that a window may hold is remembered.
    """

    def __init__(self, decoder: AdaptingDecoder) -> None:
        self._decoder = decoder
        self.restart()

    @property
    def adapted(self) -> Adapted:
        """How far the state has moved."""
        return self._decoder.adapted

    def restart(self) -> None:
        """Count samples from 0: another connection follows."""
        self._n_seen = 0
        self._bad: deque[tuple[int, int]] = deque(maxlen=_MAX_SPANS)  # numbers of the first sample, and of that after

    def note(self, n_new: int, *, is_good: bool) -> None:
        """Note the quality of the next samples."""
        first, self._n_seen = self._n_seen, self._n_seen + n_new
        if is_good:
            return
        if self._bad and self._bad[-1][1] == first:
            first = self._bad.pop()[0]
        self._bad.append((first, self._n_seen))

    def follow(self, window_uv: NDArray[np.float32], *, last: int) -> None:
        """Move the state by a window (n_window, n_channels) that ends with the sample of number `last`."""
        first = last + 1 - len(window_uv)
        if not any(start <= last and end > first for start, end in self._bad):
            self._decoder.update(window_uv)
