"""The low-pass in front of a decimation."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.config.train import ScalingConfig
from pretap_offline.fit.decimation import design_fir


def design(*, n_taps=59, mains_hz=(), delay_ms=1e5):
    """Design a filter for 1000 Hz; by default its delay is half its length."""
    config = ScalingConfig(pass_hz=30.0, stop_hz=48.0, mains_hz=mains_hz, delay_ms=delay_ms)
    return design_fir(config, n_taps=n_taps, sfreq_hz=1000.0)


def gain(taps, hz, *, sfreq_hz=1000.0):
    """Return the gain at these frequencies."""
    n = np.arange(len(taps))
    return np.abs(np.exp(-2j * np.pi * np.multiply.outer(hz, n) / sfreq_hz) @ taps)


@pytest.mark.parametrize("n_taps", [1, 12, 30, 59])
def test_a_constant_passes_unchanged(n_taps):
    taps = design(n_taps=n_taps, mains_hz=(50.0, 60.0), delay_ms=15.0)
    assert taps.shape == (n_taps,)
    assert taps.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_filter_is_symmetric_if_its_delay_is_half_its_length():
    taps = design(mains_hz=(50.0, 60.0))
    np.testing.assert_allclose(taps, taps[::-1], atol=1e-9)


def test_a_slow_wave_comes_out_delay_ms_late():
    taps = design(mains_hz=(50.0, 60.0), delay_ms=15.0)
    ramp = np.arange(1000.0)  # ms
    late_ms = ramp[500] - np.convolve(ramp, taps)[500]
    assert late_ms == pytest.approx(15.0, abs=3.0)


def test_mains_is_stopped_and_the_rhythms_pass():
    taps = design(mains_hz=(50.0, 60.0), delay_ms=15.0)
    assert gain(taps, [50.0, 60.0]).max() < 0.01  # 20 uV become 0.2 uV
    assert gain(taps, np.arange(60.0, 201.0)).max() < 0.05
    assert gain(taps, np.arange(0.0, 26.0)).min() > 0.8


@pytest.mark.parametrize("mains_hz", [(50.0,), (60.0,), (50.0, 60.0)])
def test_named_mains_frequencies_are_stopped_better_than_others(mains_hz):
    named, plain = design(mains_hz=mains_hz), design()
    assert (gain(named, mains_hz) < gain(plain, mains_hz) / 4).all()


def test_mains_below_the_stop_band_or_above_half_the_rate_changes_nothing():
    np.testing.assert_array_equal(design(mains_hz=(16.7, 600.0)), design())
