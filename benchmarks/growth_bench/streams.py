"""Streams that one machine can serve: a source with several streams, `pretap serve` on all of them, a receiver."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from peer_bench.noise import SFREQ_HZ
from peer_bench.processes import Child, child, cpu_s, rss_mb
from peer_bench.score import Received, Sent, latencies

from pretap_realtime.lsl.api_config import isolation

__all__ = ["StreamsError", "Way", "serve_streams"]

Way = Literal["one process", "a process each"]
_BENCHMARKS = Path(__file__).resolve().parents[1]
_CHUNK = 10
_START_S, _WARM_UP_S, _LAST_ROWS_S = 60, 1.5, 1.0
_ENTRY = '[[decoders]]\nstream.query = "name=eeg-{0}"\nmarkers.name = "out-{0}"\n'


class StreamsError(Exception):
    """A cell that could not be measured."""


def serve_streams(bundle: Path, *, n_streams: int, way: Way, hop: int, seconds: float) -> dict[str, Any]:
    """Serve `n_streams` streams for some seconds, and pool the latencies of all streams."""
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        folder = Path(name)
        begin_s, end_s, costs = _run(bundle, folder, n_streams=n_streams, way=way, hop=hop, seconds=seconds)
        ms, n_expected, late_ms = [], 0, []
        for k in range(n_streams):
            sent = Sent.read(folder / f"sent-{k}.npz")
            found = latencies(sent, Received.read(folder / f"got-{k}.npz", sent), hop=hop, begin_s=begin_s, end_s=end_s)
            due_s = sent.t0_s + (np.arange(1, len(sent.pushed_s) + 1) * sent.n_chunk - 1) / SFREQ_HZ
            measured = (begin_s <= due_s) & (due_s < end_s)
            late_ms.append((sent.pushed_s - due_s)[measured] * 1000)
            ms.append(found.ms)
            n_expected += found.n_expected
    every_ms = np.concatenate(ms)
    p50_ms, p99_ms, max_ms = np.percentile(every_ms, (50, 99, 100)).round(3).tolist()
    return {
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "max_ms": max_ms,
        "expected": n_expected,
        "missed": n_expected - every_ms.size,
        "source_late_p99_ms": round(float(np.percentile(np.concatenate(late_ms), 99)), 3),
        **costs,
    }


def _run(
    bundle: Path, folder: Path, *, n_streams: int, way: Way, hop: int, seconds: float
) -> tuple[float, float, dict[str, float]]:
    config = folder / "lsl_api.cfg"
    n_outlets = 4 * n_streams  # its own, and the three of its decoder
    config.write_text(isolation(n_ports=64 + 2 * n_outlets), encoding="utf-8")
    limit_s = round(2 * _START_S + _WARM_UP_S + seconds)

    def start(command: list[str], *, cwd: Path, log: str, ends_on: int, talks: bool) -> Child:
        options = {"environment": {"LSLAPICFG": str(config)}, "limit_s": limit_s, "talks": talks}
        return stack.enter_context(child(command, cwd=cwd, log=folder / log, ends_on=ends_on, **options))

    def ours(module: str, *arguments: str) -> Child:
        command = [sys.executable, "-m", f"growth_bench.{module}", "--streams", str(n_streams), *arguments]
        command += ["--folder", str(folder)]
        return start(command, cwd=_BENCHMARKS, log=f"{module}.log", ends_on=signal.SIGTERM, talks=True)

    with ExitStack() as stack:
        _expect(ours("source", "--chunk", str(_CHUNK)), "flows")
        receiver = ours("receiver")
        _expect(receiver, "ready")
        hop_ms = f"{hop * 1000 / SFREQ_HZ:g}"
        serve = [sys.executable, "-m", "pretap", "serve", str(bundle), "--hop-ms", hop_ms]
        commands = []
        if way == "one process":
            decoders = folder / "serve.toml"
            decoders.write_text("".join(_ENTRY.format(k) for k in range(n_streams)), encoding="utf-8")
            commands = [[*serve, "--config", str(decoders)]]
        else:
            for k in range(n_streams):
                commands.append([*serve, "--query", f"name=eeg-{k}", "--set", f"markers.name=out-{k}"])
        processes = [
            start(command, cwd=folder, log=f"serve-{k}.log", ends_on=signal.SIGINT, talks=False)
            for k, command in enumerate(commands)
        ]
        try:
            first_s = float(_expect(receiver, "first"))
        except ValueError:
            logs = [file.read_text(encoding="utf-8", errors="replace")[-500:] for file in folder.glob("serve-*.log")]
            raise StreamsError(f"not all streams had a prediction within {limit_s} s: {logs}") from None
        time.sleep(max(0.0, first_s + _WARM_UP_S - time.monotonic()))
        before_s, begin_s = sum(cpu_s(p.pid) for p in processes), time.monotonic()
        time.sleep(seconds)
        after_s, end_s = sum(cpu_s(p.pid) for p in processes), time.monotonic()
        costs = {
            "cpu": round((after_s - before_s) / (end_s - begin_s), 4),
            "rss_mb": round(sum(rss_mb(p.pid) for p in processes), 1),
        }
        time.sleep(_LAST_ROWS_S)
    return begin_s, end_s, costs


def _expect(process: Child, word: str) -> str:
    """Wait for a line that begins with `word` and return its rest; without one, the process ends by itself."""
    assert process.stdout is not None
    found, _, rest = process.stdout.readline().partition(" ")
    if found.strip() != word:
        raise ValueError(f"expected {word!r}, got {found!r}")
    return rest
