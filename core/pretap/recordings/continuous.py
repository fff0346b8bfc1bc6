"""Continuous recordings of any format that MNE or pyxdf reads, opened as a `Recording`."""

from __future__ import annotations

import math
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

__all__ = ["open_recording", "recording_from_raw"]

_XDF_SUFFIXES = (".xdf", ".xdfz", ".xdf.gz")
_UNIT_VOLT = 107  # FIFF_UNIT_V, what MNE notes in `info["chs"][i]["unit"]`
_UV_PER_V = 1e6
_BOUNDARIES = ("boundary", "bad boundary", "edge boundary")  # EEGLAB's; MNE's, where recordings were joined
_NEW_SEGMENT = "new segment"  # BrainVision's, where a recording was paused


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
        return recording_from_raw(_read_raw(path), source=str(path))


def recording_from_raw(raw: Any, *, source: str = "MNE recording") -> Recording:
    """Take an `mne.io.Raw` as a `Recording`; its samples are read when asked for, `raw` itself is left as it is.

    Its EEG channels are taken, bad ones too (other voltages where none is called EEG). Annotations become events, and
    so do the codes of trigger channels (``"1"``), see `_codes`. Annotations that begin with ``bad`` are also `bad`
    spans; those that mark a boundary or a BrainVision ``New Segment`` also start a segment.

    Parameters
    ----------
    raw
        The recording.
    source
        What it is called in messages; of a path, the name is what the recording keeps.

    Raises
    ------
    DataError
        A recording that is empty, has no EEG, or cannot be read.
    """
    with _blaming(source):
        eeg = _pick_eeg(raw.copy(), source)
        reader = _RawReader(eeg, source)
        if reader.n_samples == 0:
            raise DataError(f"{source} holds no samples.")
        reader(reader.n_samples - 1, reader.n_samples)  # a file cut short shows here, not in the middle of a replay
        noted = _annotations(raw, reader.n_samples)
        events = [Event(start, text) for start, _, text in noted if start >= 0] + _codes(raw, source)
    starts = {start for start, _, text in noted if _is_boundary(text) and start > 0}
    return Recording(
        channels=tuple(eeg.ch_names),
        sfreq_hz=float(eeg.info["sfreq"]),
        n_samples=reader.n_samples,
        events=tuple(sorted(events)),
        read=reader,
        source=Path(source).name,
        subject=str((eeg.info["subject_info"] or {}).get("his_id") or ""),
        segments=tuple(sorted({0} | starts)),
        bad=tuple(
            (max(0, start), stop)
            for start, stop, text in noted
            if text.lower().startswith("bad") and not _is_boundary(text)
        ),
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
def _blaming(path: Path | str) -> Iterator[None]:
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
    try:
        import mne
    except ImportError:
        raise MissingPackageError.for_extra(f"Reading {path.name}", missing="mne") from None
    return mne.io.read_raw(path, preload=False, verbose="error")


def _pick_eeg(raw: Any, source: str) -> Any:
    """Keep the channels of EEG, or other voltages where none is called EEG."""
    types = raw.get_channel_types()
    if "eeg" in types:
        return raw.pick("eeg", exclude=(), verbose="error")
    try:
        raw.pick("data", exclude=(), verbose="error")
    except ValueError:
        raise DataError(
            f"{source} has no channel of EEG, only {_counted(types)}. Set the channel types first."
        ) from None
    if any(int(channel["unit"]) != _UNIT_VOLT for channel in raw.info["chs"]):
        raise DataError(f"{source} has no channel of EEG, only {_counted(types)}, which are not all voltages.")
    return raw


def _counted(types: list[str]) -> str:
    return ", ".join(f"{types.count(kind)} {kind}" for kind in sorted(set(types))) or "nothing"


def _annotations(raw: Any, n_samples: int) -> list[tuple[int, int, str]]:
    """Turn annotations into (start, stop, text) that count from the first sample (MNE counts from `first_samp`)."""
    import mne

    notes, sfreq_hz = raw.annotations, float(raw.info["sfreq"])
    codes = {str(text): code for code, text in enumerate(sorted(set(notes.description)), start=1)}
    if not codes:
        return []
    rows, _ = mne.events_from_annotations(raw, event_id=codes, regexp=None, verbose="error")  # (n_annotations, 3)
    starts = rows[:, 0] - int(raw.first_samp)  # in the order of the annotations
    noted = []
    for start, duration_s, text in zip(starts.tolist(), notes.duration.tolist(), notes.description, strict=True):
        stop = start + max(1, math.ceil(duration_s * sfreq_hz))
        if stop > 0 and start < n_samples:
            noted.append((start, min(stop, n_samples), str(text)))
    return sorted(noted)


def _is_boundary(text: str) -> bool:
    return text.lower() in _BOUNDARIES or text.lower().startswith(_NEW_SEGMENT)


def _is_bad(text: str) -> bool:
    return text.lower().startswith("bad") and not _is_boundary(text)


def _codes(raw: Any, source: str) -> list[Event]:
    """Read the codes of trigger channels: an event wherever the code changes to another that is not 0.

    BioSemi's Status channel holds triggers in its low 16 bits and the amplifier's state above, which is masked. Where
    bits 8 to 15 never change either (lines without a cable float at 1: 65281 is code 1), the low 8 bits are the code.
    """
    import mne

    if "stim" not in raw.get_channel_types():
        return []
    mask = None
    if source.lower().endswith(".bdf") or any(name.lower() == "status" for name in raw.ch_names):
        status = raw.get_data(picks="stim", verbose="error").astype(np.int64)  # (n_stim, n_samples)
        changing = int(np.bitwise_or.reduce(status ^ status[:, :1], axis=None))
        mask = 0xFFFF if changing & 0xFF00 else 0xFF
    rows = mne.find_events(
        raw, consecutive=True, shortest_event=1, mask=mask, mask_type="and", uint_cast=mask is None, verbose="error"
    )
    first = int(raw.first_samp)
    return [Event(int(sample) - first, str(int(code))) for sample, _, code in rows.tolist()]


class _RawReader:
    """Reads pieces of an MNE recording in microvolts, time first."""

    def __init__(self, raw: Any, source: str) -> None:
        self._raw = raw
        self._source = source
        self.n_samples = int(raw.n_times)

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        start, stop, _ = slice(start, stop).indices(self.n_samples)
        if stop <= start:
            return np.zeros((0, len(self._raw.ch_names)), np.float32)
        with _blaming(self._source):
            x_v = self._raw.get_data(start=start, stop=stop, verbose="error")  # (n_channels, n_samples), volts
        if x_v.shape[1] != stop - start:
            raise DataError(f"{self._source}: expected {stop - start} samples from {start} on, got {x_v.shape[1]}.")
        with np.errstate(over="ignore"):  # a damaged value may be too large for float32: infinite, and seen as such
            return np.ascontiguousarray((x_v * _UV_PER_V).T, dtype=np.float32)  # (n_samples, n_channels)
