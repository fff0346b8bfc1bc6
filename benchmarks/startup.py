"""Measure how long `pretap serve` takes to become ready, and to end on Ctrl-C in each state.

    python benchmarks/startup.py BUNDLE [--runs 10]

'Ready' is the line VALIDATING -> RUNNING with the stream already up. Runs in an LSL session of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from pretap.bundle.file import read_bundle
from pretap_realtime.lsl.api_config import isolation


def start(bundle: str, name: str) -> tuple[subprocess.Popen[str], float]:
    began_s = time.monotonic()
    command = [sys.executable, "-m", "pretap", "serve", bundle, "--query", f"name={name}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, bufsize=1)
    return process, began_s


def until(process: subprocess.Popen[str], text: str) -> float:
    for line in process.stderr:
        if text in line:
            return time.monotonic()
    raise SystemExit(f"serve ended before it printed {text!r}")


def end(process: subprocess.Popen[str]) -> float:
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    threading.Thread(target=process.stderr.read, daemon=True).start()  # so that a full pipe does not block it
    code = process.wait(10)
    if code:
        raise SystemExit(f"serve ended with exit code {code}")
    return time.monotonic() - began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    manifest = read_bundle(options.bundle).manifest
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LSLAPICFG"] = str(Path(folder) / "lsl_api.cfg")
        Path(os.environ["LSLAPICFG"]).write_text(isolation(), encoding="utf-8")
        from pretap_realtime.lsl.library import local_clock
        from pretap_realtime.lsl.outlet import Outlet

        amp = Outlet("amp", "EEG", labels=manifest.channels, format="float32", sfreq_hz=manifest.sfreq_hz, unit="uV")
        flowing, over = threading.Event(), threading.Event()

        def feed() -> None:
            rng, n_chunk = np.random.default_rng(0), max(1, round(manifest.sfreq_hz / 100))
            while not over.wait(n_chunk / manifest.sfreq_hz):
                if flowing.is_set():
                    x = rng.normal(0, 20, (n_chunk, len(manifest.channels))).astype(np.float32)
                    amp.push_chunk(x, local_clock() - np.arange(n_chunk)[::-1] / manifest.sfreq_hz)

        threading.Thread(target=feed, daemon=True).start()
        seconds: dict[str, list[float]] = {}
        for _ in range(options.runs):
            process, began_s = start(options.bundle, "nobody")
            until(process, "WAITING")
            seconds.setdefault("Ctrl-C in WAITING", []).append(end(process))
            flowing.set()
            process, began_s = start(options.bundle, "amp")
            seconds.setdefault("command -> RUNNING", []).append(until(process, "-> RUNNING") - began_s)
            time.sleep(0.7)
            seconds.setdefault("Ctrl-C in RUNNING", []).append(end(process))
            process, _ = start(options.bundle, "amp")
            until(process, "-> RUNNING")
            flowing.clear()
            until(process, "-> STALE")
            seconds.setdefault("Ctrl-C in STALE", []).append(end(process))
        over.set()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {options.runs} runs")
    for what, values in seconds.items():
        print(f"{what:<20} median {statistics.median(values):.2f} s, highest {max(values):.2f} s")


if __name__ == "__main__":
    main()
