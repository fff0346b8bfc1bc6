"""``--with``: other sessions help a few own trials, moved to their mean; own trials alone are judged, and are named."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from pyriemann.tangentspace import TangentSpace
from pyriemann.transfer import TLCenter, encode_domains
from sklearn.linear_model import LogisticRegression

from adapting_cases import KINDS, N_WINDOW, recipe, trials
from command_line import invoke
from pretap.bundle.file import load, read_bundle
from pretap.config.train import EvaluationConfig
from pretap.errors import DataError, UsageError
from pretap.networks.bandpass import BANDPASS, bandpassed, toeplitz
from pretap.networks.covariance import oas_covariance
from pretap.recordings.mne_epochs import write_mne_epochs
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.fit.pooling import like_own
from pretap_offline.training import train

RECIPE = recipe(KINDS["tangent-space"])
OWN = trials(20, seed=5)
OTHERS = [trials(60, seed=6, gain=3.0), trials(40, seed=7, gain=0.5)]


def folded(network="tangent-space"):
    return msgspec.structs.replace(recipe(KINDS[network]), evaluation=EvaluationConfig(folds=4))


def test_the_pooled_decoder_is_what_pyriemann_and_scikit_learn_fit():
    decoder, tensors = fit_decoder(OWN, RECIPE, seed=0, others=OTHERS)
    matrix, scaling = toeplitz(tensors[BANDPASS]), decoder.manifest.scaling

    def covariances(x_uv):
        return np.stack([oas_covariance(bandpassed(scaling.apply(window), matrix)) for window in x_uv])

    sessions = [OWN, *OTHERS]
    found = np.concatenate([covariances(each.x_uv) for each in sessions])
    labels = np.concatenate([each.labels for each in sessions])
    names = np.repeat(["own", "one", "two"], list(map(len, sessions)))
    _, encoded = encode_domains(found, labels, names)
    centre = TLCenter("own")
    space = TangentSpace().fit(np.stack([np.eye(found.shape[1])] * 2))
    features = space.transform(centre.fit_transform(found, encoded))
    weights = np.where(names == "own", 100 / 20, 1.0)
    model = LogisticRegression(C=0.1, max_iter=10_000).fit(features, labels, sample_weight=weights)
    fresh = trials(seed=8).x_uv
    expected = model.predict_proba(space.transform(centre.transform(covariances(fresh))))
    np.testing.assert_allclose(decoder.decode(fresh), expected, atol=1e-4)


def test_other_sessions_help_a_few_own_trials():
    fresh = trials(200, seed=8)
    alone, pooled = (fit_decoder(OWN.select(slice(0, 8)), RECIPE, seed=0, others=o)[0] for o in ([], OTHERS))
    assert evaluate_trials(pooled, fresh).scores.nll < evaluate_trials(alone, fresh).scores.nll - 0.1


def test_the_bundle_names_its_sources_and_knows_their_trials(tmp_path):
    manifest = train(OWN, folded(), tmp_path / "a.safetensors", seed=0, others=OTHERS, progress=False)
    assert read_bundle(tmp_path / "a.safetensors").manifest == manifest
    assert [(each.data, each.n_trials) for each in manifest.training.others] == [("session 6", 60), ("session 7", 40)]
    assert (manifest.training.n_trials, manifest.metrics.n_trials) == (20, 20)  # only own trials are held out
    assert evaluate_trials(load(tmp_path / "a.safetensors"), OTHERS[0]).n_trained_on == 60


def test_own_trials_alone_are_judged_on_the_same_folds(tmp_path):
    alone = train(OWN, folded(), tmp_path / "own.safetensors", seed=0, progress=False).metrics
    pooled = train(OWN, folded(), tmp_path / "all.safetensors", seed=0, others=OTHERS, progress=False).metrics
    assert pooled.pooling.startswith(
        f"own trials alone: accuracy {alone.accuracy:.3f} on the same folds; 100 trials of 2 other sessions add "
    )
    assert alone.pooling == ""


def test_if_own_trials_alone_are_as_good_the_report_says_so(tmp_path):
    own = trials(80, seed=5)
    misleading = replace(OTHERS[0], labels=1 - OTHERS[0].labels)
    metrics = train(own, folded(), tmp_path / "a.safetensors", seed=0, others=[misleading], progress=False).metrics
    assert metrics.pooling.endswith("Own trials alone are as good: train without --with")


def test_a_kind_that_cannot_be_pooled_is_refused(tmp_path):
    with pytest.raises(UsageError, match="kind 'closed-form' cannot be fitted with the trials of others"):
        train(OWN, folded("closed-form"), tmp_path / "a.safetensors", seed=0, others=OTHERS, progress=False)


def test_other_sessions_get_the_channels_classes_and_rate_of_the_own_one():
    other = OTHERS[0]
    reordered = replace(
        other, x_uv=other.x_uv[:, :, ::-1].copy(), channels=other.channels[::-1], classes=("right", "left"),
        labels=1 - other.labels, trial_ids=(),
    )  # fmt: skip
    found = like_own(reordered, OWN)
    assert np.array_equal(found.x_uv, other.x_uv)
    assert np.array_equal(found.labels, other.labels)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"classes": ("left", "rest")}, "expected labelled trials of the classes left, right, found left, rest"),
        ({"labels": None}, "found no labels"),
        ({"channels": ("C3", "Cz", "C4", "O2")}, "O1"),
        ({"x_uv": OTHERS[0].x_uv[:, 1:], "trial_ids": ()}, f"expected windows of {N_WINDOW} samples at 100 Hz"),
    ],
)
def test_a_session_that_does_not_fit_is_refused(change, why):
    with pytest.raises(DataError, match=why):
        like_own(replace(OTHERS[0], **change), OWN)


def test_train_takes_other_sessions_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, session in (("mine", OWN), ("anna", OTHERS[0])):
        write_mne_epochs(session, tmp_path / f"{name}-epo.fif")
    said = invoke(
        "train", "tangent-space", "--data", "mine-epo.fif", "--with", "anna-epo.fif", "--out", "a.safetensors",
        "--set", "evaluation.folds=4", "--set", "evaluation.repeats=1",
    )  # fmt: skip
    assert "with 60 trials: anna-epo.fif" in said
    assert "own trials alone: accuracy" in said
    assert "pooled with   anna-epo.fif (60 trials)" in invoke("inspect", "a.safetensors")
