"""Opens continuous recordings in any format that MNE or pyxdf reads as a `Recording`."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import ALL_EVENTS, RecordingConfig
from pretap.errors import DataError, PretapError, UsageError
from pretap.extras import import_extra
from pretap.recordings.channel_types import choose_eeg_channels
from pretap.recordings.live_clocks import LiveClocks
from pretap.recordings.recording import Event, Recording
from pretap.recordings.xdf import open_xdf
from pretap.signal.trigger import ALL_BITS, HIGH_BITS, LOW_BITS, TriggerChannel, is_event, is_status

__all__ = ["open_recording", "recording_from_raw"]

_XDF_SUFFIXES = (".xdf", ".xdfz", ".xdf.gz")
_UNIT_VOLT = 107  # FIFF_UNIT_V in MNE's `info["chs"][i]["unit"]`
_UV_PER_V = 1e6
_BOUNDARIES = ("boundary", "bad boundary", "edge boundary")  # EEGLAB's, and MNE's between joined recordings
_MAX_LISTED = 40
_NEW_SEGMENT = "new segment"  # BrainVision's, after a pause of the recording


def open_recording(
    path: Path,
    *,
    stream: str | None = None,
    config: RecordingConfig = ALL_EVENTS,
    clocks: LiveClocks | None = None,
) -> Recording:
    """Open a continuous recording; its samples are read on demand.

    Parameters
    ----------
    path
        An XDF file, or anything that `mne.io.read_raw` opens (FIF, EDF, BDF, GDF, BrainVision, EEGLAB, ...). All EEG
        channels are used, including bad ones, in the file's order. Annotations become events.
    stream
        XDF only: the name, id or source_id of the stream to read, if there are several of EEG.
    config
        Which markers, or which trigger channel, are the events.
    clocks
        XDF only: see `open_xdf`.

    Returns
    -------
    Recording
        Time first, in microvolts; the samples of events count from the first sample.

    Raises
    ------
    DataError
        If the file is missing, damaged or empty, or has no EEG or several streams of it.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: expected a recording (FIF, EDF, BDF, BrainVision, XDF, ...).")
    if path.name.lower().endswith(_XDF_SUFFIXES):
        return open_xdf(path, stream=stream, config=config, clocks=clocks)
    for name in filter(None, (stream, *config.markers)):
        raise UsageError(f"Only XDF files have streams to choose from, and {path.name} is not one (stream {name!r}).")
    with _as_data_error(path):
        if path.suffix == ".fif":
            _refuse_cycles(path)
        mne = import_extra("mne", needed_by=f"Reading {path.name}")
        raw = mne.io.read_raw(path, preload=False, verbose="error")
        return recording_from_raw(raw, source=str(path), config=config)


def recording_from_raw(raw: Any, *, source: str = "MNE recording", config: RecordingConfig = ALL_EVENTS) -> Recording:
    """Convert an `mne.io.Raw` to a `Recording`; its samples are read on demand, and `raw` is not changed.

    All EEG channels are used, including bad ones, see `choose_eeg_channels`. Annotations become events, and so do the
    codes of trigger channels (``"1"``), see `_codes`. Annotations that start with ``bad`` are also `bad` spans. Those
    that mark a boundary or a BrainVision ``New Segment`` also start a segment.

    Parameters
    ----------
    raw
        The recording.
    source
        Its name in messages. If it is a path, the recording keeps the last part of it.
    config
        Which channels are EEG, and which trigger channel has the events, instead of annotations and all of those.

    Raises
    ------
    DataError
        If the recording is empty, has no EEG, or cannot be read.
    """
    cue_channel = config.cue_channel
    if cue_channel and cue_channel not in raw.ch_names:
        listed = ", ".join(raw.ch_names[:_MAX_LISTED])
        raise DataError(f"{source} has no channel {cue_channel!r}, which should have the cues. It has {listed}.")
    with _as_data_error(source):
        eeg, left_out = _pick_eeg(raw.copy(), source, config)
        n_samples = int(eeg.n_times)
        read = _reader(eeg, source, n_samples)
        if n_samples == 0:
            raise DataError(f"{source} has no samples.")
        read(n_samples - 1, n_samples)  # a truncated file fails here, not in the middle of a replay
        annotations = _annotations(raw, n_samples)
        if cue_channel:
            events = _codes_of(raw, cue_channel)
        else:
            events = [Event(start, text) for start, _, text in annotations if start >= 0] + _codes(raw, source)
    starts = {start for start, _, text in annotations if _is_boundary(text) and start > 0}
    return Recording(
        channels=tuple(eeg.ch_names),
        sfreq_hz=float(eeg.info["sfreq"]),
        n_samples=n_samples,
        events=tuple(sorted(set(events))),  # two channels, or an annotation too, may tell of one event
        read=read,
        source=Path(source).name,
        subject=str((eeg.info["subject_info"] or {}).get("his_id") or ""),
        left_out=left_out,
        segments=tuple(sorted({0} | starts)),
        bad=tuple((max(0, start), stop) for start, stop, text in annotations if _is_bad(text)),
    )


