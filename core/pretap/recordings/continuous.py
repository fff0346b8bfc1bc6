"""Continuous recordings of any format that MNE or pyxdf reads, opened as a `Recording`."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError, MissingPackageError, PretapError, UsageError
from pretap.recordings.recording import Event, Recording
from pretap.recordings.xdf import open_xdf

__all__ = ["open_recording"]

_XDF_SUFFIXES = (".xdf", ".xdfz", ".xdf.gz")
_UNIT_VOLT = 107  # FIFF_UNIT_V, what MNE notes in `info["chs"][i]["unit"]`
_UV_PER_V = 1e6


def open_recording(path: Path, *, stream: str | None = None) -> Recording:
    """Open a continuous recording; its samples are read when asked for.

    Parameters
    ----------
    path
        Anything `mne.io.read_raw` opens (FIF, EDF, BDF, GDF, BrainVision, EEGLAB, ...), or an XDF file. Its EEG
        channels are taken, bad ones too, in the file's order; annotations become events.
    stream
        XDF only: the name, id or source_id of the stream to read, where several could be meant.

    Returns
    -------
    Recording
        Time first, microvolts; events count from the first sample.

    Raises
    ------
    DataError
        A missing, damaged or empty file, one without EEG, or with several streams of EEG.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: expected a recording (FIF, EDF, BDF, BrainVision, XDF, ...).")
    if path.name.lower().endswith(_XDF_SUFFIXES):
        return open_xdf(path, stream=stream)
    if stream is not None:
        raise UsageError(f"A stream can be chosen in XDF files only, and {path.name} is none (stream {stream!r}).")
    with _blaming(path):
        if path.suffix == ".fif":
            _refuse_circles(path)
        raw = _read_raw(path)
        reader = _RawReader(raw, path)
        if reader.n_samples == 0:
            raise DataError(f"{path} holds no samples.")
        reader(reader.n_samples - 1, reader.n_samples)  # a file cut short shows here, not in the middle of a replay
        events = _events(raw, reader.n_samples)
    return Recording(
        channels=tuple(raw.ch_names),
        sfreq_hz=float(raw.info["sfreq"]),
        n_samples=reader.n_samples,
        events=events,
        read=reader,
        source=path.name,
        subject=str((raw.info["subject_info"] or {}).get("his_id") or ""),
    )


def _refuse_circles(path: Path) -> None:
    """Refuse a FIF file whose chain of tags leads back into itself: MNE follows it until the memory is full."""
    n_bytes = path.stat().st_size
    position, n_tags = 0, 0
    with path.open("rb") as file:
        while position + 16 <= n_bytes:
            file.seek(position)
            _, _, size, follows = struct.unpack(">iiii", file.read(16))  # kind, type, size, next
            position = position + 16 + size if follows == 0 else follows
            n_tags += 1
            if n_tags > n_bytes // 16:
                raise DataError(f"{path} cannot be read as a recording: its tags run in a circle. Damaged?")
            if position < 0 or size < 0:
                return  # the end of the chain, or damage that MNE notices


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn whatever MNE raises into a sentence: its two dozen readers raise anything on damaged bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # naming conventions and the like: no matter for reading
            yield
    except PretapError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} cannot be read as a recording ({type(error).__name__}: {reason}). Damaged, or not one?"
        ) from error


def _read_raw(path: Path) -> Any:
    """Open the file with MNE and keep its channels of EEG, or of other voltages where none is called EEG."""
    try:
        import mne
    except ImportError:
        raise MissingPackageError.for_extra(f"Reading {path.name}", missing="mne") from None
    raw = mne.io.read_raw(path, preload=False, verbose="error")
    types = raw.get_channel_types()
    if "eeg" in types:
        return raw.pick("eeg", exclude=(), verbose="error")
    try:
        raw.pick("data", exclude=(), verbose="error")
    except ValueError:
        raise DataError(f"{path} has no channel of EEG, only {_counted(types)}. Set the channel types first.") from None
    if any(int(channel["unit"]) != _UNIT_VOLT for channel in raw.info["chs"]):
        raise DataError(f"{path} has no channel of EEG, only {_counted(types)}, which are not all voltages.")
    return raw


def _counted(types: list[str]) -> str:
    return ", ".join(f"{types.count(kind)} {kind}" for kind in sorted(set(types))) or "nothing"


def _events(raw: Any, n_samples: int) -> tuple[Event, ...]:
    """Turn annotations into events that count from the first sample (MNE counts from `first_samp`)."""
    import mne

    texts = sorted({str(text) for text in raw.annotations.description})
    if not texts:
        return ()
    codes = {text: code for code, text in enumerate(texts, start=1)}
    rows, _ = mne.events_from_annotations(raw, event_id=codes, regexp=None, verbose="error")  # (n_events, 3)
    events = (Event(int(sample) - int(raw.first_samp), texts[code - 1]) for sample, _, code in rows.tolist())
    return tuple(sorted(event for event in events if 0 <= event.sample < n_samples))


class _RawReader:
    """Reads pieces of an MNE recording in microvolts, time first."""

    def __init__(self, raw: Any, path: Path) -> None:
        self._raw = raw
        self._path = path
        self.n_samples = int(raw.n_times)

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        start, stop, _ = slice(start, stop).indices(self.n_samples)
        if stop <= start:
            return np.zeros((0, len(self._raw.ch_names)), np.float32)
        with _blaming(self._path):
            x_v = self._raw.get_data(start=start, stop=stop, verbose="error")  # (n_channels, n_samples), volts
        if x_v.shape[1] != stop - start:
            raise DataError(f"{self._path}: expected {stop - start} samples from {start} on, got {x_v.shape[1]}.")
        with np.errstate(over="ignore"):  # a damaged value may be too large for float32: infinite, and seen as such
            return np.ascontiguousarray((x_v * _UV_PER_V).T, dtype=np.float32)  # (n_samples, n_channels)
