"""The units in files that MNE reads, which it forgets. Used by `open_recording`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_VOLTS_PER = {"V": 1.0, "mV": 1e-3, "µV": 1e-6, "uV": 1e-6, "nV": 1e-9}  # MNE takes any other unit for volts
_CHANNEL = re.compile(r"^Ch(\d+)\s*=\s*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)


def read_vhdr(path: Path) -> str:
    """Read a BrainVision header; old ones are in Latin-1."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def units_in_file(raw: Any, path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return the unit of each channel in the file, and the factors (n_channels,) from MNE's values to the file's.

    In a file whose format has no unit, MNE's own one is volts.
    """
    n_channels, suffix = len(raw.ch_names), path.suffix.lower()
    if suffix == ".vhdr":
        section = read_vhdr(path).partition("[Channel Infos]")[2].partition("\n[")[0]
        fields = {int(number): text.split(",") for number, text in _CHANNEL.findall(section)}
        units = [(*fields.get(i + 1, ()), "", "", "", "")[3].strip() or "uV" for i in range(n_channels)]
        return units, np.array([1 / _VOLTS_PER.get(unit.replace("\xc2", ""), 1.0) for unit in units])
    if suffix == ".set":  # EEGLAB has no unit, and MNE takes the values for microvolts
        return ["uV"] * n_channels, np.full(n_channels, 1e6)
    if suffix == ".gdf":  # MNE keeps only the factors to volts
        volts = np.resize(raw._raw_extras[0]["units"], n_channels)
        return ["uV" if each == _VOLTS_PER["uV"] else "V" for each in volts.tolist()], 1 / volts
    return ["V"] * n_channels, np.ones(n_channels)
