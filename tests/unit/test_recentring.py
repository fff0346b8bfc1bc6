"""Re-centring: the running mean is pyriemann's, it is bounded, and it takes a change of the head out of decisions."""

from __future__ import annotations

import numpy as np
import pytest
from pyriemann.geometry.distance import distance_riemann
from pyriemann.geometry.geodesic import geodesic_riemann
from pyriemann.geometry.mean import mean_riemann
from pyriemann.transfer import TLCenter, encode_domains

from adapting_cases import KINDS, recipe, trials, write_adaptable
from pretap.bundle.file import load
from pretap.config.serve import AdaptConfig
from pretap.decoder.adapting import AdaptingDecoder
from pretap.errors import DataError, UsageError
from pretap.networks import AverageSpec, LdaSpec, WeightedNetwork
from pretap.networks.recentring import MAX_DISTANCE, Memory, RunningMean
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.fit.riemannian import riemannian_mean

RECENTRE = AdaptConfig(method="recentre")


def covariances(n=40, n_inputs=5, *, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, n_inputs, 10 * n_inputs))
    return x @ x.swapaxes(1, 2) / (10 * n_inputs)


@pytest.fixture(scope="module", params=sorted(KINDS))
def fitted(request):
    return fit_decoder(trials(), recipe(KINDS[request.param]), seed=0)[0]


# -- the mean ------------------------------------------------------------------------------------------------------


def test_the_mean_of_all_covariances_is_that_of_pyriemann():
    found = covariances()
    np.testing.assert_allclose(riemannian_mean(found), mean_riemann(found, tol=1e-12), atol=1e-7)


def test_each_covariance_moves_the_running_mean_along_pyriemanns_geodesic():
    start, found = np.eye(5), covariances()
    mean, expected = RunningMean(start, Memory(n_start=3, n_max=10)), start
    for k, covariance in enumerate(found):
        mean.update(covariance)
        expected = geodesic_riemann(expected, covariance, 1 / min(k + 4, 10))
        np.testing.assert_allclose(mean.mean, expected, rtol=1e-9)
    assert mean.n_windows == len(found)
    assert mean.distance == pytest.approx(distance_riemann(start, expected) / np.sqrt(5))


def test_whitening_by_the_mean_is_the_centring_of_pyriemann():
    found = covariances()
    mean = RunningMean(np.eye(5), Memory(1, 10))
    mean.restore(riemannian_mean(found), n_windows=len(found))
    _, domains = encode_domains(found, np.arange(len(found)) % 2, np.full(len(found), "mine"))
    expected = TLCenter("mine").fit_transform(found, domains)
    np.testing.assert_allclose(mean.whitening @ found @ mean.whitening.T, expected, atol=1e-6)


def test_an_artefact_moves_the_mean_no_more_than_a_window_at_a_usual_distance():
    start = np.eye(5)
    usual, artefact = RunningMean(start, Memory(5, 100)), RunningMean(start, Memory(5, 100))
    usual.update(np.e * start)  # at the distance 1
    artefact.update(1e6 * start)
    assert artefact.distance == pytest.approx(usual.distance)


def test_the_mean_stays_within_its_distance_of_the_training():
    mean = RunningMean(np.eye(5), Memory(1, 10))
    for _ in range(200):
        mean.update(1e6 * np.eye(5))
    assert mean.distance == pytest.approx(MAX_DISTANCE)


# -- decoders ------------------------------------------------------------------------------------------------------


def test_at_the_start_an_adapting_decoder_decides_as_its_bundle(fitted):
    windows = trials(seed=1).x_uv
    np.testing.assert_allclose(AdaptingDecoder(fitted, RECENTRE).decode(windows), fitted.decode(windows), atol=1e-9)


def test_at_its_own_mean_a_session_with_another_gain_is_decided_as_without():
    decoder = fit_decoder(trials(), recipe(KINDS["tangent-space"]), seed=0)[0]
    probs = []
    for gain in (1.0, 3.0):
        adapting, windows = AdaptingDecoder(decoder, RECENTRE), trials(seed=1, gain=gain).x_uv
        own = np.array([adapting.covariances(window)[0] for window in windows])
        adapting.means[0].restore(riemannian_mean(own), n_windows=len(own))
        probs.append(adapting.decode(windows))
    np.testing.assert_allclose(probs[0], probs[1], atol=1e-6)


def test_a_trial_is_decided_with_the_state_that_those_before_it_left(fitted):
    session, adapting = trials(seed=1, gain=2.0), AdaptingDecoder(fitted, RECENTRE)
    probs = []
    for window in session.x_uv:
        probs.append(adapting.decode(window))
        adapting.update(window)
    found = evaluate_trials(AdaptingDecoder(fitted, RECENTRE), session)
    assert np.array_equal(found.probs, np.array(probs))
    assert np.array_equal(
        evaluate_trials(AdaptingDecoder(fitted, RECENTRE), session.select(slice(0, 20))).probs, probs[:20]
    )
    assert not np.allclose(found.probs, fitted.decode(session.x_uv), atol=1e-3)


