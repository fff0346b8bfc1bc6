"""A window with a dropped electrode is what the live service makes of one that is bad."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.config.train import FitConfig, ScalingConfig, TrainConfig
from pretap.networks import ClosedFormSpec, CspSpec, LstmSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.fit.dropping import dropping_maps, with_dropped
from pretap_offline.fit.estimator import make_scaling
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.signal.electrodes import Electrodes

CHANNELS = ("FC3", "FCz", "FC4", "C3", "Cz", "C4", "CP3", "CP4")


def windows(n_trials: int = 40) -> np.ndarray:
    x = np.random.default_rng(3).normal(0, 10, (n_trials, 50, len(CHANNELS)))
    return (x + 1000 * np.arange(len(CHANNELS))).astype(np.float32)  # offsets too


def as_live(x_uv: np.ndarray, channel: int) -> np.ndarray:
    weights = interpolation_weights(CHANNELS)
    electrodes = Electrodes(CHANNELS, weights, max_share=0.15, sfreq_hz=100.0, n_window=50)
    electrodes.mask([channel])
    (part,) = electrodes.repair(x_uv)
    return part.x_uv


def test_copies_are_trials_as_the_live_service_masks_them():
    x = windows()
    shown, trials = with_dropped(x, interpolation_weights(CHANNELS), share=0.5, seed=0)
    assert sorted(trials.tolist()) == sorted([*range(40), *range(40)])  # each trial once more
    np.testing.assert_array_equal(shown[:40], x)
    dropped = set()
    for copy, trial in zip(shown[40:], trials[40:], strict=True):
        (k,) = np.flatnonzero((copy != x[trial]).any(axis=0))
        dropped.add(int(k))
        np.testing.assert_allclose(copy, as_live(x[trial], int(k)), rtol=1e-6)
    assert dropped == set(range(len(CHANNELS)))


@pytest.mark.parametrize("reference", ["none", "average"])
def test_the_map_of_a_scaled_window_is_the_mask_before_the_scaling(reference):
    scaling = ScalingConfig(reference=reference, baseline_ms=50.0, block_ms=20.0, divide_uv=10.0)
    config = TrainConfig(network=LstmSpec(hidden=(4,)), scaling=scaling)
    scale = make_scaling(config, sfreq_hz=100.0, n_window=50, n_channels=len(CHANNELS)).apply
    x = windows(1)[0]
    maps = dropping_maps(interpolation_weights(CHANNELS), reference=reference)
    assert len(maps) == len(CHANNELS)
    for k, each in enumerate(maps):
        np.testing.assert_allclose(scale(x) @ each.T, scale(as_live(x, k)), atol=1e-4)


def test_electrodes_without_a_position_are_never_dropped():
    x = windows()
    assert with_dropped(x, None, share=0.5, seed=0)[0] is x
    assert len(dropping_maps(None, reference="average")) == 0
    weights = interpolation_weights([*CHANNELS[:-1], "EXG1"])
    shown, trials = with_dropped(x, weights, share=0.8, seed=0)
    assert len(shown) == 5 * len(x)
    np.testing.assert_array_equal(shown[:, :, -1], x[trials][:, :, -1])


@pytest.mark.parametrize("spec", [LstmSpec(hidden=(4,)), CspSpec(filters=2), ClosedFormSpec()])
def test_a_decoder_that_was_fitted_with_dropped_electrodes_is_another_one(spec):
    labels = np.arange(40) % 2
    epochs = Epochs(windows(), labels, ("left", "right"), CHANNELS, 100.0, 0.0, "noise")
    fits = [
        fit_decoder(epochs, TrainConfig(network=spec, fit=FitConfig(drop_electrodes=share)), seed=0)[0]
        for share in (0.0, 0.5, 0.5)
    ]
    plain, dropping, again = (each.decode(epochs.x_uv) for each in fits)
    assert np.abs(plain - dropping).max() > 1e-6
    np.testing.assert_array_equal(dropping, again)
