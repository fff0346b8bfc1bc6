"""The order of classes is data: every order goes from a recording through all offline commands and back."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path

import mne
import numpy as np
import pytest

from command_line import invoke
from pretap.bundle.file import load, read_bundle
from pretap.config import load_config
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap.recordings.mne_epochs import read_mne_epochs
from pretap_realtime.decide.cues import bundle_cues, truth

SFREQ_HZ, EVERY, N_OF_CLASS = 100.0, 100, 12
CHANNELS = ("C3", "C4", "Cz")
FALLS_AT = {"left": "C4", "right": "C3", "feet": "Cz"}  # the electrode whose potential falls before the tap
ORDERS = [*permutations(("left", "right")), *permutations(("left", "right", "feet"))]


def recording(folder: Path, classes: tuple[str, ...]) -> Path:
    """Taps of each class in turn, a second apart; a perfect decoder is always correct."""
    rng = np.random.default_rng(0)
    names = sorted(classes) * N_OF_CLASS  # the file does not know the order of the recipe
    samples = EVERY * (1 + np.arange(len(names)))
    x_uv = rng.normal(0, 2.0, (EVERY * (len(names) + 1), len(CHANNELS)))
    for name, sample in zip(names, samples.tolist(), strict=True):
        x_uv[sample - 40 : sample, CHANNELS.index(FALLS_AT[name])] -= np.linspace(0, 40, 40)
    info = mne.create_info(list(CHANNELS), SFREQ_HZ, "eeg", verbose="error")
    raw = mne.io.RawArray(x_uv.T / 1e6, info, verbose="error")
    raw.set_annotations(mne.Annotations(samples / SFREQ_HZ, 0.0, [f"tap/{name}" for name in names]))
    path = folder / "taps_raw.fif"
    raw.save(path, verbose="error")
    return path


def recipe(folder: Path, classes: tuple[str, ...]) -> Path:
    path = folder / "recipe.toml"
    events = "\n".join(f'{name} = ["tap/{name}"]' for name in classes)
    path.write_text(
        f'[network]\nkind = "lda"\n[scaling]\nblock_ms = 50.0\n[events]\n{events}\n'
        "[trials]\nwindow_ms = [-500.0, 0.0]\n[evaluation]\nfolds = 3\n",
        encoding="utf-8",
    )
    return path


def predicted(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    return header, np.array(rows, float)[:, 1].astype(int)


@dataclass
class Trained:
    """A bundle of one order of classes, with the files that it was made of, and the report of its training."""

    file: Path
    toml: Path
    bundle: Path
    trials: Path
    said: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train once for each order of classes."""

    @cache
    def train(classes: tuple[str, ...]) -> Trained:
        folder = tmp_path_factory.mktemp("trained")
        file, toml = recording(folder, classes), recipe(folder, classes)
        bundle, trials = folder / "b.safetensors", folder / "t-epo.fif"
        said = invoke("train", toml, "--recording", file, "--out", bundle, "--save-trials", trials)
        return Trained(file, toml, bundle, trials, said)

    return train


