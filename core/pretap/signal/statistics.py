"""Statistics of the training signal: the amplitude of each channel, and the covariance of the channels.

They are part of a bundle. The live service compares a stream with them (`pretap_realtime.signal.quality`). Both sides
measure over blocks of a quarter of a second, each without its mean, since an amplifier's offset carries no information.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

SCALE, COVARIANCE = "channels.scale", "channels.covariance"  # the tensors' names in a bundle
_BLOCK_S = 0.25
_MIN_BLOCK_S = 0.05  # in a shorter one, an amplifier with steps of 0.5 uV looks flat
_TO_SD = 1.4826  # factor from the median absolute deviation of a normal distribution to its standard deviation


class Statistics(msgspec.Struct, frozen=True, eq=False):
    """Amplitude and covariance of the channels, see the module.

    Attributes
    ----------
    scale_uv
        (n_channels,) median over blocks of a channel's standard deviation, in microvolts, as recorded, with no other
        reference.
    spread
        (n_channels,) its variation from block to block: a robust standard deviation of the decimal logarithm.
    covariance
        (n_channels, n_channels) of the channels in common average reference, so that it does not depend on the
        recording's reference. Each block has the same weight, a total variance of n_channels.
    """

    scale_uv: NDArray[np.float64]
    spread: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Statistics | None:
        """Read the statistics from the tensors of a bundle; None if it has none."""
        if SCALE not in tensors:
            return None
        scale_uv, spread = np.asarray(tensors[SCALE], np.float64)
        return cls(scale_uv, spread, np.asarray(tensors[COVARIANCE], np.float64))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return the tensors for a bundle."""
        return {
            SCALE: np.stack([self.scale_uv, self.spread]).astype(np.float32),  # (2, n_channels)
            COVARIANCE: self.covariance.astype(np.float32),
        }


def block_samples(n_window: int, sfreq_hz: float) -> int:
    """Return the length of a block in samples: 0.25 s or, if shorter, half a window, but at least 0.05 s."""
    return max(2, round(min(_BLOCK_S, max(_MIN_BLOCK_S, n_window / sfreq_hz / 2)) * sfreq_hz))


def gather_statistics(x_uv: NDArray[np.float32], *, sfreq_hz: float) -> Statistics:
    """Compute the statistics of trials (n_epochs, n_samples, n_channels), in microvolts as recorded.

    Blocks are cut from the end of each trial.
    """
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
    """Return a covariance (n, n) in common average reference, scaled to a trace of n, or zeros if nothing is left."""
    rows = covariance - covariance.mean(axis=0)
    result: NDArray[np.float64] = rows - rows.mean(axis=1, keepdims=True)
    total = float(np.trace(result))
    if not total > 1e-9 * float(np.trace(covariance)):
        return np.zeros_like(result)
    return result * (len(result) / total)
