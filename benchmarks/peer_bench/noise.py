"""The task of every system: the stream and the window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANNELS", "N_TABLE", "N_WINDOW", "SFREQ_HZ", "STREAM", "noise_uv", "window_uv"]

STREAM = "bench-eeg"  # the source's name and source_id
SFREQ_HZ = 1000
N_WINDOW = 500
N_TABLE = 16_000  # a multiple of every chunk size: a chunk never wraps
_LABELS = "F3 F1 Fz F2 F4 FC5 FC3 FC1 FCz FC2 FC4 FC6 C5 C3 C1 Cz C2 C4 C6 CP5 CP3 CP1 CPz CP2 CP4 CP6 O1 O2"
CHANNELS = tuple(_LABELS.split())  # the data's
_SD_UV = 20.0


def noise_uv() -> NDArray[np.float32]:
    """Return the samples (N_TABLE, 28) in microvolts; sample n of the stream is row ``n % N_TABLE``."""
    return np.random.default_rng(0).normal(0, _SD_UV, (N_TABLE, len(CHANNELS))).astype(np.float32)


def window_uv(table: NDArray[np.float32], n_last: int) -> NDArray[np.float32]:
    """Return the window (N_WINDOW, 28) whose last sample is number `n_last` of the stream."""
    return table[np.arange(n_last - N_WINDOW + 1, n_last + 1) % N_TABLE]
