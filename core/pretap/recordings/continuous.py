"""Opens continuous recordings in any format that MNE reads, and XDF as a `Recording`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import ALL_EVENTS, RecordingConfig
from pretap.errors import DataError, PretapError, UsageError
from pretap.extras import import_extra
from pretap.recordings.bids import is_bids, open_bids
from pretap.recordings.channel_types import choose_eeg_channels
from pretap.recordings.edf import is_edf, open_edf
from pretap.recordings.live_clocks import LiveClocks
from pretap.recordings.openbci import is_openbci_text, open_openbci_text
from pretap.recordings.reading.lengths import check_tags, whole_samples
from pretap.recordings.reading.mne_units import units_in_file
from pretap.recordings.reading.mne_warnings import collect_warnings, explain_warnings
from pretap.recordings.reading.overrides import replace_labels, replace_rate
from pretap.recordings.reading.placement import Annotation, TimeAxis, place_annotations, sentences
from pretap.recordings.reading.refusals import FORMATS, explain_failure, refuse_other_files
from pretap.recordings.reading.units import uv_factors
from pretap.recordings.recording import Recording
from pretap.recordings.xdf import open_xdf
from pretap.signal.channels import unknown_channel
from pretap.signal.trigger import TriggerChannel

__all__ = ["open_recording", "recording_from_raw"]

_XDF_SUFFIXES = (".xdf", ".xdfz", ".xdf.gz")
_UNIT_VOLT = 107  # FIFF_UNIT_V in MNE's `info["chs"][i]["unit"]`
_UV_PER_V = 1e6


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
        An XDF, EDF, BDF or OpenBCI text file, or anything else that `mne.io.read_raw` opens (FIF, GDF, BrainVision,
        EEGLAB, ...). All EEG channels are used, including bad ones, in the file's order. Annotations become events.
        ``bids:ROOT?subject=01&task=rest`` selects a recording of a BIDS folder, see `pretap.recordings.bids`.
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
    if is_bids(path):
        return open_bids(path, config, open_file=partial(_open_named, stream=stream, clocks=clocks))
    return _open_named(path, config, stream=stream, clocks=clocks)


def _open_named(path: Path, config: RecordingConfig, *, stream: str | None, clocks: LiveClocks | None) -> Recording:
    """Open a file by the reader of its format."""
    if not path.exists():
        raise DataError(f"{path} does not exist: expected a recording. pretap reads {FORMATS}.")
    if is_xdf(path):
        return open_xdf(path, stream=stream, config=config, clocks=clocks)
    for name in filter(None, (stream, *config.markers)):
        raise UsageError(f"Only XDF files have streams to choose from, and {path.name} is not one (stream {name!r}).")
    if is_edf(path):
        return open_edf(path, config)
    if is_openbci_text(path):
        return open_openbci_text(path, config)
    return _open_with_mne(path, config)


def _open_with_mne(path: Path, config: RecordingConfig) -> Recording:
    """Open a file through MNE; its warnings become notes."""
    refuse_other_files(path)
    if path.suffix.lower() == ".fif":
        check_tags(path)
    mne = import_extra("mne", needed_by=f"Reading {path.name}")
    with _as_data_error(path), collect_warnings() as messages:
        options = {"on_split_missing": "warn"} if path.name.lower().endswith((".fif", ".fif.gz")) else {}
        raw = mne.io.read_raw(path, preload=False, verbose="warning", **options)
        n_samples, length_note = whole_samples(raw, path)
        if n_samples == 0:
            raise DataError(f"{path} cannot be read as a recording: it has no whole sample. {length_note}".strip())
        recording = _convert(raw, path=path, config=config, n_samples=n_samples, units=units_in_file(raw, path))
    notes = sentences(length_note, *explain_warnings(messages), *recording.notes)
    return replace(recording, notes=notes)


def is_xdf(path: Path) -> bool:
    """Whether the file has a suffix of XDF."""
    return path.name.lower().endswith(_XDF_SUFFIXES)


def recording_from_raw(raw: Any, *, source: str = "MNE recording", config: RecordingConfig = ALL_EVENTS) -> Recording:
    """Convert an `mne.io.Raw` to a `Recording`; its samples are read on demand, and `raw` is not changed.

    All EEG channels are used, including bad ones, see `choose_eeg_channels`. Annotations become events, and so do the
    codes of trigger channels (``"1"``), see `TriggerChannel`. Annotations that start with ``bad`` are also `bad` spans.
    Those that mark a boundary or a BrainVision ``New Segment`` also start a segment.

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
    with _as_data_error(source):
        n_channels = len(raw.ch_names)
        units = ["V"] * n_channels, np.ones(n_channels)
        return _convert(raw, path=Path(source), config=config, n_samples=int(raw.n_times), units=units)


