"""What a bundle knows of the signal it was trained on: how large each channel is, and how the channels go together.

The live service judges a stream by it (`pretap_realtime.signal.quality`). Both sides measure alike: over blocks of a quarter
of a second, each without its mean, because an amplifier's offset says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["COVARIANCE", "SCALE", "Statistics", "block_samples", "gather_statistics", "rereferenced"]

SCALE, COVARIANCE = "channels.scale", "channels.covariance"  # the tensors' names in a bundle
_BLOCK_S = 0.25
_SHORTEST_S = 0.05  # shorter, and an amplifier with steps of 0.5 uV looks flat
_TO_SD = 1.4826  # the median distance from the median, of a normal distribution, times this is its sd


class Statistics(msgspec.Struct, frozen=True, eq=False):
    """See the module.

    Attributes
    ----------
    scale_uv
        (n_channels,) median over blocks of a channel's standard deviation, in microvolts, as recorded (no reference
        is taken off).
    spread
        (n_channels,) how much that varies from block to block: a robust standard deviation of its decimal logarithm.
    covariance
        (n_channels, n_channels) of the channels against their common average; each block has the same weight, its total
        variance is n_channels. What the reference was cannot be seen in it.
    """

    scale_uv: NDArray[np.float64]
    spread: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Statistics | None:
        """Read them from a bundle's tensors; None where it carries none."""
        if SCALE not in tensors:
            return None
        scale_uv, spread = np.asarray(tensors[SCALE], np.float64)
        return cls(scale_uv, spread, np.asarray(tensors[COVARIANCE], np.float64))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Give the tensors for a bundle."""
        return {
            SCALE: np.stack([self.scale_uv, self.spread]).astype(np.float32),  # (2, n_channels)
            COVARIANCE: self.covariance.astype(np.float32),
        }


def block_samples(n_window: int, sfreq_hz: float) -> int:
    """Give the length of a block, in samples: 0.25 s, or half a window where that is shorter, but at least 0.05 s."""
    return max(2, round(min(_BLOCK_S, max(_SHORTEST_S, n_window / sfreq_hz / 2)) * sfreq_hz))


def gather_statistics(x_uv: NDArray[np.float32], *, sfreq_hz: float) -> Statistics:
    """Measure trials (n_epochs, n_samples, n_channels), in microvolts as recorded; their ends are cut into blocks."""
    _, n_samples, n_channels = x_uv.shape
    n_block = min(n_samples, block_samples(n_samples, sfreq_hz))
    n_used = n_samples // n_block * n_block
    blocks = x_uv[:, n_samples - n_used :].reshape(-1, n_block, n_channels).astype(np.float64)
    blocks -= blocks.mean(axis=1, keepdims=True)
    sd_uv = np.sqrt((blocks**2).mean(axis=1))  # (n_blocks, n_channels)
    logs = np.log10(np.maximum(sd_uv, 1e-9))
    covariance = np.zeros((n_channels, n_channels))
    for block in blocks:
        covariance += rereferenced(block.T @ block)
    return Statistics(
        scale_uv=np.median(sd_uv, axis=0),
        spread=_TO_SD * np.median(np.abs(logs - np.median(logs, axis=0)), axis=0),
        covariance=covariance / max(1, len(blocks)),
    )


def rereferenced(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the covariance (n, n) against the average of all n channels, its trace n; zeros where nothing is left."""
    rows = covariance - covariance.mean(axis=0)
    result: NDArray[np.float64] = rows - rows.mean(axis=1, keepdims=True)
    total = float(np.trace(result))
    if not total > 1e-9 * float(np.trace(covariance)):
        return np.zeros_like(result)
    return result * (len(result) / total)
