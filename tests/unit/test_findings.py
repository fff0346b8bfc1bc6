"""Findings: which channels a decoder reads (eyes, muscles or the hand), and why it did not learn if it did not."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from command_line import invoke
from pretap.bundle.file import read_bundle
from pretap.config.train import EvaluationConfig, FitConfig
from pretap.networks import LdaSpec
from pretap_offline.evaluate.diagnosis import Candidate, diagnose, electrode_faults
from pretap_offline.evaluate.sources import ALL, CENTRAL, FRONTAL, MUSCLES, describe_sources, quick_decoders, quick_work
from pretap_offline.synthetic.command import simulate_epochs
from pretap_offline.training import train
from pretap_offline.trials.hand_areas import central, frontal_and_temporal, nearest_to_hands
from training_cases import RECIPE

FOLDS = msgspec.structs.replace(RECIPE, evaluation=EvaluationConfig(folds=4))
COUNTS = (60, 60)


@pytest.fixture(scope="module")
def head():
    """Simulated trials at 100 Hz, without eyes and muscles."""
    epochs, _ = simulate_epochs(seed=0, n_train=120, n_test=1)
    return replace(epochs, x_uv=np.ascontiguousarray(epochs.x_uv[:, ::10]), sfreq_hz=100.0, trial_ids=())


def with_source(epochs, gains: dict[str, float], course):
    """Add a source of signed amplitude +1 for the second class and -1 for the first, with `course` (n_samples,)."""
    gain = np.array([gains.get(name, 0.0) for name in epochs.channels])
    signs = 2.0 * epochs.labels - 1
    return replace(
        epochs,
        x_uv=(epochs.x_uv + signs[:, None, None] * course[:, None] * gain).astype(np.float32),
        trial_ids=(),
    )


def findings(epochs) -> tuple[str, ...]:
    found = quick_decoders(epochs, FOLDS, seed=0)
    return describe_sources(found, epochs.labels, is_above_chance=True)


def test_a_head_without_eyes_is_not_warned_about_and_glances_to_the_hand_are(head):
    (sentence,) = findings(head)
    assert sentence.endswith("no sign that eyes or muscles are decoded.")
    glance = np.linspace(0, 1, head.n_samples)  # a saccade moves the horizontal EOG
    eyes = {"F4": 60.0, "F2": 20.0, "F3": -60.0, "F1": -20.0, "C4": 3.0, "C3": -3.0}  # uV
    (sentence,) = findings(with_source(head, eyes, glance))
    assert sentence.startswith("WARNING: Frontal and temporal channels alone give 1.00, central ones 0.")
    assert "probably reads eye movements or muscles" in sentence


def test_the_power_of_a_muscle_is_warned_about(head):
    rng = np.random.default_rng(1)
    muscle = np.where(head.labels == 1, 30.0, 5.0)[:, None, None] * rng.normal(size=(*head.x_uv.shape[:2], 1))
    at_ears = np.isin(head.channels, ["FC5", "C5", "CP5"])
    epochs = replace(head, x_uv=rng.permutation(head.x_uv) + (muscle * at_ears).astype(np.float32), trial_ids=())
    found = quick_decoders(epochs, FOLDS, seed=0)
    assert found[MUSCLES].accuracy > 0.9
    quiet = replace(found[CENTRAL], right=np.arange(120) % 2 == 0)  # central channels that decode nothing
    sentences = describe_sources(found | {CENTRAL: quiet}, epochs.labels, is_above_chance=True)
    assert sentences[-1].startswith("WARNING: The power at 35 to 45 Hz gives ")
    assert MUSCLES not in quick_decoders(replace(epochs, sfreq_hz=80.0), FOLDS, seed=0)


def test_a_cap_without_frontal_channels_or_names_is_not_compared_and_the_work_is_counted(head):
    for names in (tuple(f"ch{i}" for i in range(28)), ("C3", "C4", *(f"ch{i}" for i in range(26)))):
        calls = []
        epochs = replace(head, channels=names)
        found = quick_decoders(epochs, FOLDS, seed=0, advance=calls.append)
        assert sum(calls) == quick_work(epochs)
        assert FRONTAL not in found
        (sentence,) = describe_sources(found, epochs.labels, is_above_chance=True)
        assert sentence.startswith("Not checked for eyes and muscles: ")
        assert found[ALL].accuracy > 0.6


def test_regions_follow_the_names_of_electrodes():
    names = ("Fp1", "AFz", "F7", "FC3", "FT8", "T3", "C3..", "EEG CP4-Ref", "Pz", "O1", "VEOG", "ch1")
    assert frontal_and_temporal(names) == ("Fp1", "AFz", "F7", "FT8", "T3", "VEOG")
    assert central(names) == ("C3..", "EEG CP4-Ref")
    assert nearest_to_hands(names) == ["C3..", "EEG CP4-Ref"]
    assert nearest_to_hands(("O1", "Fp1", "ch1")) == []


@pytest.mark.parametrize(
    ("chosen", "other", "electrodes", "sentence"),
    [
        (Candidate("net", 0.85, 0.4, 0.2), Candidate("line", 0.87, 0.3), (), None),
        (Candidate("net", 0.52, 0.70, 0.69), Candidate("line", 0.8, 0.5), (), "recipe .* Raise fit.max_epochs"),
        (Candidate("net", 0.60, 1.50, 0.05), Candidate("line", 0.8, 0.5), (), "recipe .* fewer epochs"),
        (Candidate("lda", 0.52, 0.70), Candidate("line", 0.8, 0.5), (), "recipe .* Check band_hz"),
        (Candidate("net", 0.50, 0.70, 0.69), Candidate("line", 0.5, 0.7), (), "data .* covers the movement"),
        (Candidate("net", 0.50, 1.50, 0.05), Candidate("line", 0.5, 0.7), (), "data .* by heart"),
        (
            Candidate("net", 0.50, 0.70, 0.69),
            Candidate("line", 0.5, 0.7),
            ("Cz is loose",),
            "electrodes .* Cz is loose",
        ),
        (Candidate("net", 0.56, 0.70, 0.60), Candidate("line", 0.6, 0.68), (), "record more trials"),
    ],
)
def test_the_likely_reason_is_the_recipe_the_data_or_the_electrodes(chosen, other, electrodes, sentence):
    found = diagnose(chosen, [other], counts=COUNTS, electrodes=electrodes)
    if sentence is None:
        assert found == ()
    else:
        assert len(found) == 1
        assert re.search(sentence, found[0])


def test_of_several_better_decoders_the_one_with_the_lowest_nll_is_named():
    others = [Candidate("one", 0.9, 0.4), Candidate("two", 0.88, 0.3), Candidate("three", 0.5, 0.1)]
    (sentence,) = diagnose(Candidate("net", 0.5, 0.7, 0.69), others, counts=COUNTS)
    assert "two gives 0.88 on the same folds" in sentence


def test_faults_of_electrodes_are_missing_hand_areas_and_one_that_is_much_noisier(head):
    assert electrode_faults(head) == ()
    noisy = head.x_uv.copy()
    noisy[:, :, 7] += np.random.default_rng(0).normal(0, 300, noisy.shape[:2])
    assert electrode_faults(replace(head, x_uv=noisy, trial_ids=())) == (
        f"{head.channels[7]} is much noisier than the others",
    )
    assert electrode_faults(head.pick(("Fz", "F1", "O1"))) == ("an electrode near C3 or C4 is missing",)


def test_the_findings_are_in_the_bundle_and_inspect_shows_them(tmp_path, head):
    recipe = msgspec.structs.replace(FOLDS, network=LdaSpec(), fit=FitConfig())
    manifest = train(head, recipe, tmp_path / "b.safetensors", seed=0, progress=False)
    assert manifest.metrics.findings[0].startswith("Frontal and temporal channels alone give ")
    assert read_bundle(tmp_path / "b.safetensors").manifest.metrics.findings == manifest.metrics.findings
    assert f"findings      {manifest.metrics.findings[0]}" in invoke("inspect", tmp_path / "b.safetensors")
