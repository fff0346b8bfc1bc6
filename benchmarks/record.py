"""Measure the cost of `pretap record` next to `pretap serve`, and check that no sample is lost.

    python benchmarks/record.py [--seconds 120] [--channels 64] [--sfreq-hz 2000]

This process sends EEG in chunks of 10 ms, with a counter as the first channel. A bundle with random weights, like that
of configs/taps.toml, decodes it every 50 ms, and the recorder records the EEG and the three streams of the service.
Figures are CPU seconds of the whole process over the time of sending. Runs in an LSL session of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from random_networks import make_decoder

from pretap.signal.scaling import Scaling
from pretap_realtime.lsl.api_config import isolation

NAME = "bench-amplifier"


def random_bundle(path: Path, channels: list[str], sfreq_hz: float) -> None:
    scaling = Scaling(
        reference="average", n_baseline=round(0.2 * sfreq_hz), n_block=round(0.1 * sfreq_hz), divide_uv=10.0
    )
    make_decoder(
        path=path,
        channels=tuple(channels),
        sfreq_hz=sfreq_hz,
        n_window=round(0.5 * sfreq_hz),
        hidden=(8,),
        scaling=scaling,
        spread=0.1,
    )


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "pretap", *arguments], stdout=log, stderr=log)


def end(child: subprocess.Popen[bytes]) -> resource.struct_rusage:
    child.send_signal(signal.SIGINT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"a child ended with {child.returncode}"
    return usage


def wait_for(file: Path, text: str, within_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + within_s
    while text not in file.read_text(errors="replace"):
        assert time.monotonic() < deadline_s, f"{text!r} did not appear:\n{file.read_text(errors='replace')}"
        time.sleep(0.05)


def send(outlet, n_channels: int, sfreq_hz: float, seconds: float) -> int:
    from pretap_realtime.lsl.library import local_clock

    n_chunk = round(0.01 * sfreq_hz)
    x = np.random.default_rng(0).normal(0, 20, (n_chunk, n_channels)).astype(np.float32)
    pause, t0_s, n = threading.Event(), local_clock(), 0
    while n < seconds * sfreq_hz:
        x[:, 0] = np.arange(n, n + n_chunk)
        pause.wait(max(0.0, t0_s + (n + n_chunk - 1) / sfreq_hz - local_clock()))
        outlet.push_chunk(x, t0_s + np.arange(n, n + n_chunk) / sfreq_hz)
        n += n_chunk
    pause.wait(1.0)
    return n


def measure(folder: Path, *, n_channels: int, sfreq_hz: float, seconds: float) -> str:
    from pretap_realtime.lsl.outlet import Outlet

    channels = [f"E{i}" for i in range(n_channels)]
    random_bundle(folder / "bench.safetensors", channels, sfreq_hz)
    outlet = Outlet(
        NAME, "EEG", labels=channels, format="float32", sfreq_hz=sfreq_hz, unit="microvolts", source_id=NAME
    )
    serve = start(folder, "serve", str(folder / "bench.safetensors"), "--query", f"name={NAME}")
    wait_for(folder / "serve.log", "RUNNING")
    record = start(folder, "record", str(folder / "out.xdf"))
    for _ in range(200):
        if (folder / "record.log").read_text().count("recording ") == 4:
            break
        time.sleep(0.05)
    n_sent = send(outlet, n_channels, sfreq_hz, seconds)
    record_usage, serve_usage = end(record), end(serve)
    n_bytes = (folder / "out.xdf").stat().st_size
    n_recorded, n_missing = check(folder / "out.xdf", n_sent)
    said = (folder / "record.log").read_text().strip().splitlines()
    share = {
        name: (u.ru_utime + u.ru_stime) / seconds for name, u in [("record", record_usage), ("serve", serve_usage)]
    }
    return "\n".join(
        [
            *(f"  {line}" for line in said[-6:]),
            f"sent {n_sent}, recorded {n_recorded}, missing by their counter {n_missing}",
            f"CPU: record {share['record']:.1%} of a core, serve {share['serve']:.1%} (start included)",
            f"memory: record {record_usage.ru_maxrss / 1024:.0f} MB at most",
            f"written {n_bytes / 1e6:.1f} MB; one hour: {n_bytes / seconds * 3600 / 1e9:.2f} GB",
        ]
    )


def check(path: Path, n_sent: int) -> tuple[int, int]:
    import pyxdf

    streams, _ = pyxdf.load_xdf(path, select_streams=[{"name": NAME}], dejitter_timestamps=False)
    counter = streams[0]["time_series"][:, 0].astype(np.int64)  # (n_recorded,)
    return len(counter), n_sent - len(np.unique(counter))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--sfreq-hz", type=float, default=2000.0)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("PRETAP_BENCH_DIR")) as name:
        folder = Path(name)
        os.environ["LSLAPICFG"] = str(folder / "lsl_api.cfg")
        (folder / "lsl_api.cfg").write_text(isolation(), encoding="utf-8")
        print(measure(folder, n_channels=arguments.channels, sfreq_hz=arguments.sfreq_hz, seconds=arguments.seconds))


if __name__ == "__main__":
    main()
