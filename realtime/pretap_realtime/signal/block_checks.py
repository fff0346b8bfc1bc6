"""Checks of one block of a quarter of a second: what it shows of each electrode. Pure; used by the quality check."""

from __future__ import annotations

import statistics
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.config.serve import QualityConfig
from pretap.signal.statistics import Statistics

_lowest, _highest = np.minimum.reduce, np.maximum.reduce  # half the cost of the methods

_RAIL_SHARE = 0.2  # of a block's samples are its highest, or its lowest, value: the tops of a clipped wave
_MIN_ON_RAIL = 4  # samples; the competition's blocks of 25 samples in steps of 0.1 uV have up to 3 alike
_SPAN_UV = 2.0  # a smaller signal has equal values by its steps
_RAIL_UV = 1000.0  # a constant so far from zero is a rail, not a dead electrode
_MAX_UV = 1e15  # no voltage; the squares of a block of larger ones would leave float32
_SHORTEST_MAINS_S = 0.1  # five periods
_HIGHEST_MAINS = 0.45  # of the rate
_SPREADS = 6.0  # standard deviations of an electrode's own scale that are no fault
_MAINS_GROWTH = 2.0  # mains that the training held, or that all electrodes have in common, are no fault of one
_NOISE_HZ = (15.0, 40.0)  # above blinks and movements, below mains
_ALONE = 8.0  # times as far from the nearest electrode; on nine real heads 100 uV of noise was, and nothing for long
_WHOLE = 30.0  # factor by which all electrodes may be larger or smaller than in the training: another amplifier or head
_UNIT = 100.0  # beyond, it is a unit
_TAKEN_FOR = {
    -3: "volts taken for nanovolts",
    -2: "volts taken for microvolts",
    -1: "millivolts taken for microvolts",
    1: "microvolts taken for millivolts",
    2: "microvolts taken for volts",
}


class Findings(msgspec.Struct, frozen=True, eq=False):
    """Findings on one block; (n_channels,) each.

    Attributes
    ----------
    nonfinite, railed, mains, off_scale, noisy
        Whether the electrode is not finite, railed, dominated by mains, off scale, or noisy. A value too large for a
        voltage counts as not finite.
    judged
        Whether `railed`, `mains` and `noisy` could be told; `scaled`: whether `off_scale` could.
    mains_hz
        The stronger of the frequencies looked for.
    relative
        The electrode's scale, as a multiple of the training's, beside that of all others.
    overall
        How many times as large as in the training the electrodes are, in the median; None if that cannot be told.
    products
        (n_channels, n_channels) of the channels without their means, summed over the block.
    """

    nonfinite: NDArray[np.bool_]
    railed: NDArray[np.bool_]
    mains: NDArray[np.bool_]
    off_scale: NDArray[np.bool_]
    noisy: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    scaled: NDArray[np.bool_]
    mains_hz: NDArray[np.float64]
    relative: NDArray[np.float64]
    overall: float | None
    products: NDArray[np.float32]


class _KnownScale(NamedTuple):
    """Scale of the training signal: whether it is known, and how far a channel may be off; (n_channels,) each."""

    is_known: NDArray[np.bool_]
    typical_uv: NDArray[np.float64]
    max_ratio: NDArray[np.float64]

    @classmethod
    def of(cls, known: Statistics, settings: QualityConfig) -> _KnownScale:
        is_known = known.scale_uv > 0
        max_ratio = np.maximum(settings.off_scale, 10 ** (_SPREADS * known.spread))
        return cls(is_known, np.where(is_known, known.scale_uv, 1.0), max_ratio)