def test_evaluation_compares_with_the_bundle_and_with_the_mean_of_the_whole_session(fitted):
    session = trials(seed=1, gain=2.0)
    found = evaluate_trials(AdaptingDecoder(fitted, RECENTRE), session)
    assert found.unadapted == evaluate_trials(fitted.exact(), session).scores
    adapting = AdaptingDecoder(fitted, RECENTRE)
    own = np.array([adapting.covariances(window)[0] for window in session.x_uv])
    adapting.means[0].restore(mean_riemann(own, tol=1e-12), n_windows=1)
    right = (adapting.decode(session.x_uv).argmax(axis=1) == session.labels).sum()
    assert found.whole_session.n_correct == right
    assert "moved by 60 windows" in found.describe()
    assert "in the order of recording: moved by 60 windows" in found.describe()
    assert "without adaptation: accuracy" in found.describe()
    assert evaluate_trials(fitted, session).adapted is None


def test_a_kind_without_a_covariance_is_refused(make_decoder):
    with pytest.raises(UsageError, match="'lstm' decodes no covariance that could be re-centred"):
        AdaptingDecoder(make_decoder(), RECENTRE)


# -- the state in a file -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_adaptable(tmp_path_factory.mktemp("bundle") / "adaptable.safetensors")


def moved(bundle, n=10):
    decoder = AdaptingDecoder(load(bundle), RECENTRE)
    for window in trials(seed=1, gain=2.0).x_uv[:n]:
        decoder.update(window)
    return decoder


@pytest.mark.parametrize("n_before", [0, 10])
def test_a_state_read_from_its_file_continues_bit_for_bit(bundle, tmp_path, n_before):
    file, one, windows = tmp_path / "state.json", moved(bundle, n_before), trials(seed=2).x_uv
    one.write_state(file)
    other = AdaptingDecoder(load(bundle), RECENTRE)
    other.read_state(file)
    assert other.adapted == one.adapted
    for decoder in (one, other):
        decoder.update(windows[0])
    assert np.array_equal(one.decode(windows), other.decode(windows))


def test_the_state_of_another_bundle_is_refused(bundle, tmp_path):
    other = write_adaptable(tmp_path / "other.safetensors", "closed-form")
    moved(bundle).write_state(tmp_path / "state.json")
    with pytest.raises(DataError, match="expected the state of the bundle with sha256"):
        AdaptingDecoder(load(other), RECENTRE).read_state(tmp_path / "state.json")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"means"', '"means', "expected a state that `pretap serve --adapt-state` wrote"),
        ('"n_windows": 10', '"n_windows": -1', "expected a state"),
        ('"mean": [', '"mean": [[1.0], ', "expected covariances of the sizes"),
        ('"mean": [', '"mean": [[1.0, 2.0, 3.0, 4.0], ', "expected covariances of the sizes"),
    ],
)
def test_a_damaged_state_is_refused(bundle, tmp_path, old, new, why):
    file, decoder = tmp_path / "state.json", moved(bundle)
    decoder.write_state(file)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DataError, match=why):
        decoder.read_state(file)


def test_a_state_that_is_no_covariance_is_refused(bundle, tmp_path):
    decoder = moved(bundle)
    decoder.means[0].mean = -decoder.means[0].mean
    decoder.write_state(tmp_path / "state.json")
    with pytest.raises(DataError, match="expected covariances"):
        moved(bundle).read_state(tmp_path / "state.json")


def test_the_missing_file_of_a_state_is_named(bundle, tmp_path):
    with pytest.raises(DataError, match="Cannot read the adaptation state"):
        moved(bundle).read_state(tmp_path / "none.json")


def test_an_average_follows_the_signal_with_the_networks_that_can_as_each_does_alone():
    epochs = trials()
    tangent, other = KINDS["tangent-space"], LdaSpec(shrinkage=0.9)
    single = [fit_decoder(epochs, recipe(network), seed=0)[0] for network in (tangent, other)]
    average = AverageSpec((WeightedNetwork(tangent, 0.75), WeightedNetwork(other, 0.25, temperature=2.0)))
    both = AdaptingDecoder(fit_decoder(epochs, recipe(average), seed=0)[0], RECENTRE)
    alone = AdaptingDecoder(single[0], RECENTRE)
    for window in 2 * epochs.x_uv[:10]:
        both.update(window)
        alone.update(window)
    assert both.adapted == alone.adapted
    logits = 0.75 * np.log(alone.decode(epochs.x_uv)) + 0.125 * np.log(single[1].decode(epochs.x_uv))
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(both.decode(epochs.x_uv), expected, atol=1e-9)
