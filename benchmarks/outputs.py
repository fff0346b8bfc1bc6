"""Measure how the other outputs affect LSL readers: the latency with all of them off and on, in turns.

    python benchmarks/outputs.py [BUNDLE] [--rounds 6] [--seconds 10] [--hop-ms 20]

The latency counts from the push of the last sample to the receipt of the message over LSL in another process. The
outputs are WebSocket with four clients, one of them frozen, and OSC and UDP with one receiver each. Samples flow in
real time in chunks of 10 ms. Runs in an LSL session of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from pretap.bundle.file import load
from pretap_realtime.lsl.api_config import isolation

CHUNK_S = 0.01
STREAMS = ("pretap-probabilities", "pretap-markers")
READER = """
import json, sys, time, pylsl
name, seconds = sys.argv[1], float(sys.argv[2])
inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, timeout=10)[0], recover=False)
inlet.open_stream(timeout=10)
print("open", flush=True)
late, end_s = [], time.monotonic() + seconds
while time.monotonic() < end_s:
    row, t_s = inlet.pull_sample(timeout=0.1)
    if row and (name.endswith("probabilities") and row[-1] or str(row[0]).startswith('{"v":1,"type":"verdict"')):
        late.append(pylsl.local_clock() - t_s)
print(json.dumps(late))
"""
CLIENT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1]) as connection:
    print("open", flush=True)
    for _ in connection:
        pass
"""
DATAGRAMS = """
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 0))
print(receiver.getsockname()[1], flush=True)
while True:
    receiver.recv(65536)
"""


def child(code: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start Python code as a process; return it and the first line that it prints."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def measure(bundle: str, *, is_on: bool, seconds: float, hop_ms: float) -> dict[str, list[float]]:
    """Return the latencies of one turn for each stream, in seconds."""
    others = [child(DATAGRAMS) for _ in range(2 * is_on)]
    settings = [f"outputs.{key}=:{port}" for key, (_, port) in zip(("osc", "udp"), others, strict=False)]
    settings += ["outputs.websocket=:0"] * is_on
    command = [sys.executable, "-m", "pretap", "serve", bundle, "--query", "name=amp", "--hop-ms", str(hop_ms)]
    command += [f"--set={each}" for each in settings]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    address = ""
    for line in service.stderr:
        address = (re.search(r"ws://\S+", line) or [address])[0]
        if "-> RUNNING" in line:
            break
    others += [child(CLIENT, address) for _ in range(4 * is_on)]
    if is_on:
        others[-1][0].send_signal(signal.SIGSTOP)
    time.sleep(1.0)  # the first windows
    readers = {name: child(READER, name, str(seconds))[0] for name in STREAMS}
    latencies = {name: json.loads(reader.communicate(timeout=seconds + 20)[0]) for name, reader in readers.items()}
    service.send_signal(signal.SIGINT)
    service.communicate(timeout=20)
    for process, _ in others:
        process.kill()
        process.wait()
    return latencies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="ensemble-1000hz")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--hop-ms", type=float, default=20.0)
    options = parser.parse_args()
    manifest = load(options.bundle).manifest
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LSLAPICFG"] = str(Path(folder) / "lsl_api.cfg")
        Path(os.environ["LSLAPICFG"]).write_text(isolation(), encoding="utf-8")
        from pretap_realtime.lsl.library import local_clock
        from pretap_realtime.lsl.outlet import Outlet

        sfreq_hz, n_chunk = manifest.sfreq_hz, round(CHUNK_S * manifest.sfreq_hz)
        amp = Outlet("amp", "EEG", labels=manifest.channels, format="float32", sfreq_hz=sfreq_hz, unit="uV")
        x = np.random.default_rng(0).normal(0, 20, (100 * n_chunk, len(manifest.channels))).astype(np.float32)
        over = threading.Event()

        def feed() -> None:
            t0_s, n = local_clock(), 0
            while not over.is_set():
                t_s = t0_s + np.arange(n, n + n_chunk) / sfreq_hz
                time.sleep(max(0.0, t_s[-1] - local_clock()))  # a chunk is sent when its last sample is due
                at = n % len(x)
                amp.push_chunk(x[at : at + n_chunk], t_s)
                n += n_chunk

        threading.Thread(target=feed, daemon=True).start()
        latencies: dict[tuple[str, bool], list[float]] = {(name, on): [] for name in STREAMS for on in (False, True)}
        for k in range(options.rounds):
            for is_on in (False, True) if k % 2 == 0 else (True, False):
                turn = measure(options.bundle, is_on=is_on, seconds=options.seconds, hop_ms=options.hop_ms)
                for name, values in turn.items():
                    latencies[name, is_on] += values
        over.set()
    print(f"{options.bundle}, every {options.hop_ms:g} ms; {os.cpu_count()} cores, {platform.platform()}")
    print("| stream | off: median, p99 ms | on: median, p99 ms | ratio of the medians | decisions |")
    print("|---|---|---|---|---|")
    for name in STREAMS:
        off, on = (1000 * np.array(latencies[name, each]) for each in (False, True))
        figures = [f"{np.median(each):.3f}, {np.percentile(each, 99):.2f}" for each in (off, on)]
        ratio = np.median(on) / np.median(off)
        print(f"| `{name}` | {figures[0]} | {figures[1]} | {ratio:.3f} | {len(off)} + {len(on)} |")


if __name__ == "__main__":
    main()
