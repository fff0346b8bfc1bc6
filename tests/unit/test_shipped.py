"""The bundles in the package: found by name, whole, small, and as the model card says."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

import pytest
from msgspec.structs import replace

import pretap
from pretap.bundle.file import read_bundle, self_test
from pretap.bundle.shipped import BEST, BUNDLES, find_bundle, shipped_bundles
from pretap.config.reading import find_config, load_config
from pretap.config.train import EvaluationConfig, TrainConfig
from pretap.decoder.decoder import ENGINES
from pretap.errors import BundleError

NAMES = ("ensemble-1000hz", "ensemble-100hz", "single-1000hz", "single-100hz")
CARD = (BUNDLES / "README.md").read_text(encoding="utf-8")
each = pytest.mark.parametrize("name", NAMES)


def recipe(name: str) -> TrainConfig:
    """What a configuration fits, however it is judged."""
    return replace(load_config(TrainConfig, find_config(name)), evaluation=EvaluationConfig())


# -- found by name -------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped_two(tmp_path):
    folder = tmp_path / "bundles"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.safetensors").write_bytes(b"")
    (folder / "README.md").write_bytes(b"")
    return folder


def test_a_shipped_bundle_is_found_by_its_name_with_and_without_the_suffix(shipped_two):
    assert shipped_bundles(shipped_two) == {name: shipped_two / f"{name}.safetensors" for name in ("one", "two")}
    assert find_bundle("two", folder=shipped_two) == shipped_two / "two.safetensors"
    assert find_bundle("one.safetensors", folder=shipped_two) == shipped_two / "one.safetensors"


def test_a_file_comes_before_a_name_and_a_folder_does_not(shipped_two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_bytes(b"mine")
    (tmp_path / "two").mkdir()
    assert find_bundle("one", folder=shipped_two).read_bytes() == b"mine"
    assert find_bundle("two", folder=shipped_two) == shipped_two / "two.safetensors"


@pytest.mark.parametrize("name", ["three", "nobody/README", "", "x" * 5000])
def test_an_unknown_name_stays_a_path_and_cannot_be_read(name, shipped_two):
    assert str(find_bundle(name, folder=shipped_two)) == (name or ".")
    with pytest.raises(BundleError, match="Make one with `pretap train`") as refusal:
        pretap.load(name)
    assert str(refusal.value).endswith(f"Shipped with pretap: {', '.join(NAMES)}.")


# -- what is shipped -----------------------------------------------------------------------------------------------


def test_the_four_are_there_and_the_one_that_serve_takes_is_among_them():
    assert tuple(shipped_bundles()) == NAMES
    assert BEST in NAMES


@each
@pytest.mark.parametrize("engine", ENGINES)
def test_it_loads_by_its_name_and_passes_its_self_test(name, engine):
    bundle = read_bundle(name)
    assert bundle.manifest.self_test_tolerance == 1e-6
    assert self_test(pretap.load(name, engine=engine), bundle) <= 1e-6


@each
def test_a_shipped_bundle_matches_its_name_and_is_trained_on_all_trials_and_measured(name):
    manifest = read_bundle(name).manifest
    kind, rate = name.removesuffix("hz").split("-")
    assert (manifest.n_members > 1) == (kind == "ensemble")
    assert (manifest.sfreq_hz, manifest.n_window) == (float(rate), int(rate) // 2)  # 500 ms
    assert (len(manifest.channels), manifest.classes, manifest.window_end_ms) == (28, ("left", "right"), -130.0)
    training = manifest.training
    assert (training.subject, training.n_trials, len(training.trial_sha256)) == ("bci2-iv-aa", 316, 316)
    assert training.resampled_from_hz == (None if rate == "100" else 100.0)
    assert manifest.metrics is not None
    assert manifest.metrics.n_trials == 316
    assert manifest.interpolates


@each
def test_it_is_forward_only_and_takes_less_than_200_kb(name):
    assert read_bundle(name).manifest.streaming.forward_only
    assert find_bundle(name).stat().st_size < 200_000


@each
def test_it_was_trained_by_the_configuration_of_its_name(name):
    assert replace(read_bundle(name).manifest.training.config, evaluation=EvaluationConfig()) == recipe(name)


def test_the_default_recipe_is_that_of_the_single_network_at_1000_hz():
    assert recipe("default") == recipe("single-1000hz")


@each
def test_the_model_card_has_its_size_cost_and_hash(name):
    (row,) = (line for line in CARD.splitlines() if line.startswith(f"| `{name}` |") and "samples at" in line)
    bundle = read_bundle(name)
    streaming = bundle.manifest.streaming
    assert f"| {streaming.n_window} samples at {bundle.manifest.sfreq_hz:g} Hz |" in row
    assert f"| {streaming.n_parameters} | {streaming.multiply_adds} |" in row
    assert f"| {find_bundle(name).stat().st_size / 1000:.0f} kB | `{bundle.sha256[:16]}` |" in row


def test_the_model_card_has_no_placeholder_figures():
    assert "TBD" not in CARD


def test_the_model_card_has_the_required_statements():
    plain = " ".join(CARD.split())
    for said in (
        "ONE head, recorded in 2001",
        "not a medical device",
        "expect chance until it is calibrated",
        "NIPS 2001",
    ):
        assert said in plain


def test_bundles_and_card_are_data_of_the_package():
    folder = importlib.resources.files("pretap") / "bundles"
    assert {file.name for file in folder.iterdir()} == {"README.md", *(f"{name}.safetensors" for name in NAMES)}


def test_serve_without_a_bundle_uses_the_best_one_and_reports_which_and_why():
    command = [sys.executable, "-m", "pretap", "serve", "--query", "name=nobody", "--wait-s", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 3
    chosen, what, *_ = done.stderr.splitlines()
    assert chosen == (
        "no BUNDLE given: using the default, ensemble-1000hz, which fits most amplifiers; for a stream at 100 Hz, use "
        "ensemble-100hz"
    )
    assert what.startswith(f"bundle {find_bundle(BEST)}: mean of 10: ")
    assert "500 samples at 1000 Hz; trained on 316 trials of BCI Competition II data set IV" in what
