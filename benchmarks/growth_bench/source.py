"""Sources: several amplifiers in one process, like `peer_bench.source`, for streams eeg-0, eeg-1, ..., until SIGTERM.

python -m growth_bench.source --streams 4 --chunk 10 --folder DIR
"""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path

import numpy as np
import pylsl
from peer_bench.noise import N_TABLE, SFREQ_HZ, noise_uv
from peer_bench.source import outlet

_LEAD_S = 0.1  # from the creation of the outlets to the first sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--chunk", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    n_chunk, table, over = options.chunk, noise_uv(), []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    outlets = [outlet(f"eeg-{k}") for k in range(options.streams)]
    pushed_s: list[list[float]] = [[] for _ in outlets]
    t0_s = pylsl.local_clock() + _LEAD_S
    print("flows", flush=True)
    n = 0  # samples pushed to each
    while not over:
        stamps = (t0_s + np.arange(n, n + n_chunk) / SFREQ_HZ).tolist()
        wait_s = stamps[-1] - pylsl.local_clock()
        if wait_s > 0:
            time.sleep(wait_s)
        part = table[n % N_TABLE : n % N_TABLE + n_chunk]
        for stream, clocks in zip(outlets, pushed_s, strict=True):
            clocks.append(pylsl.local_clock())
            stream.push_chunk(part, stamps)
        n += n_chunk
    for k, clocks in enumerate(pushed_s):
        np.savez(options.folder / f"sent-{k}.npz", t0_s=t0_s, n_chunk=n_chunk, pushed_s=clocks)


if __name__ == "__main__":
    main()
