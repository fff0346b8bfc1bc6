"""How many samples of a file that MNE reads are whole, and whether its end is missing. Used by `open_recording`."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from pathlib import Path
from typing import Any

from pretap.errors import DataError
from pretap.recordings.reading.mne_units import read_vhdr
from pretap.spelling import counted

_DATA_BUFFER = 300  # FIFF_DATA_BUFFER
_BYTES_OF_TYPE = {2: 2, 3: 4, 4: 4, 5: 8, 16: 2, 20: 8, 21: 16}  # FIFFT_SHORT, INT, FLOAT, DOUBLE, DAU_PACK16, complex
_BYTES_OF_FORMAT = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
_BLOCK = 1 << 20  # bytes
_COPY_AGAIN = "Copy it again if you can."


def whole_samples(raw: Any, path: Path) -> tuple[int, str]:
    """Return the number of samples that are whole, and a sentence if the file is truncated."""
    n_samples, suffix = int(raw.n_times), path.suffix.lower()
    if suffix == ".fif":
        return _whole_fif(raw)
    if suffix == ".gz":
        return n_samples, _describe_gzip(path)
    if suffix == ".vhdr":
        return n_samples, _describe_brainvision(raw, path)
    if suffix == ".gdf":
        _check_gdf(raw, path)
    data = Path(str(raw.filenames[0]))
    if suffix == ".set" and data.suffix.lower() == ".fdt":
        n_whole = data.stat().st_size // (4 * len(raw.ch_names))
        if n_whole < n_samples:
            return n_whole, _truncated(data.name, n_whole, n_samples, raw)
    return n_samples, ""


def check_tags(path: Path) -> int | None:
    """Return the number of values in the data buffer that the end of a FIF file cuts, or None if the file is whole.

    It is 0 if the file ends between two buffers.

    Raises
    ------
    DataError
        If the chain of tags has a cycle: MNE would follow it until the memory is full.
    """
    n_bytes = path.stat().st_size
    position, n_tags = 0, 0
    with path.open("rb") as file:
        while position + 16 <= n_bytes:
            file.seek(position)
            kind, code, size, follows = struct.unpack(">iiii", file.read(16))  # kind, type, size, next
            if follows == -1 or size < 0 or follows < -1:
                return None  # the end of the chain, or damage that MNE detects
            if kind == _DATA_BUFFER and position + 16 + size > n_bytes:
                return int(size) // _BYTES_OF_TYPE.get(code & 0xFF, 4)
            position = position + 16 + size if follows == 0 else follows
            n_tags += 1
            if n_tags > n_bytes // 16:
                raise DataError(f"{path} cannot be read as a recording: its chain of tags has a cycle. Damaged?")
    return 0


def _whole_fif(raw: Any) -> tuple[int, str]:
    """Return the whole samples of a FIF file, whose header does not say how many there should be."""
    n_samples = int(raw.n_times)
    *before, last = [Path(str(name)) for name in raw.filenames]
    for part in before:
        if check_tags(part) is not None:
            raise DataError(f"{part} is truncated, and the recording goes on in another file. Copy it again.")
    n_cut = check_tags(last)
    if n_cut is None:
        return n_samples, ""
    n_whole = max(0, n_samples - n_cut // len(raw.ch_names))
    return n_whole, (
        f"{last.name} is truncated: it ends without its closing tag, and {n_whole / raw.info['sfreq']:g} s of it are "
        f"whole. A FIF file does not say how long it should be. {_COPY_AGAIN}"
    )


def _describe_gzip(path: Path) -> str:
    """Return a sentence if a compressed file ends early: MNE reads it without its checksum."""
    try:
        with gzip.open(path) as file:
            while file.read(_BLOCK):
                pass
    except (EOFError, OSError, zlib.error) as error:
        return (
            f"{path.name} is truncated or damaged: its compression does not end as it should ({error}). {_COPY_AGAIN}"
        )
    return ""


def _check_gdf(raw: Any, path: Path) -> None:
    """Refuse a truncated GDF file: its events are at its end."""
    header = raw._raw_extras[0]  # what MNE read of the header
    n_bytes, n_records = int(header["bytes_tot"]), int(header["n_records"])
    n_found = (path.stat().st_size - int(header["data_offset"])) // n_bytes
    if n_found < n_records:
        raise DataError(
            f"{path} is truncated: its header promises {counted(n_records, 'record')}, but it ends after "
            f"{n_found}, and the events at its end are missing. Copy it again."
        )


def _describe_brainvision(raw: Any, path: Path) -> str:
    """Return a sentence if the data file of a BrainVision header has fewer samples than it should, or part of one."""
    wanted = r"^(DataPoints|NumberOfChannels|BinaryFormat)\s*=\s*(\w+)"
    fields = dict(re.findall(wanted, read_vhdr(path), re.MULTILINE))
    n_samples, data = int(raw.n_times), Path(str(raw.filenames[0]))
    n_promised = int(fields.get("DataPoints", 0))
    if n_promised > n_samples:
        return _truncated(data.name, n_samples, n_promised, raw)
    n_bytes = _BYTES_OF_FORMAT.get(fields.get("BinaryFormat", ""), 0) * int(fields.get("NumberOfChannels", 0))
    if n_bytes and data.stat().st_size % n_bytes:
        return f"{data.name} ends in the middle of a sample, so it is truncated. {_COPY_AGAIN}"
    return ""


def _truncated(name: str, n_found: int, n_promised: int, raw: Any) -> str:
    missing_s = (n_promised - n_found) / raw.info["sfreq"]
    return (
        f"{name} is truncated: its header promises {counted(n_promised, 'sample')}, but it has {n_found}. "
        f"{missing_s:g} s are missing. {_COPY_AGAIN}"
    )
