"""Scalp patterns: filters and decisions show where the classes differ, for every kind of network."""

from __future__ import annotations

import re

import numpy as np
import pytest
from msgspec.structs import replace as changed

from pretap.config.train import TrainConfig
from pretap.networks import ClosedFormSpec, CspSpec, EegNetSpec, LrpErdLstmSpec, TangentSpaceSpec
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.lab.report.patterns import Group, HeadMap, decision_patterns, filter_patterns, patterns_of
from pretap_offline.lab.report.topographies import Topographies
from report_cases import CHANNELS, LDA, LSTM, SCALING, TRAINED, trials


def test_a_filter_that_cancels_noise_shows_the_place_of_its_source():
    rng = np.random.default_rng(0)
    source, noise = rng.normal(size=(2, 20_000))
    x = np.stack([source + noise, noise, 0 * noise], axis=1)  # the source reaches channel 0 alone
    (pattern,) = filter_patterns(np.array([[1.0, -1.0, 0.0]]), x)  # the weights are as large on channel 1
    np.testing.assert_allclose(pattern, [1, 0, 0], atol=0.03)


def test_patterns_survive_filters_that_are_not_independent():
    x = np.random.default_rng(0).normal(size=(1000, 3))
    same = filter_patterns(np.array([[1.0, 0, 0], [1.0, 0, 0]]), x)
    np.testing.assert_allclose(same.sum(axis=0), [1, 0, 0], atol=0.1)


def test_the_whole_decision_has_its_maximum_at_the_electrodes_that_differ():
    epochs = trials(n=200)
    probs = np.where(epochs.labels[:, None] == np.arange(2), 0.9, 0.1)
    slow, power = decision_patterns(epochs, probs)
    assert [each.title for each in slow.maps] == [f"{a} to {a + 100} ms" for a in range(-630, -130, 100)]
    assert slow.maps[-1].values.argmin() == CHANNELS.index("C3")
    assert slow.maps[-1].values.argmax() == CHANNELS.index("C4")
    assert power.maps[0].values.argmin() == CHANNELS.index("C3")


KINDS = {
    "lda": LDA,
    "csp": TrainConfig(network=CspSpec(filters=2), scaling=SCALING),
    "tangent-space": TrainConfig(network=TangentSpaceSpec(), scaling=SCALING),
    "closed-form": TrainConfig(network=ClosedFormSpec(), scaling=SCALING),
    "lstm": LSTM,
    "eegnet": TrainConfig(network=EegNetSpec(temporal=2), scaling=SCALING, fit=TRAINED),
    "lrp-erd-lstm": TrainConfig(
        network=LrpErdLstmSpec(lrp_filters=3, erd_filters=2),
        scaling=changed(SCALING, divide_uv=1.0),
        fit=TRAINED,
    ),
    "lrp-erd-lstm without LRP": TrainConfig(
        network=LrpErdLstmSpec(lrp_filters=0, erd_filters=2, start="csp"), scaling=SCALING, fit=TRAINED
    ),
}
N_MAPS = {
    "lda": (5, 5),
    "csp": (2,),
    "tangent-space": (6,),
    "closed-form": (6, 5, 5),
    "lstm": (2,),
    "eegnet": (4,),
    "lrp-erd-lstm": (3, 2),
    "lrp-erd-lstm without LRP": (2,),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_maps_with_one_value_per_channel(kind):
    epochs = trials(n=60)
    decoder, tensors = fit_decoder(epochs, KINDS[kind], seed=0)
    groups = patterns_of(decoder, tensors, epochs)
    assert tuple(len(group.maps) for group in groups) == N_MAPS[kind]
    for group in groups:
        for each in group.maps:
            assert each.values.shape == (len(CHANNELS),)
            assert np.isfinite(each.values).all()
            assert each.values.any()


def test_lda_sees_the_ramp_at_its_end_and_csp_the_weaker_rhythm():
    epochs = trials(n=200)
    pattern, _ = patterns_of(*fit_decoder(epochs, LDA, seed=0), epochs)
    assert pattern.maps[-1].values.argmin() == CHANNELS.index("C3")
    assert pattern.maps[-1].values.argmax() == CHANNELS.index("C4")
    (csp,) = patterns_of(*fit_decoder(epochs, KINDS["csp"], seed=0), epochs)
    assert csp.maps[0].values.argmax() == CHANNELS.index("C3")
    assert re.fullmatch(r"less power: right, AUC (0\.9\d|1\.00)", csp.maps[0].title)


def test_left_is_on_the_left_and_the_nose_is_up():
    from matplotlib.image import imread

    def centre(channel: str) -> tuple[float, float]:
        """Return the centre of the red area in the map of an electrode, as shares of width and height from top left."""
        values = np.array([float(name == channel) for name in CHANNELS])
        import io

        (png,) = Topographies(CHANNELS).draw(Group("", (HeadMap("", values),)))
        pixels = imread(io.BytesIO(png))[..., :3]
        red = (pixels[..., 0] - pixels[..., 2]).clip(0.3) - 0.3  # (height, width)
        down, across = np.indices(red.shape)
        return (red * across).sum() / red.sum() / red.shape[1], (red * down).sum() / red.sum() / red.shape[0]

    assert centre("C3")[0] < 0.45
    assert centre("C4")[0] > 0.55
    assert centre("F3")[1] < centre("O1")[1] - 0.3
