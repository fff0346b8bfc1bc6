"""Training writes the statistics of its trials into the bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from msgspec.structs import replace

from command_line import invoke
from pretap.bundle.file import read_bundle, write_bundle
from pretap.bundle.shipped import find_bundle, shipped_bundles
from pretap.config.train import EvaluationConfig, TrainConfig
from pretap.networks import LdaSpec
from pretap.recordings.competition import read_competition
from pretap.recordings.resample import resample_epochs
from pretap.signal.statistics import COVARIANCE, SCALE, Statistics, gather_statistics
from pretap_offline.synthetic.command import simulate_epochs
from pretap_offline.training import train


@pytest.fixture(scope="module")
def epochs():
    return simulate_epochs(seed=1, n_train=20, n_test=4, sfreq_hz=100.0)[0]


@pytest.fixture(scope="module")
def trained(epochs, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "lda.safetensors"
    config = TrainConfig(network=LdaSpec(), evaluation=EvaluationConfig(folds=0))
    train(epochs, config, path, seed=0)
    return path


def without_statistics(path, out):
    bundle = read_bundle(path)
    kept = {n: t for n, t in bundle.tensors.items() if n not in (SCALE, COVARIANCE) and not n.startswith("probe.")}
    write_bundle(out, replace(bundle.manifest, has_statistics=False), kept)


def test_a_trained_bundle_has_the_statistics_of_its_trials(trained, epochs):
    bundle = read_bundle(trained)
    assert bundle.manifest.has_statistics
    found = Statistics.from_tensors(bundle.tensors)
    expected = gather_statistics(epochs.x_uv, sfreq_hz=100.0)
    np.testing.assert_allclose(found.scale_uv, expected.scale_uv, rtol=1e-6)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-6)


def test_inspect_shows_the_statistics_or_that_there_are_none(trained, tmp_path):
    without = tmp_path / "without.safetensors"
    without_statistics(trained, without)

    assert "signal        standard deviation in 0.25 s " in invoke("inspect", trained)
    assert "signal        no statistics, so " in invoke("inspect", without)
    scale_uv = json.loads(invoke("inspect", trained, "--json", "-"))["statistics"]["scale_uv"]
    assert scale_uv == Statistics.from_tensors(read_bundle(trained).tensors).scale_uv.tolist()
    assert json.loads(invoke("inspect", without, "--json", "-"))["statistics"] is None


@pytest.mark.parametrize("name", shipped_bundles())
def test_the_shipped_bundles_have_those_of_the_competitions_training_part(name, competition_dir):
    bundle = read_bundle(find_bundle(name))
    trials = read_competition(competition_dir, part="train")
    sfreq_hz = bundle.manifest.sfreq_hz
    expected = gather_statistics(resample_epochs(trials, sfreq_hz=sfreq_hz).x_uv, sfreq_hz=sfreq_hz)
    found = Statistics.from_tensors(bundle.tensors)
    np.testing.assert_allclose(found.scale_uv, expected.scale_uv, rtol=1e-5)
    np.testing.assert_allclose(found.spread, expected.spread, atol=1e-5)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-5)
