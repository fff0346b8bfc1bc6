"""BCI Competition II data set IV ('self-paced 1s') and files of the same form, read into `Epochs`.

The set and its paper: B. Blankertz, G. Curio, K.-R. Mueller, *Classifying single trial EEG: towards brain computer
interfacing*, NIPS 2001; https://www.bbci.de/competition/ii/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError, MissingPackageError
from pretap.recordings.epochs import Epochs
from pretap.recordings.matfile import MatValue, read_mat

__all__ = [
    "CHANNELS",
    "CLASSES",
    "LABELS_NAME",
    "SYNTHETIC_NAME",
    "WINDOW_END_MS",
    "WINDOW_S",
    "find_competition",
    "read_competition",
]

CHANNELS: tuple[str, ...] = (
    "F3", "F1", "Fz", "F2", "F4",
    "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6",
    "C5", "C3", "C1", "Cz", "C2", "C4", "C6",
    "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6",
    "O1", "O2",
)  # fmt: skip
CLASSES: tuple[str, ...] = ("left", "right")
WINDOW_S = 0.5
WINDOW_END_MS = -130.0
LABELS_NAME = "labels_data_set_iv.txt"
SYNTHETIC_NAME = "synthetic.mat"  # what `pretap simulate DIR --epochs` writes: never under a name of the real set

Part = Literal["train", "test"]

_MAT_NAMES = ("sp1s_aa_1000Hz.mat", "sp1s_aa.mat")
_TEXT_NAMES: Mapping[Part, tuple[str, ...]] = {
    "train": ("sp1s_aa_train_1000Hz.txt", "sp1s_aa_train.txt"),
    "test": ("sp1s_aa_test_1000Hz.txt", "sp1s_aa_test.txt"),
}
_PART_WORDS: Mapping[Part, str] = {"train": "training part", "test": "test part"}
_FETCHED_SHA256 = "00c32944043f94fc1924806e081f51671f67aa5ed0b25a3eea313bd4b7c529e9"  # sp1s_aa.mat
_LARGEST_UV = 1e7  # 10 V: no electrode gives that, so the values are not microvolts (or the file is damaged)
_WHERE = (
    "Get the data from the BCI Competition II page (https://www.bbci.de/competition/ii/, data set IV) and put it in "
    "{directory}, or set PRETAP_DATA to the directory that holds it, or use `--data synthetic`."
)


def find_competition(path: Path, *, part: Part) -> Path:
    """Find the file that holds a part of the set.

    Parameters
    ----------
    path
        A directory with one or several releases (taken in this order: 1000 Hz .mat, 100 Hz .mat, 1000 Hz text, 100 Hz
        text, our own ``synthetic.mat``), or one such file.
    part
        Which part must be in it.

    Raises
    ------
    DataError
        Where there is none; the sentence says what was looked for. Nothing is fetched, unless the environment variable
        ``PRETAP_DATA_URL`` names a mirror: then ``sp1s_aa.mat`` comes from there, checked against its sha256.
    """
    path = Path(path)
    if path.is_file():
        other: Part = "test" if part == "train" else "train"
        if path.suffix.lower() != ".mat" and f"_{other}" in path.name:
            raise DataError(
                f"{path} holds the {_PART_WORDS[other]}, but the {_PART_WORDS[part]} is wanted. "
                f"Give the directory that holds both text files."
            )
        return path
    if path.suffix.lower() in {".mat", ".txt"} and not path.is_dir():
        raise DataError(f"{path} does not exist. {_WHERE.format(directory=path.parent)}")
    names = (*_MAT_NAMES, *_TEXT_NAMES[part], SYNTHETIC_NAME)
    for name in names:
        if (path / name).is_file():
            return path / name
    if url := os.environ.get("PRETAP_DATA_URL"):
        return _fetch(url, path)
    state = "holds none of" if path.is_dir() else "does not exist; looked there for"
    raise DataError(f"{path} {state} {', '.join(names)}. {_WHERE.format(directory=path)}")


def read_competition(path: Path, *, part: Part) -> Epochs:
    """Read the training or the test part of the competition's data, or of a file of the same form.

    Parameters
    ----------
    path
        As for `find_competition`. A ``.mat`` file may hold any number of trials, channels and time points; its rate is
        its variable ``sfreq`` where there is one, else its number of time points / 0.5 s.
    part
        Test labels come from ``labels_data_set_iv.txt`` beside the file, where there is one; else they are None.

    Returns
    -------
    Epochs
        float32 microvolts, (n_epochs, n_samples, n_channels); classes left, right; the window ends at -130 ms.

    Raises
    ------
    DataError
        A file that is missing, truncated, of another shape, or with values or labels that cannot be.
    """
    file = find_competition(path, part=part)
    if file.suffix.lower() == ".mat":
        return _read_mat(file, part=part)
    return _read_text(file, part=part)


def _fetch(url: str, directory: Path) -> Path:
    """Fetch the 100 Hz .mat from a mirror into `directory`, or say why not."""
    try:
        import pooch
    except ImportError:
        raise MissingPackageError.for_extra("Fetching the competition data", missing="pooch") from None
    name = _MAT_NAMES[1]
    address = f"{url.rstrip('/')}/{name}"
    try:
        return Path(pooch.retrieve(address, known_hash=f"sha256:{_FETCHED_SHA256}", fname=name, path=directory))
    except Exception as error:
        # pooch passes on whatever its downloader raises: requests, OS and hash errors have no common root
        raise DataError(
            f"{name} could not be fetched from {address} (PRETAP_DATA_URL): {error} "
            f"{_WHERE.format(directory=directory)}"
        ) from error


# -- .mat ----------------------------------------------------------------------------------------------------------


def _read_mat(file: Path, *, part: Part) -> Epochs:
    loaded = read_mat(file, names=("clab", "x_train", "y_train", "x_test", "sfreq", "source", "subject"))
    wanted = ("clab", "x_train", "y_train") if part == "train" else ("clab", "x_test")
    if missing := [name for name in wanted if name not in loaded]:
        raise DataError(
            f"{file}: expected the variables {', '.join(wanted)}; {', '.join(missing)} is missing "
            f"(of those known, it has: {', '.join(sorted(loaded)) or 'none'}). This is not the competition's file."
        )
    channels = _channel_names(loaded["clab"], file)
    x = _numeric(loaded[f"x_{part}"], f"x_{part}", file)  # (n_samples, n_channels, n_epochs)
    if x.ndim == 2:
        x = x[:, :, None]  # MATLAB drops a last axis of length 1: one trial
    if x.ndim != 3 or x.shape[1] != len(channels) or 0 in x.shape:
        raise DataError(
            f"{file}: expected x_{part} of shape (time, {len(channels)} channels of clab, trial), got {x.shape}."
        )
    labels = _labels(_numeric(loaded["y_train"], "y_train", file), file) if part == "train" else None
    # A transpose: a reshape would leave 0.3 % of the values in their trial (a widely copied mistake).
    x = x.transpose(2, 0, 1)  # (n_epochs, n_samples, n_channels)
    return _epochs(
        x,
        labels,
        channels,
        file=file,
        part=part,
        sfreq_hz=_rate_hz(loaded, x.shape[1], file),
        about=loaded,
    )


def _numeric(value: MatValue, name: str, file: Path) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray):
        kind = "cells" if isinstance(value, list) else "a text"
        raise DataError(f"{file}: expected {name} to be an array of numbers, got {kind}.")
    return value


def _channel_names(clab: MatValue, file: Path) -> tuple[str, ...]:
    names = [name.strip() for name in clab if isinstance(name, str) and name.strip()] if isinstance(clab, list) else []
    if not names or len(names) != len(clab) or len(set(names)) != len(names):
        raise DataError(f"{file}: expected clab to be cells with one distinct name a channel, got {str(clab)[:200]}.")
    return tuple(names)


def _rate_hz(loaded: Mapping[str, MatValue], n_samples: int, file: Path) -> float:
    if "sfreq" not in loaded:
        return n_samples / WINDOW_S
    value = _numeric(loaded["sfreq"], "sfreq", file)
    if value.size != 1 or not np.isfinite(value).all() or value.item() <= 0:
        raise DataError(f"{file}: expected sfreq to be one positive rate in hertz, got {value.ravel()[:4].tolist()}.")
    return float(value.item())


# -- text ----------------------------------------------------------------------------------------------------------


def _read_text(file: Path, *, part: Part) -> Epochs:
    n_channels = len(CHANNELS)
    n_labels = 1 if part == "train" else 0
    rows = [_row(line, number, file) for number, line in enumerate(_lines(file), start=1)]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{file}: line {number} has {len(row)} values, line 1 has {len(rows[0])}. Truncated? Download it again."
            )
    n_samples, rest = divmod(len(rows[0]) - n_labels if rows else 0, n_channels)
    if rest or n_samples < 1:
        raise DataError(
            f"{file}: expected trials a line, {'a label and then ' if n_labels else ''}{n_channels} channels one after "
            f"another, got {len(rows)} lines of {len(rows[0]) if rows else 0} values, which is not {n_channels} x n"
            f"{' + 1' if n_labels else ''}."
        )
    table = np.stack(rows)  # (n_epochs, n_labels + n_channels * n_samples)
    labels = _labels(table[:, 0], file) if n_labels else None
    x = table[:, n_labels:].reshape(len(table), n_channels, n_samples)  # channel after channel
    x = x.transpose(0, 2, 1)  # (n_epochs, n_samples, n_channels)
    return _epochs(x, labels, CHANNELS, file=file, part=part, sfreq_hz=n_samples / WINDOW_S)


def _lines(file: Path) -> list[str]:
    """Return the non-empty lines of a text file of numbers."""
    try:
        text = file.read_bytes().decode("ascii")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not a text file of numbers: byte {error.start} is not ASCII.") from error
    return [line for line in text.splitlines() if line.strip()]


def _row(line: str, number: int, file: Path) -> NDArray[np.float64]:
    try:
        return np.array(re.split(r"[,;\s]+", line.strip().strip(",;")), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{file}: line {number} holds something that is not a number: {error}.") from error


# -- both ----------------------------------------------------------------------------------------------------------


def _labels(values: NDArray[np.float64], file: Path) -> NDArray[np.int64]:
    values = values.ravel()
    if wrong := [float(v) for v in np.unique(values) if v not in {0.0, 1.0}]:
        raise DataError(f"{file}: expected labels 0 (left) and 1 (right), got {wrong[:5]} too.")
    return values.astype(np.int64)


def _test_labels(file: Path, n_epochs: int) -> NDArray[np.int64] | None:
    """Read the answers beside `file`, where they are; the competition published them after it ended."""
    labels_file = file.with_name(LABELS_NAME)
    if not labels_file.is_file():
        return None
    rows = [_row(line, number, labels_file) for number, line in enumerate(_lines(labels_file), start=1)]
    labels = _labels(np.concatenate(rows) if rows else np.zeros(0), labels_file)
    if len(labels) != n_epochs:
        raise DataError(
            f"{labels_file}: expected {n_epochs} labels, one a line for each trial of {file}, got {len(labels)}."
        )
    return labels


def _epochs(
    x: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
    channels: tuple[str, ...],
    *,
    file: Path,
    part: Part,
    sfreq_hz: float,
    about: Mapping[str, MatValue] | None = None,
) -> Epochs:
    """Check the values of time-first trials (n_epochs, n_samples, n_channels) and wrap them up."""
    if part == "test":
        labels = _test_labels(file, len(x))
    what, subject = "trials in the competition's form", ""
    if file.name.startswith("sp1s_aa"):
        what, subject = "BCI Competition II data set IV", "bci2-iv-aa"
    told = {name: value for name, value in (about or {}).items() if isinstance(value, str)}  # our own files say both
    what, subject = told.get("source", what), told.get("subject", subject)
    source = f"{what}, {_PART_WORDS[part]} at {sfreq_hz:g} Hz ({file.name})"
    if labels is not None and len(labels) != len(x):
        raise DataError(f"{file}: expected one label a trial, got {len(labels)} labels for {len(x)} trials.")
    if (largest := float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))) > _LARGEST_UV:
        raise DataError(f"{file}: expected microvolts, got values up to {largest:.3g}. Damaged, or in another unit?")
    return Epochs(
        x_uv=np.ascontiguousarray(x, dtype=np.float32),
        labels=labels,
        classes=CLASSES,
        channels=channels,
        sfreq_hz=sfreq_hz,
        window_end_ms=WINDOW_END_MS,
        source=source,
        subject=subject,
    )
