"""Plain good engineering with pylsl: a blocking pull, and a push for each decision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pylsl
from numpy.typing import NDArray

__all__ = ["open_outlet", "pulled"]

_MAX_SAMPLES = 10_000  # ten seconds: what a stall leaves behind is taken at once


def pulled(stream: str) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Yield samples (n_new, n_channels) and timestamps (n_new,) as they arrive; valid until the next ones."""
    infos = pylsl.resolve_bypred(f"name='{stream}'", minimum=1, timeout=10)
    inlet = pylsl.StreamInlet(infos[0], max_buflen=10, recover=False)
    buffer = np.empty((_MAX_SAMPLES, inlet.channel_count), np.float32)
    inlet.open_stream(timeout=5)
    while True:
        # min_samples=1 returns with the first sample; without it the call waits for max_samples or the timeout.
        # Our own buffer and as_numpy spare the lists.
        x, t_s = inlet.pull_chunk(timeout=0.1, min_samples=1, max_samples=_MAX_SAMPLES, dest_obj=buffer, as_numpy=True)
        if len(t_s):
            yield x, t_s


def open_outlet(name: str) -> pylsl.StreamOutlet:
    """Open the stream of probabilities: p_left, p_right, quality."""
    return pylsl.StreamOutlet(pylsl.StreamInfo(name, "Probabilities", 3, 0.0, pylsl.cf_float32, name))