def _convert(
    raw: Any, *, path: Path, config: RecordingConfig, n_samples: int, units: tuple[list[str], NDArray[np.float64]]
) -> Recording:
    """Convert the first samples of an `mne.io.Raw`, which is not changed; the units are those of `units_in_file`."""
    source, sfreq_hz = str(path), float(raw.info["sfreq"])
    raw = raw.copy()
    labels = replace_labels(raw.ch_names, config, source=source)
    raw.rename_channels(dict(zip(raw.ch_names, labels, strict=True)), verbose="error")
    cue_channel = config.cue_channel
    if cue_channel and cue_channel not in raw.ch_names:
        raise DataError(f"{source} {unknown_channel(cue_channel, raw.ch_names)}")
    if n_samples == 0:
        raise DataError(f"{source} has no samples.")
    kept, left_out = _pick_eeg(raw, source, config, units[0])
    eeg = raw.copy().pick(kept, verbose="error")
    read_file = _reader(eeg, source, n_samples, units[1][kept])
    read_file(n_samples - 1, n_samples)  # a truncated file fails here, not in the middle of a replay
    factors, unit_note = uv_factors(
        [units[0][i] for i in kept],
        eeg.ch_names,
        unit=config.unit,
        read=read_file,
        n_samples=n_samples,
        sfreq_hz=sfreq_hz,
        source=source,
    )
    axis = TimeAxis(sfreq_hz=sfreq_hz, n_samples=n_samples)
    names = [cue_channel] if cue_channel else _trigger_channels(raw)
    codes = [code for name in names for code in _codes(raw, name, n_samples)]
    events, segments, bad, _ = place_annotations(_annotations(raw), axis, codes=codes, only_codes=bool(cue_channel))
    recording = Recording(
        channels=tuple(eeg.ch_names),
        sfreq_hz=sfreq_hz,
        n_samples=n_samples,
        events=events,
        read=_reader(eeg, source, n_samples, units[1][kept] * factors),
        source=path.name,
        subject=str((eeg.info["subject_info"] or {}).get("his_id") or ""),
        left_out=left_out,
        notes=sentences(unit_note),
        segments=segments,
        bad=bad,
    )
    return replace_rate(recording, config.sfreq_hz)


@contextmanager
def _as_data_error(path: Path | str) -> Iterator[None]:
    """Turn any exception into a `DataError`: on damaged bytes, MNE's two dozen readers raise anything."""
    try:
        yield
    except PretapError:
        raise
    except Exception as error:
        raise explain_failure(path, error) from error


def _pick_eeg(
    raw: Any, source: str, config: RecordingConfig, units: Sequence[str]
) -> tuple[list[int], tuple[tuple[str, str], ...]]:
    """Return the indices of the EEG channels, and those left out as (name, reason)."""
    types = raw.get_channel_types()
    if source.lower().endswith(".vhdr"):  # has no types: MNE's `misc` is a channel of unknown unit or without a place
        types = ["" if kind == "misc" else kind for kind in types]
    kept, left_out = choose_eeg_channels(
        raw.ch_names,
        types=types,
        units=units,
        source=source,
        read=lambda i: raw.get_data(picks=[i], verbose="error")[0],
        eeg=config.eeg,
        without=config.cue_channel,
    )
    if others := [raw.ch_names[i] for i in kept if types[i] and int(raw.info["chs"][i]["unit"]) != _UNIT_VOLT]:
        raise DataError(
            f"{source} has channels that may be EEG but are not voltages: {', '.join(others)}. Set their types first."
        )
    return kept, left_out


def _annotations(raw: Any) -> list[Annotation]:
    """Return the annotations, in seconds after the first sample.

    MNE counts from the start of the measurement, and `mne.events_from_annotations` rounds to samples.
    """
    notes, start_s = raw.annotations, float(raw.first_time)
    return [
        Annotation(onset_s - start_s, duration_s, str(text))
        for onset_s, duration_s, text in zip(
            notes.onset.tolist(), notes.duration.tolist(), notes.description, strict=True
        )
    ]


def _trigger_channels(raw: Any) -> list[str]:
    """Return the channels whose codes are events: STI101 or STI 014, which join the others in MNE, or else all."""
    names = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
    joint = [name for name in ("STI101", "STI 014") if name in names]
    return joint[:1] or names


def _codes(raw: Any, name: str, n_samples: int) -> list[Annotation]:
    """Read the events of one trigger channel, in seconds after the first sample."""
    values = raw.get_data(picks=[name], stop=n_samples, verbose="error")[0]  # (n_samples,)
    if raw.get_channel_types(picks=[name])[0] not in ("stim", "misc"):  # MNE took the codes for microvolts
        values = np.rint(values * _UV_PER_V)
    sfreq_hz = float(raw.info["sfreq"])
    return [Annotation(sample / sfreq_hz, 0.0, text) for sample, text in TriggerChannel(name).process(values)]


def _reader(
    raw: Any, source: str, n_samples: int, factors: NDArray[np.float64]
) -> Callable[[int, int], NDArray[np.float32]]:
    """Return a function that reads spans of an MNE recording in microvolts, time first.

    The factors (n_channels,) lead from MNE's values to microvolts.
    """

    def read(start: int, stop: int) -> NDArray[np.float32]:
        start, stop, _ = slice(start, stop).indices(n_samples)
        if stop <= start:
            return np.zeros((0, len(raw.ch_names)), np.float32)
        with _as_data_error(source), warnings.catch_warnings():
            warnings.filterwarnings("error", message="FIF raw buffer could not be read")  # MNE returns zeros
            warnings.filterwarnings("error", message="Loading an EDF with mixed sampling frequencies")  # wrong samples
            x = raw.get_data(start=start, stop=stop, verbose="warning")  # (n_channels, n_samples), volts
        if x.shape[1] != stop - start:
            raise DataError(f"{source}: expected {stop - start} samples from {start} on, got {x.shape[1]}.")
        with np.errstate(over="ignore"):  # a damaged value may overflow to infinity, which is detected later
            return np.ascontiguousarray(x.T * factors, dtype=np.float32)  # (n_samples, n_channels)

    return read
