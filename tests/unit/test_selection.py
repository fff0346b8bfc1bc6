"""The choice among candidates: nested, honest, and in a bundle like any other."""

from __future__ import annotations

import dataclasses
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.metrics import log_loss

from command_line import invoke
from pretap.bundle.file import load
from pretap.config.reading import find_config, load_config
from pretap.config.train import CandidateConfig, EvaluationConfig, SearchConfig, TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import UsageError
from pretap.networks import CspSpec, LdaSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.cross_validation import cross_validate
from pretap_offline.evaluate.folds import splits
from pretap_offline.evaluate.selection import fit_choice, fit_recipe, rank, select, selection_work

SFREQ_HZ = 100.0


def rhythms(rng: np.random.Generator, n: int, *, n_samples: int = 50) -> Epochs:
    """Return trials whose class is the stronger of two channels, as an alternating recording."""
    labels = np.arange(n) % 2
    x = rng.normal(size=(n, n_samples, 3))
    x[np.arange(n), :, labels] *= 1.6
    return Epochs(
        x_uv=(10 * x).astype(np.float32),
        labels=labels,
        classes=("left", "right"),
        channels=("C3", "C4", "Cz"),
        sfreq_hz=SFREQ_HZ,
        window_end_ms=1000.0,
        source="test",
        at_s=np.arange(n) * 2.0,
    )


def recipe(**more) -> TrainConfig:
    return TrainConfig(
        candidates={
            "slow": CandidateConfig(LdaSpec(shrinkage=0.9)),
            "patterns": CandidateConfig(CspSpec(filters=2)),
        },
        **more,
    )


@pytest.fixture(scope="module")
def epochs() -> Epochs:
    return rhythms(np.random.default_rng(0), 60)


def test_the_nested_accuracy_is_that_of_a_choice_made_anew_without_each_block(epochs):
    config = recipe()
    found = select(epochs, config, seed=0)
    blocks = np.array_split(np.arange(60), 5)
    probs = np.empty((60, 2))
    for block in blocks:
        # the definition of nested cross-validation, one block at a time, with nothing shared between blocks
        others = epochs.select(np.setdiff1d(np.arange(60), block))
        inner = replace(config, evaluation=EvaluationConfig(folds=4))
        probs[block] = fit_recipe(others, inner, seed=0)[0].decode(epochs.x_uv[block])
    assert found.metrics.accuracy == np.mean(probs.argmax(axis=1) == epochs.labels)
    assert found.metrics.nll == pytest.approx(log_loss(epochs.labels, probs), abs=1e-6)


def test_the_scores_of_a_candidate_are_those_of_its_own_cross_validation(epochs):
    config = recipe()
    found = select(epochs, config, seed=0)
    scores = {each.name: each for each in found.scores}
    for name, candidate in config.candidates.items():
        alone = cross_validate(epochs, replace(config, candidates={}, network=candidate.network), seed=0).metrics
        assert scores[name].accuracy == alone.accuracy
        assert scores[name].nll == pytest.approx(alone.nll, abs=1e-9)
    assert [each.nll for each in found.scores] == sorted(each.nll for each in found.scores)
    assert sum(each.n_chosen for each in found.scores) == 5
    assert scores.keys() == {*config.candidates, *map(" + ".join, combinations(config.candidates, 2))}


def test_labels_that_mean_nothing_are_at_chance_although_the_best_of_many_is_not():
    rng = np.random.default_rng(5)
    nested, best = [], []
    for _ in range(5):
        trials = rhythms(rng, 40)
        found = select(dataclasses.replace(trials, labels=rng.permutation(trials.labels)), recipe(), seed=0)
        nested.append(found.metrics.accuracy)
        best.append(max(each.accuracy for each in found.scores))
    standard_error = 0.5 / np.sqrt(5 * 40)
    assert np.mean(nested) < 0.5 + 3 * standard_error
    assert np.mean(best) > np.mean(nested)  # what selection saw


