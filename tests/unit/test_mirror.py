"""A mirrored window has its electrodes and its class swapped, and what cannot be mirrored is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretap.config.train import FitConfig, TrainConfig
from pretap.errors import UsageError
from pretap.networks import LstmSpec
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import standard_montage
from pretap_offline.fit.mirror import mirror_partners
from pretap_offline.fit.neural import cosine_factor, make_network_classifier


def classifier(channels=("C3", "Cz", "C4"), n_classes=2, **fit):
    fit = {"optimizer": "adamw", "learning_rate": 1e-2, "batch_size": 5, "max_epochs": 2} | fit
    config = TrainConfig(network=LstmSpec(hidden=(3,)), fit=FitConfig(**fit))
    windows = np.zeros((12, 4, len(channels)), np.float32)
    like = Epochs(windows, None, ("left", "right", "foot")[:n_classes], channels, 100.0, 0.0, "zeros")
    return make_network_classifier(config, like=like, n_steps=4, fixed={}, seeds=(0,), advance=None)


def test_odd_and_even_electrodes_change_places_and_the_midline_stays():
    names = ("FC5", "Fz", "FC6", "CP1", "fcz", "CP2", "P10", "P9")
    assert [names[i] for i in mirror_partners(names, n_classes=2)] == [
        "FC6", "Fz", "FC5", "CP2", "fcz", "CP1", "P9", "P10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["EEG C3", "C4-Ref", "T7", "T4", "fp1.", "Fp2"], [1, 0, 3, 2, 5, 4]),
        ([f"A{i}" for i in range(1, 17)], [1, 0, 4, 3, 2, 9, 8, 7, 6, 5, 12, 11, 10, 15, 14, 13]),  # BioSemi 16
    ],
)
def test_names_of_any_kind_that_mean_standard_electrodes_are_understood(names, expected):
    assert mirror_partners(names, n_classes=2).tolist() == expected


def test_every_standard_electrode_s_partner_is_the_nearest_to_its_mirror_image():
    positions = standard_montage().get_positions()["ch_pos"]
    names = [name for name in positions if name not in {"T3", "T4", "T5", "T6"}]  # T7, T8, P7, P8
    places = np.array([positions[name] for name in names])
    away = np.linalg.norm(places[:, None] * [-1, 1, 1] - places, axis=2)
    assert mirror_partners(names, n_classes=2).tolist() == away.argmin(axis=1).tolist()


@pytest.mark.parametrize(
    ("channels", "n_classes", "sentence"),
    [
        (("C3", "Cz", "C4", "F7"), 2, "1 of 4 electrodes have no partner on the other side of the head: F7"),
        (("C3", "C4", "E12", "VEOG"), 2, "2 of 4 electrodes have no partner on the other side of the head: E12, VEOG"),
        (("C3", "C4", "VEOG1", "VEOG2"), 2, "2 of 4 electrodes .*: VEOG1, VEOG2"),
        (tuple(f"E{i}" for i in range(1, 9)), 2, "8 of 8 electrodes .*: E1, E2, E3"),  # of a net that is not known
        (tuple(f"A{i}" for i in range(1, 9)), 2, "6 of 8 electrodes .*: A3, A4, A5"),  # A1 and A2 are the earlobes
        (("C3", "EEG C3", "C4"), 2, "1 of 3 electrodes .*: C3"),  # one electrode twice
        (("Cz", "Fz"), 2, "all 2 electrodes lie on the midline"),
        (("C3", "C4"), 3, "expected 2 classes, got 3"),
    ],
)
def test_channels_without_a_mirror_image_are_refused(channels, n_classes, sentence):
    with pytest.raises(UsageError, match=sentence):
        classifier(channels=channels, n_classes=n_classes, mirror=0.5)


def test_always_mirroring_is_training_on_mirrored_windows_with_the_other_labels():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4, 3)).astype(np.float32), rng.integers(0, 2, 20)
    mirrored = classifier(mirror=1.0).fit(x, y).module_.export()
    # the draws of mirror = 1 shift no other: the order of the windows comes from a generator seeded before
    by_hand = classifier(mirror=1.0).set_params(mirror=1e-12).fit(x[:, :, ::-1].copy(), 1 - y).module_.export()
    for name, weight in mirrored.items():
        np.testing.assert_array_equal(weight, by_hand[name])


def test_the_cosine_schedule_warms_up_over_a_tenth_and_ends_near_zero():
    factors = np.array([cosine_factor(i, n_batches=100) for i in range(100)])
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    assert (np.diff(factors[9:]) < 0).all()
    assert factors[54] == pytest.approx(0.5, abs=0.01)
    assert 0 < factors[-1] < 0.001


def test_the_schedule_is_that_of_the_batches_trained():
    rates = []
    net = classifier(schedule="cosine")

    class Watch(torch.optim.AdamW):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    net.set_params(optimizer=Watch).fit(np.zeros((12, 4, 3), np.float32), np.arange(12) % 2)
    assert rates == [1e-2 * cosine_factor(i, n_batches=6) for i in range(6)]  # 3 batches an epoch, 2 epochs
