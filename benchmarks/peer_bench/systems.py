"""Systems under test: how a user starts each of them, and in which venv."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peer_bench.noise import SFREQ_HZ, STREAM

__all__ = ["PEERS", "SYSTEMS", "Job", "System"]

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / ".bench"
_WORKERS = Path(__file__).parent / "workers"
_OUT = "bench-probabilities"


@dataclass(frozen=True)
class Job:
    """The task of a system: a decision every `hop` samples, with the network in one of these files."""

    hop: int
    bundle: Path
    torch_file: Path
    onnx_file: Path


@dataclass(frozen=True)
class System:
    """A system under test.

    Attributes
    ----------
    venv
        Its folder below ``.bench``; empty for the project's own.
    command
        Makes the arguments for its venv's Python.
    out
        The stream it publishes.
    decides
        Whether its rows are the network's.
    environment
        Environment variables that configure it.
    """

    venv: str
    command: Callable[[Job], list[str]]
    out: str = _OUT
    decides: bool = True
    environment: Callable[[Job], dict[str, str]] = lambda _: {}

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        return VENVS / self.venv / "bin" / "python" if self.venv else Path(sys.executable)


def _worker(script: str, *, model: str = "torch_file") -> Callable[[Job], list[str]]:
    def command(job: Job) -> list[str]:
        options = ["--stream", STREAM, "--out", _OUT, "--hop", str(job.hop), "--model", str(getattr(job, model))]
        return [str(_WORKERS / script), *options]

    return command


def _pretap(job: Job) -> list[str]:
    hop_ms = job.hop * 1000 / SFREQ_HZ
    return ["-m", "pretap", "serve", str(job.bundle), "--query", f"name={STREAM}", "--hop-ms", f"{hop_ms:g}"]


def _timeflux(job: Job) -> dict[str, str]:
    """Fill in the application's template, and lend it our liblsl: the pylsl that it needs has none for Linux."""
    package = importlib.util.find_spec("pylsl")
    assert package is not None
    assert package.origin is not None
    library = Path(package.origin).parent / "lib" / "liblsl.so"
    names = {"BENCH_STREAM": STREAM, "BENCH_OUT": _OUT, "PYLSL_LIB": str(library)}
    return names | {"BENCH_HOP": str(job.hop), "BENCH_MODEL": str(job.torch_file)}


SYSTEMS = {
    "echo": System("", _worker("run_echo.py"), decides=False),
    "pretap": System("", _pretap, out="pretap-probabilities"),
    "loop-torch": System("loop-torch", _worker("run_loop_torch.py")),
    "loop-onnxruntime": System("loop-onnxruntime", _worker("run_loop_onnxruntime.py", model="onnx_file")),
    "mne-lsl": System("mne-lsl", _worker("run_mne_lsl.py")),
    "ezmsg": System("ezmsg", _worker("run_ezmsg.py")),
    "timeflux": System(
        "timeflux", lambda _: ["-m", "timeflux", str(_WORKERS / "timeflux.yaml")], environment=_timeflux
    ),
}
PEERS = ("mne-lsl", "ezmsg", "timeflux")  # the frameworks; the loops are not products
