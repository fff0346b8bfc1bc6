"""Reads the text files that OpenBCI's GUI records. Used by `open_recording`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.channel_types import choose_eeg_channels
from pretap.recordings.reading.overrides import replace_labels, replace_rate
from pretap.recordings.reading.placement import sentences
from pretap.recordings.recording import Event, Recording
from pretap.signal.channels import unit_factor, unknown_channel
from pretap.signal.trigger import TriggerChannel
from pretap.spelling import counted

_FIRST_LINE = re.compile(rb"\s*%\s*OpenBCI Raw", re.IGNORECASE)
_FIELD = re.compile(r"%\s*(Number of channels|Sample Rate)\s*=\s*([\d.]+)", re.IGNORECASE)
_WHAT = "is in OpenBCI's text format"


def is_openbci_text(path: Path) -> bool:
    """Whether a file is a recording of OpenBCI's GUI, by its first line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _FIRST_LINE.match(file.read(100)) is not None


def open_openbci_text(path: Path, config: RecordingConfig) -> Recording:
    """Read the EXG channels of a text file, in microvolts; the codes of a marker channel become events.

    Lost packets, which the sample index shows, start a segment.

    Raises
    ------
    DataError
        If the header lacks the rate or the number of channels, or a line is damaged.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    header = [line for line in lines[:100] if line.startswith("%")]
    fields = {name.lower(): float(value) for line in header for name, value in _FIELD.findall(line)}
    in_header_hz, n_channels = fields.get("sample rate", 0.0), int(fields.get("number of channels", 0))
    sfreq_hz = in_header_hz or config.sfreq_hz or 0.0
    rows = [line for line in lines if line and not line.startswith("%")]
    names = [name.strip() for name in rows[0].split(",")] if rows else []
    if names and not _is_number(names[0]):
        rows = rows[1:]
        exg = [i for i, name in enumerate(names) if name.lower().startswith("exg")]
        markers = [i for i, name in enumerate(names) if name.lower().startswith("marker")]
    else:  # old versions have no titles: the sample index comes first, then the channels
        exg, markers = list(range(1, n_channels + 1)), []
    if not (sfreq_hz > 0 and exg):
        raise DataError(
            f"{path} {_WHAT}, but its header lacks the sample rate or the channels. Set the rate: [recording] "
            "sfreq_hz = 250, or export it again."
        )
    if config.cue_channel:
        columns_of_codes = [names[i] for i in markers]
        if config.cue_channel not in columns_of_codes:
            raise DataError(f"{path} {unknown_channel(config.cue_channel, columns_of_codes)}")
        markers = [names.index(config.cue_channel)]
    note = ""
    if len(rows) > 1 and rows[-1].count(",") < rows[0].count(","):
        rows, note = rows[:-1], f"The last line of {path.name} is cut, so it is truncated. Copy it again if you can."
    table = _numbers(path, rows, [0, *exg, *markers])  # (n_samples, n_columns)
    titles = [f"EXG{i}" for i in range(len(exg))]
    labels = replace_labels(titles, config, source=str(path))
    kept, left_out = choose_eeg_channels(
        labels,
        types=[""] * len(labels),
        units=[""] * len(labels),
        source=str(path),
        read=lambda i: table[:, 1 + i],
        eeg=config.eeg,
    )
    factor = unit_factor(config.unit or "uV")
    if factor is None:
        raise DataError(f"{path}: {config.unit!r} is not a unit: expected microvolts, millivolts, volts or nanovolts.")
    x_uv: NDArray[np.float32] = (table[:, 1 + np.array(kept)] * factor).astype(np.float32)  # (n_samples, n_channels)
    segments = _segments(table[:, 0])
    lost = ""
    if len(segments) > 1:
        lost = f"Packets are missing in {counted(len(segments) - 1, 'place')} of {path.name}. No trial crosses one."
    columns = table[:, len(exg) + 1 :].T  # (n_markers, n_samples)
    codes = [code for values in columns for code in TriggerChannel("marker").process(values)]
    recording = Recording(
        channels=tuple(labels[i] for i in kept),
        sfreq_hz=sfreq_hz,
        n_samples=len(x_uv),
        events=tuple(sorted({Event(sample, text) for sample, text in codes})),
        read=lambda start, stop: x_uv[start:stop],
        source=path.name,
        left_out=left_out,
        notes=sentences(note, lost),
        segments=segments,
    )
    return replace_rate(recording, config.sfreq_hz)


def _numbers(path: Path, rows: list[str], columns: list[int]) -> NDArray[np.float64]:
    """Parse these columns of the rows."""
    if not rows:
        raise DataError(f"{path} {_WHAT}, but it has no samples.")
    try:
        table: NDArray[np.float64] = np.loadtxt(rows, delimiter=",", usecols=columns, ndmin=2)
    except ValueError as error:
        raise DataError(
            f"{path} {_WHAT}, but a line of it is damaged ({error}). Remove the line, or record with LabRecorder."
        ) from error
    return table


def _segments(index: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the first sample of each run of packets: the index has usual steps, and starts again at its maximum."""
    steps = np.diff(index)  # (n_samples - 1,)
    if not steps.size:
        return (0,)
    values, counts = np.unique(steps, return_counts=True)
    usual = values[counts >= len(steps) / 10]  # 0 and 1 by turns for two samples in a packet
    is_wrap = (index[:-1] == index.max()) & (index[1:] == index.min())
    return (0, *(np.flatnonzero(~np.isin(steps, usual) & ~is_wrap) + 1).tolist())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
