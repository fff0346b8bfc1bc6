"""The course of trials over time, averaged over each class: slow potential and band power. Used by `figure`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.epochs import Epochs

BANDS_HZ = {"mu": (8.0, 12.0), "beta": (13.0, 30.0)}
"""The rhythms over the motor areas that weaken before and during a movement (Pfurtscheller and Lopes da Silva 1999)."""
_BASELINE_MS, _END_MS = 100.0, 50.0  # averaged at the start and at the end of the window
_MIN_CYCLES = 2  # of a band's lowest frequency in the window
_ORDER = 2
_TINY = 1e-12
_N_NOISE = 2000
_N_SPECTRA = 200  # trials of which the spectrum is averaged


@dataclass(frozen=True, eq=False)
class Course:
    """One quantity over time, and its summary for a scalp map.

    Attributes
    ----------
    name, unit
        The quantity and its unit.
    mean, low, high
        Mean of each class, and the mean less and plus its standard error, (n_classes, n_samples, n_channels).
    summary
        A value for each class and channel, (n_classes, n_channels).
    span
        The part of the window that `summary` describes.
    """

    name: str
    unit: str
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    summary: NDArray[np.float64]
    span: str

    def effects(self, classes: tuple[str, ...]) -> list[tuple[str, NDArray[np.float64]]]:
        """Return the difference of two classes, or of each class from the mean of all, as (title, (n_channels,))."""
        if len(classes) == 2:
            return [(f"{classes[1]} minus {classes[0]}", self.summary[1] - self.summary[0])]
        overall = self.summary.mean(axis=0)
        return [(f"{name} minus mean of all", each - overall) for name, each in zip(classes, self.summary, strict=True)]


def potential_ends(epochs: Epochs) -> NDArray[np.float64]:
    """Return the potential of each trial (n_epochs, n_channels): last 50 ms less first 100 ms, in microvolts."""
    x = epochs.x_uv
    ends = x[:, -_n_samples(epochs, _END_MS) :].mean(axis=1, dtype=np.float64)
    return np.asarray(ends - x[:, : _n_samples(epochs, _BASELINE_MS)].mean(axis=1, dtype=np.float64))


def slow_potential(epochs: Epochs) -> Course:
    """Return the potential relative to the mean of the first 100 ms of the window."""
    n_base, n_end = _n_samples(epochs, _BASELINE_MS), _n_samples(epochs, _END_MS)
    mean, error = np.zeros((2, len(epochs.classes), epochs.n_samples, len(epochs.channels)))
    for label, raw_uv in _of_each_class(epochs):
        x = raw_uv - raw_uv[:, :n_base].mean(axis=1, keepdims=True)
        mean[label], error[label] = x.mean(axis=0), x.std(axis=0) / np.sqrt(len(x))
    span = f"last {_END_MS:g} ms"
    return Course("slow potential", "µV", mean, mean - error, mean + error, mean[:, -n_end:].mean(axis=1), span)


def why_no_power(epochs: Epochs, band: str) -> str:
    """Return why the power of a band cannot be computed, or an empty text."""
    low_hz, high_hz = BANDS_HZ[band]
    window_ms = 1000 * epochs.n_samples / epochs.sfreq_hz
    if window_ms < 1000 * _MIN_CYCLES / low_hz:
        return f"no {band} power: a window of {window_ms:.0f} ms has fewer than {_MIN_CYCLES} cycles of {low_hz:g} Hz"
    if epochs.sfreq_hz <= 2 * high_hz:
        return f"no {band} power: {epochs.sfreq_hz:g} Hz is too slow for {high_hz:g} Hz"
    return ""


def band_power(epochs: Epochs, band: str) -> Course:
    """Return the power of a band in decibels relative to its mean over all trials and the window.

    The power is the squared envelope of each window, detrended and band-passed without delay. The ends of a window
    change what a filter passes, so everything is divided by the power of stationary noise that is cut like a trial.
    """
    left = _power(_noise_like(epochs), BANDS_HZ[band], sfreq_hz=epochs.sfreq_hz).mean(axis=0)  # (n_samples, 1)
    left /= left.mean()
    mean, error = np.zeros((2, len(epochs.classes), epochs.n_samples, len(epochs.channels)))
    counts = np.zeros(len(epochs.classes))
    for label, x in _of_each_class(epochs):
        power = _power(x, BANDS_HZ[band], sfreq_hz=epochs.sfreq_hz) / left
        mean[label], error[label], counts[label] = power.mean(axis=0), power.std(axis=0) / np.sqrt(len(x)), len(x)
    overall = np.average(mean.mean(axis=1), axis=0, weights=counts)  # (n_channels,)
    mean[counts == 0] = overall

    def decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(10 * np.log10((power + _TINY) / (overall + _TINY)))

    low_hz, high_hz = BANDS_HZ[band]
    return Course(
        name=f"{band} power, {low_hz:g} to {high_hz:g} Hz",
        unit="dB",
        mean=decibels(mean),
        low=decibels(np.maximum(mean - error, 0.1 * mean)),
        high=decibels(mean + error),
        summary=decibels(mean.mean(axis=1)),
        span="whole window",
    )


def _noise_like(epochs: Epochs) -> NDArray[np.float64]:
    """Return windows of stationary noise with the mean spectrum of the trials, (_N_NOISE, n_samples, 1)."""
    from scipy.signal import detrend, get_window

    n = epochs.n_samples
    step = -(-len(epochs) // _N_SPECTRA)
    tapered = detrend(epochs.x_uv[::step].astype(np.float64), axis=1) * get_window("hann", n)[:, None]
    power = (np.abs(np.fft.rfft(tapered, axis=1)) ** 2).mean(axis=0)  # (n_frequencies, n_channels)
    spectrum = (power / (power.sum(axis=0) + _TINY)).mean(axis=1)
    # twice as long as a trial, so that the ends of the cut noise do not fit together as those of a Fourier series do
    doubled = np.interp(np.linspace(0, 1, n + 1), np.linspace(0, 1, len(spectrum)), spectrum)  # (n + 1,)
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(2, _N_NOISE, n + 1)) * np.sqrt(doubled)
    return np.asarray(np.fft.irfft(parts[0] + 1j * parts[1], axis=1)[:, :n, None])


def _power(x: NDArray[np.float64], band_hz: tuple[float, float], *, sfreq_hz: float) -> NDArray[np.float64]:
    """Return the squared envelope of windows (n, n_samples, n_channels) in a band."""
    from scipy.signal import butter, detrend, hilbert, sosfiltfilt

    sections = butter(_ORDER, band_hz, "bandpass", fs=sfreq_hz, output="sos")
    n_pad = min(x.shape[1] - 1, round(sfreq_hz / band_hz[0]))
    passed = sosfiltfilt(sections, detrend(x, axis=1), axis=1, padlen=n_pad)  # (n, n_samples, n_channels)
    return np.asarray(np.abs(hilbert(passed, axis=1)) ** 2)


def _n_samples(epochs: Epochs, duration_ms: float) -> int:
    return min(epochs.n_samples, max(1, round(duration_ms / 1000 * epochs.sfreq_hz)))


def _of_each_class(epochs: Epochs) -> list[tuple[int, NDArray[np.float64]]]:
    """Return the trials (n_members, n_samples, n_channels) of each class that has some."""
    assert epochs.labels is not None
    return [(int(label), epochs.x_uv[epochs.labels == label].astype(np.float64)) for label in np.unique(epochs.labels)]
