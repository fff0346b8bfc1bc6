"""Resamples a running signal, causally and sample by sample. Used for live streams and for recordings.

A windowed-sinc FIR low-pass in polyphase form (Kaiser window; Oppenheim & Schafer, Discrete-Time Signal Processing,
ch. 4 and 7). It reaches `_HALF_PERIODS` periods of the lower of the two rates to both sides, so an output is known
that much after the instant it stands for. That instant is its timestamp: the delay costs waiting, never a shift in
time.

Every phase of the filter sums to 1, so a constant passes exactly: with 100 mV of electrode offset, phases that differ
by 1e-4 would make a rhythm of 10 uV. Each output is one product of fixed shape: chunk boundaries change no bit.

Positions count samples, not timestamps: a clock that is off by 50 ppm stays off by 50 ppm at the other rate, as the
same amplifier set to that rate would be.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_HALF_PERIODS = 8
_KAISER_BETA = 5.0  # flat within 0.5 % up to 0.4 of the lower rate; aliases below that are attenuated by 53 dB
_MAX_PHASES = 1000  # exact for whole rates up to 1000 Hz and their usual partners; 92.67 to 100 Hz is off by 2e-6


class Resampler:
    """Resamples from one rate to another, see the module.

    Parameters
    ----------
    from_hz, to_hz
        The two rates in hertz.

    Attributes
    ----------
    delay_s
        The time from the timestamp of an output until it is known, in seconds.
    lead
        Input samples before the first output: output 0 is at input sample `lead`, counted from the reset.
    step
        Input samples from one output to the next, an exact fraction: output m stands at ``lead + m * step``.
    """

    def __init__(self, *, from_hz: float, to_hz: float, n_channels: int) -> None:
        per_input = _fraction(to_hz / from_hz)
        self.step = 1 / per_input
        n_half = math.ceil(_HALF_PERIODS * max(1.0, from_hz / to_hz))
        self.lead, self.delay_s = n_half - 1, n_half / from_hz
        self._n_half = n_half
        self._phases = _phases(per_input.numerator, n_half, cutoff=min(1.0, to_hz / from_hz))  # (n_phases, 2 n_half)
        self._n_channels = n_channels
        self.reset()

    def reset(self, *, output: int = 0) -> int:
        """Forget all samples: the next output comes once the filter is full again.

        With `output`, it is the one of this number. Return the number of the input sample that must come next.
        """
        self._x = np.empty((0, self._n_channels))  # input samples from `_first` on, which later outputs still need
        self._t = np.empty(0)
        self._n_out = output
        self._first = output * self.step.numerator // self.step.denominator
        return self._first

    def n_outputs(self, n_samples: int) -> int:
        """Return how many outputs the first `n_samples` samples complete."""
        # Output m needs input samples up to lead + floor(m * step) + n_half.
        last = n_samples - 1 - self.lead - self._n_half
        return 0 if last < 0 else ((last + 1) * self.step.denominator - 1) // self.step.numerator + 1

    def input_end(self, output: int) -> int:
        """Return the number of input samples that complete an output."""
        return self.lead + output * self.step.numerator // self.step.denominator + self._n_half + 1

    def process(
        self, x: NDArray[np.float32], t_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the output samples and timestamps that finite samples (n_new, n_channels) at (n_new,) complete."""
        self._x = np.concatenate([self._x, x])  # float64
        self._t = np.concatenate([self._t, t_s])
        n_phases, n_taps = self._phases.shape
        stride = self.step.numerator
        n_new = max(0, self.n_outputs(self._first + len(self._x)) - self._n_out)
        position = (self._n_out + np.arange(n_new)) * stride  # in units of 1 / n_phases of an input sample
        at, phase = position // n_phases - self._first, position % n_phases  # `at`: the first tap's row
        out = np.empty((n_new, self._n_channels), np.float32)
        for row, i, k in zip(out, at.tolist(), phase.tolist(), strict=True) if self._n_channels else ():
            row[:] = self._phases[k] @ self._x[i : i + n_taps]  # (n_taps,) @ (n_taps, n_channels)
        centre = at + self.lead
        before = self._t[centre]
        timestamps = before + phase / n_phases * (self._t[centre + 1] - before)
        self._n_out += n_new
        unneeded = self._n_out * stride // n_phases - self._first
        unneeded = min(unneeded, len(self._x))
        self._x, self._t, self._first = self._x[unneeded:], self._t[unneeded:], self._first + unneeded
        return out, timestamps


def _fraction(ratio: float) -> Fraction:
    """Approximate a ratio by a fraction whose numerator, the number of phases, is at most `_MAX_PHASES`."""
    if ratio >= 1:
        return 1 / Fraction(1 / ratio).limit_denominator(_MAX_PHASES)
    return Fraction(ratio).limit_denominator(_MAX_PHASES)


def _phases(n_phases: int, n_half: int, *, cutoff: float) -> NDArray[np.float64]:
    """Design the filter. Row k weights the 2 n_half samples around the instant k / n_phases after the middle one.

    `cutoff` is the corner frequency in units of half the input rate.
    """
    tap = np.arange(2 * n_half) - (n_half - 1)
    off = np.arange(n_phases)[:, None] / n_phases - tap  # (n_phases, 2 n_half) input samples from tap to instant
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (off / n_half) ** 2, 0, None)))
    weights = np.where(np.abs(off) <= n_half, np.sinc(cutoff * off) * window, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
