"""Refusals of files that are not a recording, or not the right part of one. Used by `open_recording`."""

from __future__ import annotations

import re
from pathlib import Path

from pretap.errors import DataError

FORMATS = (
    "XDF, FIF, EDF, BDF, GDF, BrainVision (.vhdr), EEGLAB (.set), OpenBCI's text format, and others that MNE reads "
    "(CNT, EGI, Nihon Kohden, Persyst, ...)"
)
_CONVERT = f"Export it as EDF, BrainVision or XDF from the program that wrote it. pretap reads {FORMATS}."
_TRIALS = "It has trials, not a recording. Give trials with --data, or the recording they were cut from."
_HEADERS = {  # the file to give instead, by what was given
    ".vmrk": (".vhdr", "the marker file of a BrainVision recording"),
    ".eeg": (".vhdr", "the data file of a BrainVision recording"),
    ".avg": (".vhdr", "the data file of a BrainVision recording"),
    ".dat": (".vhdr", "the data file of a BrainVision recording"),
    ".fdt": (".set", "the data file of an EEGLAB recording"),
}
_OTHERS = {
    ".csv": "a table of text (CSV)",
    ".tsv": "a table of text (TSV)",
    ".txt": "a text file",
    ".mat": "a MATLAB file",
    ".npy": "a NumPy array",
    ".npz": "a file of NumPy arrays",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".zip": "an archive",
    ".safetensors": "a bundle",
    ".toml": "a recipe or configuration",
    ".xlsx": "a spreadsheet",
}

_FAILURES = {  # what to say, by the message of a reader
    r"No raw data in": ": it is a FIF file without continuous data. If it has trials, give it with --data.",
    r"mixed sampling frequencies": (
        ": it has channels of several sampling rates, which MNE resamples wrongly piece by piece. Give an EDF or BDF "
        "file by its name; otherwise load it with preload=True, or export it without those channels."
    ),
    r"v7\.3": (
        ": it was saved as MATLAB 7.3. Save it in EEGLAB without that option, or install pymatreader and h5py (pip "
        "install pymatreader h5py)."
    ),
    r"No such file|not find the \.fdt|^File .* not found": (
        ": a file that belongs to it is missing ({reason}). Files of a recording stay together in one folder, under "
        "the names that the recorder gave them."
    ),
    r"number of trials|epochs": f". {_TRIALS}",
    r"end-of-stream marker": ": it is truncated: its compressed data end too early. Copy it again.",
    r"Unsupported file type": f": its kind is not known. {_CONVERT}",
}


def refuse_other_files(path: Path) -> None:
    """Refuse a file that cannot be a recording, and say which file to give or what to convert.

    Raises
    ------
    DataError
        If the file is a part of a recording, or of a kind that has none.
    """
    suffix = path.suffix.lower()
    if suffix in _HEADERS:
        wanted, what = _HEADERS[suffix]
        header = path.with_suffix(wanted)
        if header.exists() or suffix in (".vmrk", ".fdt"):
            missing = "" if header.exists() else f", which is missing: it belongs beside {path.name}"
            raise DataError(f"{path} is {what}. Give the {wanted} file: {header.name}{missing}.")
    if suffix == ".fif" and path.stem.lower().endswith("epo"):
        raise DataError(f"{path} cannot be read as a recording. {_TRIALS}")
    if suffix in (".zip", ".gz", ".7z", ".rar") and not path.name.lower().endswith(".fif.gz"):
        raise DataError(f"{path} cannot be read as a recording: it is compressed. Unpack it, and give the recording.")
    if suffix in _OTHERS:
        raise DataError(f"{path} cannot be read as a recording: it is {_OTHERS[suffix]}. {_advice(suffix)}")


def _advice(suffix: str) -> str:
    if suffix == ".mat":
        return f"Give trials with --data, or save it as .set in EEGLAB. {_CONVERT}"
    if suffix in (".safetensors", ".toml"):
        return "Give the recording."
    return _CONVERT


def explain_failure(path: Path | str, error: Exception) -> DataError:
    """Return an error that says what to do with a file on which a reader failed."""
    reason = " ".join(str(error).split())[:300]
    start = f"{path} cannot be read as a recording"
    for pattern, advice in _FAILURES.items():
        if re.search(pattern, re.sub(r"\S*[/\\]", "", reason)):  # the names of folders say nothing
            return DataError(f"{start}{advice.format(reason=reason)}")
    if isinstance(error, MemoryError):
        return DataError(f"{start}: the memory is full. Its header may be damaged; copy it again.")
    says = isinstance(error, OSError | ValueError | RuntimeError | EOFError) and reason  # others are about code
    detail = f" ({reason.rstrip('.')})" if says else ""
    return DataError(f"{start}{detail}: its name is wrong for its content, or it is damaged. {_CONVERT}")
