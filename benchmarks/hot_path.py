"""Measure the live pipeline between two LSL streams, without pauses and with the pauses of a real stream.

    python benchmarks/hot_path.py [BUNDLE] [--decisions 200]

The same chunks go through the same code, first without a pause and then with a pause of 20 ms before each. A pause adds
no work, but the processor has slept and other processes have filled its caches. `process` ends with the decision;
`catch_up` does the work that a decision does not need. The signal is synthetic noise, and no network is involved.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Iterator

import numpy as np

from pretap.bundle.file import load
from pretap.decoder.decoder import Decoder
from pretap_realtime.decide.modes import FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.signal.chunk import Chunk

PAUSE_S = 0.02
N_WARM = 3000  # samples until the clock of the stream is known


def chunks(decoder: Decoder, *, n_chunk: int, n_samples: int) -> Iterator[Chunk]:
    sfreq_hz = decoder.manifest.sfreq_hz
    x = np.random.default_rng(0).normal(0, 20, (n_samples, len(decoder.manifest.channels))).astype(np.float32)
    t_s = 1000 + np.arange(n_samples) / sfreq_hz
    for start in range(0, n_samples - n_chunk + 1, n_chunk):
        yield Chunk(x[start : start + n_chunk], t_s[start : start + n_chunk])


def measure(decoder: Decoder, *, hop: int, n_chunk: int, n_decisions: int, pause_s: float) -> tuple[float, float]:
    """Return the medians of `process` (with a decision) and `catch_up` in microseconds."""
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=hop), max_interpolated=0.15)
    process_s: list[float] = []
    catch_up_s: list[float] = []
    n_samples = N_WARM + max(hop, n_chunk) * (n_decisions + 1)
    for k, chunk in enumerate(chunks(decoder, n_chunk=n_chunk, n_samples=n_samples)):
        is_warm = k * n_chunk >= N_WARM
        if is_warm and pause_s:
            time.sleep(pause_s)
        began_s = time.perf_counter()
        decisions = pipeline.process(chunk)
        processed_s = time.perf_counter()
        pipeline.catch_up()
        if is_warm and decisions:
            process_s.append(processed_s - began_s)
            catch_up_s.append(time.perf_counter() - processed_s)
    return 1e6 * statistics.median(process_s), 1e6 * statistics.median(catch_up_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="single-1000hz")
    parser.add_argument("--decisions", type=int, default=200)
    options = parser.parse_args()
    decoder = load(options.bundle)
    print(f"{options.bundle}, engine {decoder.engine}; {platform.platform()}, Python {platform.python_version()}")
    print("| hop, chunk | process us | catch up us | after a pause: process us | catch up us |\n|---|---|---|---|---|")
    for hop, n_chunk in ((50, 10), (10, 10), (1, 1), (1, 10)):
        sizes = {"hop": hop, "n_chunk": n_chunk, "n_decisions": options.decisions}
        figures = [*measure(decoder, **sizes, pause_s=0.0), *measure(decoder, **sizes, pause_s=PAUSE_S)]
        print(f"| {hop}, {n_chunk} | " + " | ".join(f"{us:.0f}" for us in figures) + " |")


if __name__ == "__main__":
    main()
