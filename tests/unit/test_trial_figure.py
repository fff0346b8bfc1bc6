"""The picture of the trials: power over time that is true up to the ends of a window, for any classes and montage."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.pattern_figure import draw_patterns, why_no_patterns
from pretap_offline.trials.courses import band_power, slow_potential
from pretap_offline.trials.figure import draw_trials

SFREQ_HZ, N_TRIALS = 250.0, 300
CHANNELS = ("C3", "C4", "Cz", "Fz", "Pz", "O1", "O2")


def noisy(*, hz=10.0, n_samples=125, classes=("left", "right"), factors=(1.0, 2.0), channels=CHANNELS) -> Epochs:
    """Brownian noise and a rhythm of random phase, `factors` times as large in each class at the first channel."""
    rng = np.random.default_rng(0)
    labels = np.arange(N_TRIALS) % len(classes)
    x = np.cumsum(rng.normal(0, 0.5, (N_TRIALS, n_samples, len(channels))), axis=1)
    phase = 2 * np.pi * (rng.random((N_TRIALS, 1)) + hz * np.arange(n_samples) / SFREQ_HZ)
    x += 10 * np.cos(phase)[:, :, None]
    x[:, :, 0] += 10 * (np.array(factors)[labels, None] - 1) * np.cos(phase)
    return Epochs(x.astype(np.float32), labels, classes, channels, SFREQ_HZ, -130.0, "noise")


@pytest.mark.parametrize(("band", "hz"), [("mu", 10.0), ("beta", 20.0)])
def test_power_that_is_four_times_as_large_is_six_decibels_more_at_every_time(band, hz):
    course = band_power(noisy(hz=hz), band)
    difference = course.mean[1, :, 0] - course.mean[0, :, 0]
    np.testing.assert_allclose(difference[12:-12], 20 * np.log10(2), atol=1.0)  # at the ends, noise adds to both
    ((title, values),) = course.effects(("left", "right"))
    assert title == "right minus left"
    assert values == pytest.approx([20 * np.log10(2), *[0.0] * 6], abs=0.5)


def test_power_that_does_not_change_over_time_does_not_fall_at_the_ends_of_the_window():
    course = band_power(noisy(hz=20.0, factors=(1.0, 1.0)), "beta")
    assert np.abs(course.mean).max() < 2.0  # without the correction it falls by more than 5 dB


def test_the_effect_of_each_of_three_classes_is_its_difference_from_the_mean_of_all():
    epochs = noisy(classes=("feet", "right", "left"), factors=(1.0, 1.0, 1.0))
    effects = slow_potential(epochs).effects(epochs.classes)
    assert [title for title, _ in effects] == [f"{name} minus mean of all" for name in epochs.classes]
    np.testing.assert_allclose(sum(values for _, values in effects), 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        ({}, ""),
        ({"classes": ("left", "right", "feet"), "factors": (1.0, 1.0, 2.0)}, ""),
        ({"n_samples": 50}, "no mu power: a window of 200 ms has fewer than 2 cycles of 8 Hz"),
        (
            {"channels": ("E1",)},
            "no C3 and C4: the figure shows E1, where the classes differ most; no scalp map",
        ),
        ({"channels": ("C3", "C4")}, "no scalp map: positions are known for 2 of 2 channels"),
    ],
)
def test_the_figure_says_what_it_leaves_out(changes, notes, tmp_path):
    path = tmp_path / "trials.png"
    said = draw_trials(noisy(**changes), path)
    assert said.startswith(notes)
    assert bool(said) == bool(notes)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_the_patterns_of_decisions_are_drawn_for_caps_with_known_electrodes(classes, tmp_path):
    epochs, path = noisy(classes=classes, factors=(1.0,) * len(classes)), tmp_path / "patterns.png"
    assert why_no_patterns(epochs) == ""
    draw_patterns(epochs, np.eye(len(classes))[epochs.labels], path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert why_no_patterns(noisy(channels=("C3", "C4", "E1"))) == (
        "no figure of patterns: positions are known for 2 of 3 channels"
    )
