"""Source: sends noise on an absolute schedule until SIGTERM, then writes when each chunk was pushed.

python -m peer_bench.source --chunk 10 --file sent.npz
"""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path

import numpy as np
import pylsl

from peer_bench.noise import CHANNELS, N_TABLE, SFREQ_HZ, STREAM, noise_uv

_LEAD_S = 0.1  # from the creation of the outlet to the first sample


def outlet(name: str = STREAM) -> pylsl.StreamOutlet:
    """Open the stream, with a complete description."""
    info = pylsl.StreamInfo(name, "EEG", len(CHANNELS), SFREQ_HZ, pylsl.cf_float32, name)
    channels = info.desc().append_child("channels")
    for label in CHANNELS:
        channel = channels.append_child("channel")
        channel.append_child_value("label", label)
        channel.append_child_value("unit", "microvolts")
        channel.append_child_value("type", "EEG")
    return pylsl.StreamOutlet(info)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunk", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    n_chunk, table, over = options.chunk, noise_uv(), []
    if N_TABLE % n_chunk:
        raise SystemExit(f"--chunk {n_chunk}: expected a divisor of {N_TABLE}")
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    stream, pushed_s = outlet(), []
    t0_s = pylsl.local_clock() + _LEAD_S
    print("flows", flush=True)
    n = 0  # samples pushed
    while not over:
        stamps = (t0_s + np.arange(n, n + n_chunk) / SFREQ_HZ).tolist()
        wait_s = stamps[-1] - pylsl.local_clock()  # a chunk is due when its last sample is
        if wait_s > 0:
            time.sleep(wait_s)
        pushed_s.append(pylsl.local_clock())
        stream.push_chunk(table[n % N_TABLE : n % N_TABLE + n_chunk], stamps)
        n += n_chunk
    np.savez(options.file, t0_s=t0_s, n_chunk=n_chunk, pushed_s=pushed_s)


if __name__ == "__main__":
    main()
