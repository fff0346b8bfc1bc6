"""Measure the cost of a stream at another rate: resampler and electrode checks, as a share of real time.

    python benchmarks/resample.py

The figure is the CPU time for one second of signal in chunks of 10 ms, as the median of several seconds.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from pretap.signal.resampler import Resampler
from pretap_realtime.signal.electrodes import Electrodes

CASES = [(250, 1000, 28), (512, 1000, 28), (500, 1000, 64), (2048, 1000, 64), (2048, 100, 64), (5000, 1000, 256)]
N_SECONDS = 10


def seconds_of_work(from_hz: int, to_hz: int, n_channels: int) -> tuple[float, float]:
    """Return the CPU seconds for a second of signal: in total, and for the electrode checks alone."""
    resampler = Resampler(from_hz=from_hz, to_hz=to_hz, n_channels=n_channels)
    electrodes = Electrodes(
        [f"ch{k}" for k in range(n_channels)], None, max_share=0.15, sfreq_hz=from_hz, n_window=from_hz // 2
    )
    x = np.random.default_rng(0).normal(0, 20, (from_hz, n_channels)).astype(np.float32)
    n_chunk = max(1, from_hz // 100)
    whole, checks = [], []
    for second in range(N_SECONDS):
        t = second + np.arange(from_hz) / from_hz
        spent = 0.0
        start = time.process_time()
        for at in range(0, from_hz, n_chunk):
            before = time.process_time()
            runs = list(electrodes.repair(x[at : at + n_chunk]))
            spent += time.process_time() - before
            done = at
            for run in runs:
                resampler.process(run.x_uv, t[done : done + run.n_samples])
                done += run.n_samples
        whole.append(time.process_time() - start)
        checks.append(spent)
    return statistics.median(whole), statistics.median(checks)


if __name__ == "__main__":
    print("  from ->   to Hz  channels  delay     a core, of real time  (of it the electrodes)")
    for from_hz, to_hz, n_channels in CASES:
        delay_s = Resampler(from_hz=from_hz, to_hz=to_hz, n_channels=1).delay_s
        whole_s, checks_s = seconds_of_work(from_hz, to_hz, n_channels)
        print(
            f"  {from_hz:>4} -> {to_hz:>4}  {n_channels:>8}  {1000 * delay_s:5.1f} ms  {100 * whole_s:12.2f} %"
            f"  {100 * checks_s:18.2f} %"
        )