def _refuse_cycles(path: Path) -> None:
    """Refuse a FIF file whose chain of tags has a cycle: MNE would follow it until the memory is full."""
    n_bytes = path.stat().st_size
    position, n_tags = 0, 0
    with path.open("rb") as file:
        while position + 16 <= n_bytes:
            file.seek(position)
            _, _, size, follows = struct.unpack(">iiii", file.read(16))  # kind, type, size, next
            position = position + 16 + size if follows == 0 else follows
            n_tags += 1
            if n_tags > n_bytes // 16:
                raise DataError(f"{path} cannot be read as a recording: its chain of tags has a cycle. Damaged?")
            if position < 0 or size < 0:
                return  # the end of the chain, or damage that MNE detects


@contextmanager
def _as_data_error(path: Path | str) -> Iterator[None]:
    """Turn any exception into a `DataError`: on damaged bytes, MNE's two dozen readers raise anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as naming conventions, which do not matter for reading
            yield
    except PretapError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} cannot be read as a recording ({type(error).__name__}: {reason}). It may be damaged."
        ) from error


def _pick_eeg(raw: Any, source: str, config: RecordingConfig) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """Keep the EEG channels, and return those left out as (name, reason)."""
    units = getattr(raw, "_orig_units", {})  # of the file, by channel; MNE has no public name for them
    kept, left_out = choose_eeg_channels(
        raw.ch_names,
        types=raw.get_channel_types(),
        units=[str(units.get(name, "")) for name in raw.ch_names],
        source=source,
        eeg=config.eeg,
        without=config.cue_channel,
    )
    if others := [raw.ch_names[i] for i in kept if int(raw.info["chs"][i]["unit"]) != _UNIT_VOLT]:
        raise DataError(
            f"{source} has channels that may be EEG but are not voltages: {', '.join(others)}. Set their types first."
        )
    return raw.pick(kept, verbose="error"), left_out


def _annotations(raw: Any, n_samples: int) -> list[tuple[int, int, str]]:
    """Return annotations as (start, stop, text), in samples from the first one (MNE counts from `first_samp`)."""
    import mne

    notes, sfreq_hz = raw.annotations, float(raw.info["sfreq"])
    codes = {str(text): code for code, text in enumerate(sorted(set(notes.description)), start=1)}
    if not codes:
        return []
    rows, _ = mne.events_from_annotations(raw, event_id=codes, regexp=None, verbose="error")  # (n_annotations, 3)
    starts = rows[:, 0] - int(raw.first_samp)  # in the order of the annotations
    annotations = []
    for start, duration_s, text in zip(starts.tolist(), notes.duration.tolist(), notes.description, strict=True):
        stop = start + max(1, math.ceil(duration_s * sfreq_hz))
        if stop > 0 and start < n_samples:
            annotations.append((start, min(stop, n_samples), str(text)))
    return sorted(annotations)


def _is_boundary(text: str) -> bool:
    return text.lower() in _BOUNDARIES or text.lower().startswith(_NEW_SEGMENT)


def _is_bad(text: str) -> bool:
    return text.lower().startswith("bad") and not _is_boundary(text)


def _codes(raw: Any, source: str) -> list[Event]:
    """Read an event from the trigger channels at each change of their code to a value other than 0.

    BioSemi's Status channel has triggers in its low 16 bits and the amplifier's state above them, which is masked. If
    bits 8 to 15 never change, only the low 8 bits are the code: lines without a cable float at 1, so that 65281 is
    code 1. If a channel STI101 or STI 014 joins the others, it is the only one that is read, as by MNE.
    """
    names = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
    if not names:
        return []
    bits = raw.get_data(picks=names, verbose="error").astype(np.int64)  # (n_stim, n_samples)
    mask = ALL_BITS
    if source.lower().endswith(".bdf") or any(map(is_status, raw.ch_names)):
        changing = int(np.bitwise_or.reduce(bits ^ bits[:, :1], axis=None))
        mask = ALL_BITS if changing & HIGH_BITS else LOW_BITS
    joint = [names.index(name) for name in ("STI101", "STI 014") if name in names]
    codes = (bits[joint[:1]] if joint else bits) & mask
    rows, samples = np.nonzero(is_event(codes[:, :-1], codes[:, 1:]))
    return [Event(i + 1, str(codes[row, i + 1])) for row, i in zip(rows.tolist(), samples.tolist(), strict=True)]


def _codes_of(raw: Any, name: str) -> list[Event]:
    """Read the events of one trigger channel, as the live service does."""
    values = raw.get_data(picks=[name], verbose="error")[0]  # (n_samples,)
    if raw.get_channel_types(picks=[name])[0] not in ("stim", "misc"):  # MNE took the codes for microvolts
        values = np.rint(values * _UV_PER_V)
    return [Event(sample, text) for sample, text in TriggerChannel(name).process(values)]


def _reader(raw: Any, source: str, n_samples: int) -> Callable[[int, int], NDArray[np.float32]]:
    """Return a function that reads spans of an MNE recording in microvolts, time first."""

    def read(start: int, stop: int) -> NDArray[np.float32]:
        start, stop, _ = slice(start, stop).indices(n_samples)
        if stop <= start:
            return np.zeros((0, len(raw.ch_names)), np.float32)
        with _as_data_error(source):
            x_v = raw.get_data(start=start, stop=stop, verbose="error")  # (n_channels, n_samples), volts
        if x_v.shape[1] != stop - start:
            raise DataError(f"{source}: expected {stop - start} samples from {start} on, got {x_v.shape[1]}.")
        with np.errstate(over="ignore"):  # a damaged value may overflow to infinity, which is detected later
            return np.ascontiguousarray((x_v * _UV_PER_V).T, dtype=np.float32)  # (n_samples, n_channels)

    return read