@pytest.mark.parametrize("classes", ORDERS, ids="-".join)
def test_every_order_of_classes_goes_from_a_recording_through_every_offline_command(classes, trained, tmp_path):
    made = trained(classes)
    file, bundle, said = made.file, made.bundle, made.said
    n = N_OF_CLASS * len(classes)
    assert "accuracy 1.000" in said
    table = said[said.index("true classes in rows") :].splitlines()[1 : len(classes) + 2]
    assert table[0].split() == list(classes)
    for i, row in enumerate(table[1:]):
        assert row.split() == [classes[i], *(str(N_OF_CLASS * (i == k)) for k in range(len(classes)))]

    manifest = load(bundle).manifest
    assert manifest.classes == tuple(manifest.training.config.events) == classes
    assert [truth(f"tap/{name}", manifest) for name in classes] == list(range(len(classes)))
    assert bundle_cues(manifest)[0] == tuple(f"tap/{name}" for name in classes)

    # verify --recording starts so: it cuts the trials, and evaluates them from the file
    saved, table_file = tmp_path / "t-epo.fif", tmp_path / "p.csv"
    said = invoke("evaluate", bundle, "--recording", file, "--save-trials", saved)
    assert f"accuracy 1.000 ({n} of {n} correct" in said
    assert f"NOT AN ESTIMATE: {n} of {n} trials were trained on" in said
    assert read_mne_epochs(saved).classes == classes
    said = invoke("evaluate", bundle, "--data", saved, "--predictions", table_file)
    assert f"accuracy 1.000 ({n} of {n} correct" in said
    header, labels = predicted(table_file)
    assert header[2:] == [f"p_{name}" for name in classes]
    assert [classes[label] for label in labels] == sorted(classes) * N_OF_CLASS

    figures = tmp_path / "s.json"
    assert f"accuracy 1.000 ({n} of {n})" in invoke("score", bundle, file, "--json", figures)
    rows = json.loads(figures.read_text())["decisions"]
    assert [row["label"] for row in rows] == sorted(classes) * N_OF_CLASS


@pytest.mark.parametrize("classes", ORDERS, ids="-".join)
def test_trials_of_a_file_keep_the_order_of_their_classes_in_training_and_evaluation(classes, trained, tmp_path):
    saved, second = trained(classes).trials, tmp_path / "2.safetensors"
    invoke("train", trained(classes).toml, "--data", saved, "--out", second)
    assert read_bundle(second).manifest.classes == classes
    assert "accuracy 1.000" in invoke("evaluate", second, "--data", saved)


@pytest.mark.parametrize("classes", ORDERS[2:], ids="-".join)
def test_trials_that_lack_a_class_are_matched_by_name(classes, trained, tmp_path):
    bundle = trained(classes).bundle
    kept = mne.read_epochs(trained(classes).trials, verbose="error")[list(classes[::2])]
    some = tmp_path / "some-epo.fif"
    kept.save(some, fmt="double", verbose="error")
    assert f"accuracy 1.000 ({2 * N_OF_CLASS} of {2 * N_OF_CLASS} correct" in invoke("evaluate", bundle, "--data", some)


def test_compare_and_sweep_cut_the_trials_of_recordings_as_the_recipes_with_events_do(tmp_path):
    classes = ("right", "left")
    file, own, store = recording(tmp_path, classes), recipe(tmp_path, classes), ("--store", tmp_path / "store")
    results, chosen = tmp_path / "c.json", tmp_path / "best.toml"
    options = ("--recording", file, *store)
    invoke("compare", own, "lda", *options, "--folds", "3", "--repeats", "1", "--json", results)
    content = json.loads(results.read_text())
    assert content["trials"]["classes"] == list(classes)
    assert list(content["outcomes"][0]["config"]["events"]) == list(classes)
    assert content["outcomes"][0]["figures"]["accuracy"] == 1.0
    space = tmp_path / "space.toml"
    space.write_text('base = "recipe.toml"\n[space]\n"scaling.divide_uv" = [1.0, 10.0]\n', encoding="utf-8")
    invoke("sweep", space, *options, "--n-candidates", "2", "--inner-folds", "3", "--out", chosen)
    assert tuple(load_config(TrainConfig, chosen).events) == classes
    with pytest.raises(UsageError, match="--data and --recording both choose the trials"):
        invoke("compare", own, "--data", "synthetic", *options)
    with pytest.raises(UsageError, match="Recordings need at least two classes of events"):
        invoke("compare", "lda", *options)
    other = tmp_path / "other.toml"
    text = own.read_text(encoding="utf-8").replace("-500.0, 0.0", "-400.0, 0.0")
    other.write_text(text.replace("block_ms = 50.0", "block_ms = 100.0"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"\[trials\] differs between the recipes"):
        invoke("compare", own, other, *options)
