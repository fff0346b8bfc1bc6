"""Reader of BCI Competition II data set IV ("self-paced 1s") and of files in the same format.

The set and its paper: B. Blankertz, G. Curio, K.-R. Mueller, *Classifying single trial EEG: towards brain computer
interfacing*, NIPS 2001; https://www.bbci.de/competition/ii/.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.extras import import_extra
from pretap.recordings.epochs import Epochs
from pretap.recordings.matfile import MatValue, read_mat

__all__ = ["find_competition", "read_competition"]

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
SYNTHETIC_NAME = "synthetic.mat"  # written by `pretap simulate DIR --epochs`, never under a name of the real data set

Part = Literal["train", "test"]

_MAT_NAMES = ("sp1s_aa_1000Hz.mat", "sp1s_aa.mat")
_TEXT_NAMES: Mapping[Part, tuple[str, ...]] = {
    "train": ("sp1s_aa_train_1000Hz.txt", "sp1s_aa_train.txt"),
    "test": ("sp1s_aa_test_1000Hz.txt", "sp1s_aa_test.txt"),
}
_PART_NAMES: Mapping[Part, str] = {"train": "training part", "test": "test part"}
_FETCHED_SHA256 = "00c32944043f94fc1924806e081f51671f67aa5ed0b25a3eea313bd4b7c529e9"  # sp1s_aa.mat
_MAX_UV = 1e7  # 10 V: no electrode reaches it, so the unit is another one or the file is damaged
_ADVICE = (
    "Get the data from the BCI Competition II page (https://www.bbci.de/competition/ii/, data set IV) and put it in "
    "{directory}, or set PRETAP_DATA to its directory, or use `--data synthetic`."
)


def find_competition(path: Path, *, part: Part) -> Path:
    """Find the file that has a part of the data set.

    Parameters
    ----------
    path
        A directory with one or several releases, or one file. The first match in this order is used: 1000 Hz .mat,
        100 Hz .mat, 1000 Hz text, 100 Hz text, our own ``synthetic.mat``.
    part
        The part that the file must have.

    Raises
    ------
    DataError
        If there is no such file; the message lists the names that were tried. Nothing is downloaded unless the
        environment variable ``PRETAP_DATA_URL`` names a mirror. Then ``sp1s_aa.mat`` is fetched from it and checked
        against its sha256.
    """
    path = Path(path)
    if path.is_file():
        other: Part = "test" if part == "train" else "train"
        if path.suffix.lower() != ".mat" and f"_{other}" in path.name:
            raise DataError(
                f"{path} has the {_PART_NAMES[other]}, but the {_PART_NAMES[part]} is needed. "
                f"Name the directory that has both text files."
            )
        return path
    if path.suffix.lower() in {".mat", ".txt"} and not path.is_dir():
        raise DataError(f"{path} does not exist. {_ADVICE.format(directory=path.parent)}")
    names = (*_MAT_NAMES, *_TEXT_NAMES[part], SYNTHETIC_NAME)
    for name in names:
        if (path / name).is_file():
            return path / name
    if url := os.environ.get("PRETAP_DATA_URL"):
        return _fetch(url, path)
    state = "has none of" if path.is_dir() else "does not exist. Expected a directory with one of"
    raise DataError(f"{path} {state} {', '.join(names)}. {_ADVICE.format(directory=path)}")


def read_competition(path: Path, *, part: Part) -> Epochs:
    """Read the training or the test part of the competition data, or of a file in the same format.

    Parameters
    ----------
    path
        As for `find_competition`. A ``.mat`` file may have any number of trials, channels and time points. Its rate is
        the variable ``sfreq`` if it has one, otherwise the number of time points / 0.5 s.
    part
        Test labels are read from ``labels_data_set_iv.txt`` next to the file; if that is missing they are None.

    Returns
    -------
    Epochs
        float32 microvolts, (n_epochs, n_samples, n_channels); classes left, right; the window ends at -130 ms.

    Raises
    ------
    DataError
        If the file is missing, truncated, of another shape, or has impossible values or labels.
    """
    file = find_competition(path, part=part)
    if file.suffix.lower() == ".mat":
        return _read_mat(file, part=part)
    return _read_text(file, part=part)


def _fetch(url: str, directory: Path) -> Path:
    """Fetch the 100 Hz .mat file from a mirror into `directory`."""
    pooch = import_extra("pooch", needed_by="Fetching the competition data")
    name = _MAT_NAMES[1]
    address = f"{url.rstrip('/')}/{name}"
    try:
        return Path(pooch.retrieve(address, known_hash=f"sha256:{_FETCHED_SHA256}", fname=name, path=directory))
    except Exception as error:
        # pooch raises requests, OS and hash errors, which have no common base class
        raise DataError(
            f"{name} could not be fetched from {address} (PRETAP_DATA_URL): {error} "
            f"{_ADVICE.format(directory=directory)}"
        ) from error


# -- .mat ----------------------------------------------------------------------------------------------------------


def _read_mat(file: Path, *, part: Part) -> Epochs:
    loaded = read_mat(file, names=("clab", "x_train", "y_train", "x_test", "sfreq", "source", "subject"))
    wanted = ("clab", "x_train", "y_train") if part == "train" else ("clab", "x_test")
    if missing := [name for name in wanted if name not in loaded]:
        raise DataError(
            f"{file}: expected the variables {', '.join(wanted)}; {', '.join(missing)} is missing "
            f"(found: {', '.join(sorted(loaded)) or 'none of them'}). This is not the competition's file."
        )
    channels = _channel_names(loaded["clab"], file)
    x = _numeric(loaded[f"x_{part}"], f"x_{part}", file)  # (n_samples, n_channels, n_epochs)
    if x.ndim == 2:
        x = x[:, :, None]  # one trial: MATLAB drops a last axis of length 1
    if x.ndim != 3 or x.shape[1] != len(channels) or 0 in x.shape:
        raise DataError(
            f"{file}: expected x_{part} of shape (time, {len(channels)} channels of clab, trial), got {x.shape}."
        )
    labels = _labels(_numeric(loaded["y_train"], "y_train", file), file) if part == "train" else None
    # A transpose: a reshape, which is a widely copied mistake, leaves only 0.3 % of the values in their trial.
    x = x.transpose(2, 0, 1)  # (n_epochs, n_samples, n_channels)
    return _epochs(
        x,
        labels,
        channels,
        file=file,
        part=part,
        sfreq_hz=_rate_hz(loaded, x.shape[1], file),
        file_info=loaded,
    )


def _numeric(value: MatValue, name: str, file: Path) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray):
        kind = "cells" if isinstance(value, list) else "text"
        raise DataError(f"{file}: expected {name} to be an array of numbers, got {kind}.")
    return value


def _channel_names(clab: MatValue, file: Path) -> tuple[str, ...]:
    names = [name.strip() for name in clab if isinstance(name, str) and name.strip()] if isinstance(clab, list) else []
    if not names or len(names) != len(clab) or len(set(names)) != len(names):
        raise DataError(f"{file}: expected clab to be cells with one distinct name per channel, got {str(clab)[:200]}.")
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
            f"{file}: expected one trial per line: {'a label and then ' if n_labels else ''}{n_channels} channels one "
            f"after another, got {len(rows)} lines of {len(rows[0]) if rows else 0} values, which is not "
            f"{n_channels} x n{' + 1' if n_labels else ''}."
        )
    table = np.stack(rows)  # (n_epochs, n_labels + n_channels * n_samples)
    labels = _labels(table[:, 0], file) if n_labels else None
    x = table[:, n_labels:].reshape(len(table), n_channels, n_samples)  # one channel after another
    x = x.transpose(0, 2, 1)  # (n_epochs, n_samples, n_channels)
    return _epochs(x, labels, CHANNELS, file=file, part=part, sfreq_hz=n_samples / WINDOW_S)


def _lines(file: Path) -> list[str]:
    """Read the non-empty lines of a text file of numbers."""
    try:
        text = file.read_bytes().removeprefix(codecs.BOM_UTF8).decode("ascii")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not a text file of numbers: byte {error.start} is not ASCII.") from error
    return [line for line in text.splitlines() if line.strip()]


def _row(line: str, number: int, file: Path) -> NDArray[np.float64]:
    try:
        return np.array(re.split(r"[,;\s]+", line.strip().strip(",;")), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{file}: line {number} has a value that is not a number: {error}.") from error


# -- both ----------------------------------------------------------------------------------------------------------


def _labels(values: NDArray[np.float64], file: Path) -> NDArray[np.int64]:
    values = values.ravel()
    if wrong := [float(v) for v in np.unique(values) if v not in {0.0, 1.0}]:
        raise DataError(f"{file}: expected only labels 0 (left) and 1 (right), got {wrong[:5]}.")
    return values.astype(np.int64)


def _test_labels(file: Path, n_epochs: int) -> NDArray[np.int64] | None:
    """Read the labels of the test trials, which the competition published later, if they are next to `file`."""
    labels_file = file.with_name(LABELS_NAME)
    if not labels_file.is_file():
        return None
    rows = [_row(line, number, labels_file) for number, line in enumerate(_lines(labels_file), start=1)]
    labels = _labels(np.concatenate(rows) if rows else np.zeros(0), labels_file)
    if len(labels) != n_epochs:
        raise DataError(
            f"{labels_file}: expected {n_epochs} labels, one line for each trial of {file}, got {len(labels)}."
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
    file_info: Mapping[str, MatValue] | None = None,
) -> Epochs:
    """Check time-first trials (n_epochs, n_samples, n_channels) and build `Epochs` from them."""
    if part == "test":
        labels = _test_labels(file, len(x))
    what, subject = "trials in the competition's form", ""
    if file.name.startswith("sp1s_aa"):
        what, subject = "BCI Competition II data set IV", "bci2-iv-aa"
    texts = {name: value for name, value in (file_info or {}).items() if isinstance(value, str)}  # in our own files
    what, subject = texts.get("source", what), texts.get("subject", subject)
    source = f"{what}, {_PART_NAMES[part]} at {sfreq_hz:g} Hz ({file.name})"
    if labels is not None and len(labels) != len(x):
        raise DataError(f"{file}: expected one label per trial, got {len(labels)} labels for {len(x)} trials.")
    if (largest := float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))) > _MAX_UV:
        raise DataError(f"{file}: expected microvolts, got values up to {largest:.3g}. Damaged, or another unit?")
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
