"""Fixtures that several unit tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bundle_files import manifest, weights
from command_line import ROOT
from pretap.bundle.file import write_bundle
from pretap.config.train import EvaluationConfig, FitConfig, SignalConfig, TrainConfig
from pretap.networks import LstmSpec
from pretap.recordings.competition import CHANNELS
from pretap.recordings.epochs import Epochs


@pytest.fixture(scope="session")
def good_bundle(tmp_path_factory) -> bytes:
    """The bytes of a valid bundle."""
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    write_bundle(path, manifest(), weights())
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    """A file to overwrite: for hypothesis, which runs many examples in one test."""
    return tmp_path_factory.mktemp("scratch") / "scratch.safetensors"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    """A file to overwrite: for hypothesis, which runs many examples in one test."""
    return tmp_path_factory.mktemp("config") / "config.toml"


@pytest.fixture(scope="session")
def noise_bundle(tmp_path_factory) -> Path:
    """The file of a bundle that was trained on noise."""
    from pretap_offline.training import train

    rng = np.random.default_rng(0)
    epochs = Epochs(
        x_uv=rng.normal(0, 20, (8, 50, 28)).astype(np.float32),
        labels=np.arange(8) % 2,
        classes=("left", "right"),
        channels=CHANNELS,
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="eight trials of noise",
    )
    recipe = TrainConfig(
        network=LstmSpec(hidden=(3,)),
        signal=SignalConfig(sfreq_hz=100.0),
        fit=FitConfig(max_epochs=1),
        evaluation=EvaluationConfig(folds=0),
    )
    path = tmp_path_factory.mktemp("bundle") / "noise.safetensors"
    train(epochs, recipe, path, seed=0)
    return path


@pytest.fixture(scope="session")
def damaged_bundle(noise_bundle) -> Path:
    """The file of a bundle without its last byte."""
    path = noise_bundle.with_name("damaged.safetensors")
    path.write_bytes(noise_bundle.read_bytes()[:-1])
    return path


@pytest.fixture(scope="session")
def noise_data(tmp_path_factory) -> Path:
    """A directory with a file of the competition's form: 12 trials to train on and 5 to predict, of noise."""
    from scipy.io import savemat

    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    content = {
        "clab": np.array([list(CHANNELS)], dtype=object),
        "x_train": np.round(rng.normal(0, 20, (50, 28, 12)), 1),
        "y_train": (np.arange(12) % 2).astype(np.uint8)[None],
        "x_test": np.round(rng.normal(0, 20, (50, 28, 5)), 1),
    }
    savemat(directory / "sp1s_aa.mat", content)
    return directory


@pytest.fixture(scope="session")
def base_install(tmp_path_factory) -> dict[str, str]:
    """An environment with the packages of `pip install pretap`, except pylsl, and none of the extra `offline`."""
    site, links = Path(np.__file__).parents[1], tmp_path_factory.mktemp("site")
    for name in ("click", "numpy", "numpy.libs", "msgspec", "safetensors", "rich", "markdown_it", "mdurl", "pygments"):
        if (site / name).exists():  # numpy.libs: Linux only
            (links / name).symlink_to(site / name, target_is_directory=True)
    roots = [links, *(ROOT / name for name in ("core", "offline", "realtime"))]
    return {"PYTHONPATH": os.pathsep.join(map(str, roots))}