class BlockChecks:
    """Checks blocks of `n_block` samples at `sfreq_hz`; `present` (n_channels,) are the electrodes of the stream."""

    def __init__(
        self,
        settings: QualityConfig,
        known: Statistics | None,
        *,
        sfreq_hz: float,
        n_block: int,
        present: NDArray[np.bool_],
    ) -> None:
        self._settings, self._present = settings, present
        self._ones = np.ones(n_block, np.float32)
        self._n_rail = max(_MIN_ON_RAIL, round(_RAIL_SHARE * n_block))
        long_enough = n_block >= _SHORTEST_MAINS_S * sfreq_hz
        self.mains_hz = tuple(f for f in settings.mains_hz if long_enough and f < _HIGHEST_MAINS * sfreq_hz)
        self._waves, self._to_power = _waves(self.mains_hz, n_block=n_block, sfreq_hz=sfreq_hz)
        bins_hz = np.arange(1, n_block // 2) * sfreq_hz / n_block
        in_band = (bins_hz >= _NOISE_HZ[0]) & (bins_hz <= _NOISE_HZ[1])
        self._band = _waves(tuple(bins_hz[in_band].tolist()), n_block=n_block, sfreq_hz=sfreq_hz)[0]
        self._scale = None if known is None else _KnownScale.of(known, settings)

    def judge(self, block_uv: NDArray[np.float32]) -> Findings:
        """Judge a block (n_block, n_channels), as it came."""
        nonfinite = np.zeros(block_uv.shape[1], bool)
        high, low = _highest(block_uv), _lowest(block_uv)
        if not ((high < _MAX_UV) & (low > -_MAX_UV)).all():  # NaN too; otherwise no value needs a look of its own
            usable = np.abs(block_uv) < _MAX_UV
            nonfinite = ~usable.all(axis=0) & self._present
            block_uv = np.where(usable, block_uv, np.float32(0))
            high, low = _highest(block_uv), _lowest(block_uv)
        x = block_uv - (self._ones @ block_uv) / np.float32(len(block_uv))
        products = x.T @ x
        variance = products.diagonal().astype(np.float64) / len(x)  # (n_channels,)
        judged = self._present & ~nonfinite
        n_high, n_low = self._count(block_uv == high), self._count(block_uv == low)
        span, far = high - low, np.maximum(np.abs(high), np.abs(low)) > _RAIL_UV
        railed = judged & (np.maximum(n_high, n_low) >= self._n_rail) & ((span > _SPAN_UV) | far)
        mains, mains_hz = self._find_mains(x, variance)
        mains &= judged & ~railed
        constant = span <= 1e-6 * np.abs(high)  # what is flat in steps of float32
        scaled = judged & ~constant & ~railed & ~mains
        noisy = self._find_noise(x, judged & ~constant & ~railed)
        off_scale, relative, overall = np.zeros_like(judged), np.ones(len(judged)), None
        if (scale := self._scale) is not None:
            mains &= ~scale.is_known | (np.sqrt(variance) > _MAINS_GROWTH * scale.typical_uv)
            scaled = judged & ~constant & ~railed & ~mains & scale.is_known
            if 2 * scaled.sum() >= self._present.sum():
                size = np.sqrt(variance) / scale.typical_uv
                overall = statistics.median(size[scaled].tolist())
                if overall > 0:
                    relative = size / overall
                    off_scale = scaled & ((relative > scale.max_ratio) | (relative < 1 / scale.max_ratio))
        return Findings(
            nonfinite,
            railed,
            mains,
            off_scale,
            noisy,
            judged,
            scaled & (overall is not None),
            mains_hz,
            relative,
            overall,
            products,
        )

    def _count(self, found: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Count along the samples (n_block, n_channels), exactly: BLAS is faster than the sum of booleans."""
        return self._ones @ found.astype(np.float32)

    def _find_mains(
        self, x: NDArray[np.float32], variance: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        if not self.mains_hz:
            return np.zeros(x.shape[1], bool), np.zeros(x.shape[1])
        found = self._waves @ x  # (2 x n_frequencies, n_channels)
        found *= found
        power = found[::2] + found[1::2]  # (n_frequencies, n_channels)
        strongest = _highest(power)  # (n_channels,)
        share = self._to_power * strongest / np.maximum(variance, 1e-12)
        common = statistics.median_low(strongest.tolist()) if len(strongest) > 1 else 0.0
        stands_out = strongest > _MAINS_GROWTH**2 * common
        return (share > self._settings.mains_share) & stands_out, np.array(self.mains_hz)[power.argmax(axis=0)]

    def _find_noise(self, x: NDArray[np.float32], candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Find electrodes that differ much more from the nearest one, in the band of `_NOISE_HZ`, than others do.

        A distance needs no reference: what the electrodes have in common, or those of one of two amplifiers, can be
        far larger than their EEG.
        """
        found = np.zeros_like(candidates)
        if candidates.sum() < 3:  # of two, either could be the bad one
            return found
        waves = self._band @ x[:, candidates]  # (2 x n_frequencies, n_candidates)
        products = waves.T @ waves
        power = products.diagonal()
        distance2 = power[:, None] + power - 2 * products
        np.fill_diagonal(distance2, np.inf)
        nearest = np.sqrt(np.maximum(distance2.min(axis=1), 0))  # (n_candidates,)
        found[candidates] = nearest > _ALONE * statistics.median(nearest.tolist())
        return found

    def describe_size(self, overall: float | None) -> str:
        """Return what is wrong with the size of the whole signal, empty for nothing."""
        if overall is None or (1 / _WHOLE <= overall <= _WHOLE):
            return ""
        how = "larger" if overall > 1 else "smaller"
        return (
            describe_unit_error(overall) or f"all electrodes are more than {_WHOLE:g} times {how} than in the training"
        )


def describe_unit_error(ratio: float) -> str:
    """Return the unit error that makes a signal `ratio` times as large as it should be; empty if it is none."""
    if not ratio > 0 or 1 / _UNIT < ratio < _UNIT:
        return ""
    thousands = round(np.log10(ratio) / 3)
    size = "large" if ratio > 1 else "small"
    guess = f": {_TAKEN_FOR[thousands]}" if thousands in _TAKEN_FOR else ""
    return (
        f"wrong unit? The signal is about 10^{abs(3 * thousands)} times too {size}{guess}. Set [stream] unit to "
        "what the amplifier sends"
    )


def _waves(frequencies_hz: tuple[float, ...], *, n_block: int, sfreq_hz: float) -> tuple[NDArray[np.float32], float]:
    """Return rows (2 x n_frequencies, n_block) that find waves under a Hann window, and the factor to their power."""
    window = np.sin(np.pi * (np.arange(n_block) + 0.5) / n_block) ** 2
    # A wave of amplitude a gives a * sum(window) / 2 in both together; its power is a^2 / 2.
    return _sinusoids(frequencies_hz, n_block, sfreq_hz) * window.astype(np.float32), float(2 / window.sum() ** 2)


def _sinusoids(frequencies_hz: tuple[float, ...], n_block: int, sfreq_hz: float) -> NDArray[np.float32]:
    """Return a cosine and a sine for each frequency, (2 x n_frequencies, n_block)."""
    angles = [2 * np.pi * f * np.arange(n_block) / sfreq_hz for f in frequencies_hz]
    rows = [wave for angle in angles for wave in (np.cos(angle), np.sin(angle))]
    return np.array(rows, np.float32).reshape(-1, n_block)
