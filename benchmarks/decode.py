"""What one decision costs: `python benchmarks/decode.py BUNDLE...`, each engine, interleaved.

Prints medians and 95th percentiles over the rounds, in milliseconds for one window.
"""

from __future__ import annotations

import os
import platform
import sys
import time

import numpy as np

import pretap

ROUNDS = 60


def main() -> None:
    rng = np.random.default_rng(0)
    candidates = {
        (path, engine): pretap.load(path, engine=engine) for path in sys.argv[1:] for engine in ("numpy", "torch")
    }
    took_ms: dict[tuple[str, str], list[float]] = {key: [] for key in candidates}
    for _ in range(ROUNDS):
        for key, decoder in candidates.items():
            x_uv = rng.normal(0, 20, (decoder.manifest.n_window, len(decoder.manifest.channels)))
            began_s = time.perf_counter()
            decoder.decode(x_uv)
            took_ms[key].append(1000 * (time.perf_counter() - began_s))
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {ROUNDS} rounds")
    for (path, engine), values in took_ms.items():
        print(f"{path} {engine:<6} median {np.median(values):.2f} ms, p95 {np.percentile(values, 95):.2f} ms")


if __name__ == "__main__":
    main()
