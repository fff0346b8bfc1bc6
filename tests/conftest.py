"""What all tests share: where the data lies, and an LSL session of their own."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from pretap.bundle import load, write_bundle
from pretap.decoder import Decoder
from pretap.interpolation import INTERPOLATION
from pretap.manifest import FORMAT_VERSION, Manifest, Training
from pretap.networks import LstmSpec
from pretap.scaling import Scaling
from pretap.statistics import Statistics
from pretap.train_config import TrainConfig
from pretap_realtime.isolation import isolation

# A shell's background jobs ignore SIGINT, and what nohup starts ignores SIGHUP; and so would every child that a test
# starts to see how it ends.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples each time, however slow the machine: a change is not stopped by a fault that it did not make, nor by
# a busy machine. `pytest --hypothesis-profile default` looks for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")

_ROOT = Path(__file__).resolve().parents[1]
_SHARED = _ROOT.parent / "shared" / "data"


# liblsl reads LSLAPICFG once, when it is loaded: so it is set here, before any test imports it. Children inherit it.
_LSL_FOLDER = tempfile.TemporaryDirectory(prefix="pretap-tests-")
os.environ["LSLAPICFG"] = str(Path(_LSL_FOLDER.name) / "lsl_api.cfg")
Path(os.environ["LSLAPICFG"]).write_text(isolation(), encoding="utf-8")


def pytest_addoption(parser):
    parser.addoption(
        "--pictures", action="store_true", help="tests/browser takes the screenshots of docs/figures/ anew"
    )


@pytest.fixture(scope="session")
def competition_dir() -> Path:
    """The directory with sp1s_aa.mat."""
    folder = Path(os.environ.get("PRETAP_DATA") or _SHARED / "bci2_iv")
    if not (folder / "sp1s_aa.mat").exists():
        pytest.skip("the competition's data (sp1s_aa.mat) is not here: set PRETAP_DATA to its directory")
    return folder


@pytest.fixture(scope="session")
def xdf_dir() -> Path:
    """The directory with the XDF project's example files."""
    folder = Path(os.environ.get("PRETAP_XDF") or _SHARED / "xdf")
    if not (folder / "minimal.xdf").exists():
        pytest.skip("the XDF example files (minimal.xdf) are not here: set PRETAP_XDF to their directory")
    return folder


CHANNELS = ("C3", "Cz", "C4", "O1")


@pytest.fixture(scope="session")
def make_decoder() -> Callable[..., Decoder]:
    """A decoder with random weights: quick to make, and it computes all that a trained one does."""

    def make(
        *,
        sfreq_hz: float = 100.0,
        n_window: int = 50,
        channels: tuple[str, ...] = CHANNELS,
        hidden: tuple[int, ...] = (6,),
        scaling: Scaling | None = None,
        classes: tuple[str, ...] = ("left", "right"),
        interpolation: NDArray[np.float64] | None = None,
        statistics: Statistics | None = None,
        seed: int = 0,
        path: Path | None = None,
    ) -> Decoder:
        spec = LstmSpec(hidden=hidden)
        scaling = scaling or Scaling(reference="average", n_baseline=5, divide_uv=10.0)
        rng = np.random.default_rng(seed)
        layout = spec.tensors(n_steps=1, n_inputs=len(channels), n_classes=len(classes))
        weights = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, (_, shape) in layout.items()}
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            classes=classes,
            channels=channels,
            unit="microvolts",
            sfreq_hz=sfreq_hz,
            n_window=n_window,
            window_end_ms=-130.0,
            scaling=scaling,
            network=spec,
            training=Training(
                data="random weights",
                subject="nobody",
                n_trials=0,
                data_sha256="0" * 64,
                trial_sha256=(),
                resampled_from_hz=None,
                seed=seed,
                config=TrainConfig(network=spec),
            ),
            metrics=None,
            self_test_tolerance=1e-6,
            versions={},
            created="2026-11-23",
            interpolates=interpolation is not None,
            has_statistics=statistics is not None,
        )
        if statistics is not None:
            weights |= statistics.tensors()
        if interpolation is not None:
            weights[INTERPOLATION] = interpolation
        if path is None:
            return Decoder(manifest, weights)
        write_bundle(path, manifest, weights)
        return load(path)

    return make
