"""Measure what a second decoder costs the first: its latency alone, with another, and with a busy one.

    python benchmarks/several.py [BUNDLE] [--seconds 20] [--hop-ms 20]

Both decoders run in one process. Two streams flow in real time, in chunks of 10 ms. The busy decoder decides at every
sample; if the machine is too slow for that, it skips decisions and is never idle. Runs in an LSL session of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pretap.bundle.file import load
from pretap_realtime.lsl.api_config import isolation

NAMES = ("anna", "ben")
CHUNK_S = 0.01


def serve(bundle: str, hops_ms: dict[str, float], folder: Path) -> subprocess.Popen[str]:
    entry = '[[decoders]]\nstream.query = "name={0}"\nmarkers.name = "{0}"\ndecode.hop_ms = {1}\n'
    config = folder / "serve.toml"
    config.write_text("".join(entry.format(name, hop_ms) for name, hop_ms in hops_ms.items()), encoding="utf-8")
    command = [sys.executable, "-m", "pretap", "serve", bundle, "--config", str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def measure(bundle: str, hops_ms: dict[str, float], *, seconds: float, folder: Path) -> str:
    from pretap_realtime.lsl.library import local_clock
    from pretap_realtime.lsl.outlet import Outlet

    manifest = load(bundle).manifest
    labels, sfreq_hz = manifest.channels, manifest.sfreq_hz
    outlets = {
        name: Outlet(name, "EEG", labels=labels, format="float32", sfreq_hz=sfreq_hz, unit="microvolts")
        for name in NAMES
    }
    process = serve(bundle, hops_ms, folder)
    while not all(outlets[name].has_consumers() for name in hops_ms):
        if process.poll() is not None:
            raise SystemExit(process.communicate()[0])
        time.sleep(0.01)
    rng = np.random.default_rng(0)
    n_chunk = round(CHUNK_S * sfreq_hz)
    t0_s = local_clock()
    for n in range(0, round(seconds * sfreq_hz), n_chunk):
        t_s = t0_s + np.arange(n, n + n_chunk) / sfreq_hz
        time.sleep(max(0.0, t_s[-1] - local_clock()))  # a chunk is sent when its last sample is due
        for outlet in outlets.values():
            outlet.push_chunk(rng.normal(0, 20, (n_chunk, len(labels))).astype(np.float32), t_s)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[0]
    if process.returncode:
        raise SystemExit(said)
    decisions = re.search(r"\d+ decisions, \d+ skipped", said).group()  # anna's, whose summary comes first
    return f"{decisions}; {re.search(r'latency.*', said).group()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", nargs="?", default="ensemble-1000hz")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hop-ms", type=float, default=20.0)
    options = parser.parse_args()
    hop_ms = options.hop_ms
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LSLAPICFG"] = str(Path(folder) / "lsl_api.cfg")
        Path(os.environ["LSLAPICFG"]).write_text(isolation(), encoding="utf-8")
        machine = f"{os.cpu_count()} cores, {platform.machine()}"
        print(f"{options.bundle}, every {hop_ms:g} ms, {options.seconds:g} s; {machine}")
        every_sample_ms = 1000 / load(options.bundle).manifest.sfreq_hz
        for words, more in (
            ("alone", {}),
            ("beside another", {"ben": hop_ms}),
            ("beside a busy one", {"ben": every_sample_ms}),
        ):
            line = measure(options.bundle, {"anna": hop_ms} | more, seconds=options.seconds, folder=Path(folder))
            print(f"{words + ':':18} {line}")


if __name__ == "__main__":
    main()
