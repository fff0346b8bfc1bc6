"""What all tests share: where the data lies, and an LSL session of their own."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import factories
from pretap.decoder.decoder import Decoder
from pretap_realtime.lsl.api_config import isolation

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
    parser.addoption("--long", action="store_true", help="run the long cases too, as `make long` does")
    parser.addoption(
        "--pictures", action="store_true", help="tests/browser takes the screenshots of docs/figures/ anew"
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        kept = [item for item in items if "long" not in item.keywords]
        config.hook.pytest_deselected(items=[item for item in items if "long" in item.keywords])
        items[:] = kept


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


@pytest.fixture(scope="session")
def openbci_dir() -> Path:
    """The directory with two heads' sessions that the OpenBCI GUI sent and LabRecorder wrote."""
    folder = Path(os.environ.get("PRETAP_DATA_HEADS") or _SHARED / "heads") / "openbci-xdf"
    if not (folder / "head-1" / "session-1.xdf").exists():
        pytest.skip("the OpenBCI recordings (openbci-xdf) are not here: set PRETAP_DATA_HEADS to the folder above")
    return folder


@pytest.fixture(scope="session")
def make_decoder() -> Callable[..., Decoder]:
    """The factory of decoders with random weights."""
    return factories.make_decoder


@pytest.fixture
def fit_store(tmp_path):
    """An empty store of fits, as `pretap compare` has it."""
    from pretap_offline.lab.store import Store

    return Store(tmp_path / "store")
