"""Trials at another sampling rate, without ruining the end of the window, which says most."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from pretap.errors import MissingPackageError, UsageError
from pretap.recordings.epochs import Epochs

__all__ = ["resample_epochs"]


def resample_epochs(epochs: Epochs, *, sfreq_hz: float) -> Epochs:
    """Resample trials to `sfreq_hz`, keeping the last sample of each window where it is.

    ``scipy.signal.resample_poly(..., padtype="line")`` on the time-reversed window, reversed back. From 100 to 1000 Hz,
    sample k lies at index 10 k + 9: the last sample stays the last, and only the first nine are extrapolated. Done
    the obvious way (forwards, zero padding) the last ten samples fade out. Going down, the last sample is kept and
    every `down`-th one before it, after the anti-alias filter.

    Parameters
    ----------
    epochs
        Trials at any rate; at `sfreq_hz` already, they come back as they are.
    sfreq_hz
        The new rate in hertz. The ratio of the rates is taken as a fraction with a denominator of at most 10 000.

    Returns
    -------
    Epochs
        float32, (n_epochs, ceil(n_samples * ratio), n_channels). Labels and `trial_ids` (of the trials as read) stay;
        `resampled_from_hz` says the rate of the file.
    """
    if not (math.isfinite(sfreq_hz) and sfreq_hz > 0):
        raise UsageError(f"Expected a positive sampling rate in hertz to resample to, got {sfreq_hz}.")
    if sfreq_hz == epochs.sfreq_hz:
        return epochs
    try:
        from scipy.signal import resample_poly
    except ImportError:
        raise MissingPackageError.for_extra("Resampling", missing="scipy") from None
    ratio = (Fraction(sfreq_hz) / Fraction(epochs.sfreq_hz)).limit_denominator(10_000)
    if ratio == 0:
        raise UsageError(
            f"Cannot resample from {epochs.sfreq_hz:g} to {sfreq_hz:g} Hz: less than one sample in 10 000."
        )
    reversed_uv = epochs.x_uv[:, ::-1].astype(np.float64)  # (n_epochs, n_samples, n_channels)
    out_uv = resample_poly(reversed_uv, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return replace(
        epochs,
        x_uv=np.ascontiguousarray(out_uv[:, ::-1], dtype=np.float32),  # (n_epochs, n_samples * ratio, n_channels)
        sfreq_hz=float(sfreq_hz),
        resampled_from_hz=epochs.sfreq_hz if epochs.resampled_from_hz is None else epochs.resampled_from_hz,
        trial_ids=epochs.trial_ids,
    )
