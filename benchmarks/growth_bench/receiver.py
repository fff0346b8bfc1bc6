"""Receivers: a thread for each of the streams out-0-probabilities, ..., until SIGTERM.

python -m growth_bench.receiver --streams 4 --folder DIR
"""

from __future__ import annotations

import argparse
import signal
import threading
import time
from pathlib import Path

import numpy as np
from peer_bench.receiver import receive, wait_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    over: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    print("ready", flush=True)
    first_s: dict[int, float] = {}

    def follow(k: int) -> None:
        inlet = wait_for(f"out-{k}-probabilities", over)
        got = receive(inlet, over, first=lambda clock_s: first_s.setdefault(k, clock_s))
        np.savez(options.folder / f"got-{k}.npz", **got)

    threads = [threading.Thread(target=follow, args=(k,)) for k in range(options.streams)]
    for thread in threads:
        thread.start()
    while not over:
        if len(first_s) == options.streams:
            print(f"first {max(first_s.values())!r}", flush=True)
            break
        time.sleep(0.01)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