def test_the_bundle_of_an_average_decodes_as_the_mean_of_the_logits_of_both(epochs):
    found = select(epochs, recipe(), seed=0)
    raw = {name: np.full((60, 2), 0.5) for name in found.recipes}
    pair = next(
        each
        for each in rank(
            found.recipes, raw, epochs.labels, splits(epochs, EvaluationConfig(folds=2), seed=0), average=True
        )
        if len(each.names) == 2
    )
    pair = dataclasses.replace(pair, temperatures=(0.5, 2.0), temperature=1.5)
    decoder = Decoder(*fit_choice(epochs, found.recipes, pair, seed=0))
    alone = [dataclasses.replace(pair, names=(n,), temperatures=(1.0,), temperature=1.0) for n in pair.names]
    single = [Decoder(*fit_choice(epochs, found.recipes, each, seed=0)) for each in alone]
    logits = [np.log(each.decode(epochs.x_uv)) / t for each, t in zip(single, pair.temperatures, strict=True)]
    expected = np.exp(np.mean(logits, axis=0) / 1.5)
    np.testing.assert_allclose(decoder.decode(epochs.x_uv), expected / expected.sum(axis=1, keepdims=True), atol=1e-9)


def test_a_candidate_that_cannot_read_the_trials_is_left_out_with_its_reason(epochs):
    config = recipe()
    config = replace(config, candidates=config.candidates | {"many": CandidateConfig(CspSpec(filters=6))})
    found = select(epochs, config, seed=0)
    assert found.refused == {"many": "network.filters = 6: expected at most the 3 channels."}
    assert all("many" not in each.name for each in found.scores)
    with pytest.raises(UsageError, match=r"None of the candidates can read these trials:\nmany: network.filters"):
        select(epochs, replace(config, candidates={"many": CandidateConfig(CspSpec(filters=6))}), seed=0)


def test_progress_counts_the_work_that_was_announced(epochs):
    done = []
    select(epochs, recipe(), seed=0, advance=done.append)
    assert sum(done) == selection_work(epochs, recipe(), seed=0)


def test_processes_find_the_same_as_one_process(epochs):
    alone, together = select(epochs, recipe(), seed=0), select(epochs, recipe(), seed=0, n_workers=2)
    assert (alone.choice, alone.metrics, alone.scores) == (together.choice, together.metrics, together.scores)


def test_the_window_is_chosen_where_the_difference_is(tmp_path):
    rng = np.random.default_rng(1)
    late = rhythms(rng, 60, n_samples=100)
    noise = rng.normal(size=(60, 100, 3))
    x = np.concatenate([(10 * noise).astype(np.float32), late.x_uv], axis=1)  # nothing in the first second
    trials = dataclasses.replace(late, x_uv=x, trial_ids=(), window_end_ms=1000.0)
    windows = ((-1000.0, 0.0), (0.0, 1000.0))
    config = recipe(search=SearchConfig(window=True, window_ms=windows))
    found = select(trials, config, seed=0)
    assert found.choice.name.endswith(", 0 to 1000 ms")
    manifest, _ = fit_choice(trials, found.recipes, found.choice, seed=0)
    assert (manifest.n_window, manifest.window_end_ms) == (100, 1000.0)
    assert manifest.training.config.trials.window_ms == (0.0, 1000.0)


@pytest.mark.parametrize("name", ["auto", "taps", "cued-taps", "imagery"])
def test_a_preset_has_candidates_windows_and_says_when_to_take_it(name):
    file = find_config(name)
    config = load_config(TrainConfig, file)
    assert {"csp", "tangent-space", "closed-form", "lstm-rhythms"} <= config.candidates.keys()
    assert config.scaling.reference == ("average" if name == "taps" else "none")  # imagery is often bipolar
    if name != "auto":
        assert config.trials.window_ms in config.search.window_ms
    assert file.read_text(encoding="utf-8").startswith("# ")


def test_train_without_a_recipe_chooses_and_why_lists_the_candidates(tmp_path):
    out, figures = tmp_path / "mine.safetensors", tmp_path / "f.json"
    fast = [arg for kind in ("lstm", "lstm-rhythms") for arg in ("--set", f"candidates.{kind}.fit.max_epochs=1")]
    said = invoke("train", "--data", "synthetic", "--trials", ":40", "--out", out, "--why", "--json", figures, *fast)
    manifest = load(out).manifest
    best = manifest.training.candidates[0]
    assert f"chosen: {best.name}, the lowest NLL of {len(manifest.training.candidates)} candidates" in said
    assert all(f"\n  {each.name} " in said for each in manifest.training.candidates)
    assert "nested 5-fold stratified cross-validation" in said
    assert json.loads(figures.read_text(encoding="utf-8"))["candidates"][0]["name"] == best.name
    again = invoke("evaluate", out, "--data", "synthetic")
    assert "accuracy" in again


def test_search_window_needs_windows():
    with pytest.raises(UsageError, match="--search window: expected a recipe with"):
        invoke("train", "csp", "--data", "synthetic", "--search", "window", "--out", Path("x.safetensors"))
