"""A synthetic amplifier: ``python -m pretap_realtime.latency.amplifier NAME BUNDLE PACKET``. Used by `loopback`.

It sends noise on the bundle's channels until it is interrupted. A packet is sent when its last sample is due.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np

from pretap.bundle.file import read_bundle
from pretap_realtime.console.stopping import stop_on_signals
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet

_NOISE_UV: Final = 20.0


def main(name: str, bundle: str, packet: str) -> None:
    """Send packets of `packet` samples on schedule."""
    stop = stop_on_signals()
    manifest, n = read_bundle(Path(bundle)).manifest, int(packet)
    outlet = Outlet(
        name,
        "EEG",
        labels=manifest.channels,
        format="float32",
        sfreq_hz=manifest.sfreq_hz,
        unit="microvolts",
        facts={"simulated": "true"},
    )
    rng, t0_s, first = np.random.default_rng(0), local_clock(), 0
    while not stop.is_set():
        t_s = t0_s + np.arange(first, first + n) / manifest.sfreq_hz  # (n,)
        stop.wait(max(0.0, float(t_s[-1]) - local_clock()))
        outlet.push_chunk(rng.normal(0, _NOISE_UV, (n, len(manifest.channels))).astype(np.float32), t_s)
        first += n


if __name__ == "__main__":
    main(*sys.argv[1:])
