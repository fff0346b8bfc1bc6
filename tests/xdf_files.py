"""XDF files that tests record, and the streams for them."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pyxdf

from pretap_realtime.lsl.outlet import Outlet


def load(path: Path, **options) -> dict[str, dict]:
    """Return the streams of a file by name, with the timestamps that were sent."""
    streams, _ = pyxdf.load_xdf(path, **({"dejitter_timestamps": False, "synchronize_clocks": False} | options))
    return {stream["info"]["name"][0]: stream for stream in streams}


def n_saved(path: Path) -> dict[str, int]:
    """Return the number of samples of each stream in a file that is being written."""
    return {name: len(stream["time_stamps"]) for name, stream in load(path).items()} if path.exists() else {}


def markers() -> Outlet:
    name = f"cues-{secrets.token_hex(4)}"
    outlet = Outlet(name, "Markers", labels=["marker"], format="string")
    outlet.name = name
    return outlet


def counted(n, n_channels=4, first=0):
    """Samples whose value is their index."""
    return np.repeat(np.arange(first, first + n, dtype=np.float32)[:, None], n_channels, axis=1)
