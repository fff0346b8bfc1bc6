"""The units in files that MNE reads, which it forgets. Used by `open_recording`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_VOLTS_PER = {"V": 1.0, "mV": 1e-3, "µV": 1e-6, "uV": 1e-6, "nV": 1e-9}  # MNE takes any other unit for volts
_UNIT_OF_CODE = {4256: "V", 4274: "mV", 4275: "uV", 4276: "nV", 0: "", 512: ""}  # of GDF 2
_CHANNEL = re.compile(r"^Ch(\d+)\s*=\s*([^\r\n]*)", re.MULTILINE | re.IGNORECASE)


def read_vhdr(path: Path) -> str:
    """Read a BrainVision header; old ones are in Latin-1."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _gdf_units(path: Path) -> list[str]:
    """Return the units of all channels of a GDF file: texts before version 2, codes of ISO 11073 from then on."""
    with path.open("rb") as file:
        content = file.read(1 << 20)
    n_channels = int.from_bytes(content[252:254], "little")
    if float(content[4:8]) < 2:
        start = 256 + (16 + 80) * n_channels
        texts = [content[start + 8 * i : start + 8 * (i + 1)] for i in range(n_channels)]
        return [text.decode("latin-1").strip(" \0") for text in texts]
    codes = np.frombuffer(content, "<u2", n_channels, 256 + (16 + 80 + 6) * n_channels)
    return [_UNIT_OF_CODE.get(code, f"code {code} of GDF") for code in codes.tolist()]


def units_in_file(raw: Any, path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return the unit of each channel in the file, and the factors (n_channels,) from MNE's values to the file's.

    In a file whose format has no unit, MNE's own one is volts.
    """
    n_channels, suffix = len(raw.ch_names), path.suffix.lower()
    if suffix == ".vhdr":
        section = read_vhdr(path).partition("[Channel Infos]")[2].partition("\n[")[0]
        fields = {int(number): text.rstrip().split(",") for number, text in _CHANNEL.findall(section)}
        texts = [(*fields.get(i + 1, ()), "", "", "", "")[3] or "uV" for i in range(n_channels)]
        factors = [1 / _VOLTS_PER.get(text.replace("\xc2", ""), 1.0) for text in texts]  # MNE does not strip blanks
        return [text.strip() or "uV" for text in texts], np.array(factors)
    if suffix == ".set":  # EEGLAB has no unit, and MNE takes the values for microvolts
        return ["uV"] * n_channels, np.full(n_channels, 1e6)
    if suffix == ".gdf":
        units = _gdf_units(path)
        if len(units) == n_channels:
            return units, 1 / np.asarray(raw._raw_extras[0]["units"])  # MNE's factors to volts
    return ["V"] * n_channels, np.ones(n_channels)
