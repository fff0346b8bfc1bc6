"""Receiver: records every row and its arrival until SIGTERM, and prints when the first prediction arrives.

python -m peer_bench.receiver --stream bench-probabilities --file got.npz
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pylsl
from numpy.typing import NDArray
from pylsl.util import LostError

_MAX_ROWS = 4096


def wait_for(name: str, over: list[bool]) -> pylsl.StreamInlet | None:
    """Open the stream as soon as it appears."""
    while not over:
        for info in pylsl.resolve_bypred(f"name='{name}'", minimum=1, timeout=0.2):
            inlet = pylsl.StreamInlet(info, max_buflen=60, recover=False)
            inlet.open_stream(timeout=5)
            return inlet
    return None


def receive(
    inlet: pylsl.StreamInlet | None, over: list[bool], *, first: Callable[[float], object]
) -> dict[str, NDArray[Any]]:
    """Collect rows until the end: timestamps, arrivals and values; `first` is called at the first prediction."""
    stamps, clocks, rows = [np.empty(0)], [np.empty(0)], [np.empty((0, 3))]
    if inlet is not None:
        buffer, is_first = np.empty((_MAX_ROWS, 3), inlet.np_dtype), True
    while inlet is not None and not over:
        try:
            x, t_s = inlet.pull_chunk(timeout=0.1, min_samples=1, max_samples=_MAX_ROWS, dest_obj=buffer, as_numpy=True)
        except LostError:
            break
        if len(t_s) == 0:
            continue
        clock_s = pylsl.local_clock()
        stamps.append(np.array(t_s))
        clocks.append(np.full(len(t_s), clock_s))
        rows.append(x.astype(np.float64))  # (n_new, 3); a copy, because the buffer is reused
        if is_first and rows[-1][:, 2].any():  # quality 0 means no prediction
            is_first = False
            first(clock_s)
    return {"stamps_s": np.concatenate(stamps), "clocks_s": np.concatenate(clocks), "rows": np.concatenate(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stream", required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    over: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    print("ready", flush=True)
    inlet = wait_for(options.stream, over)
    got = receive(inlet, over, first=lambda clock_s: print(f"first {clock_s!r}", flush=True))
    np.savez(options.file, **got)


if __name__ == "__main__":
    main()
