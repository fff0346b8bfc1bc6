"""The choice of the EEG stream of an XDF file. Used by `open_xdf`.

The streams of an amplifier that was restarted during the recording count as one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.xdf.load import LoadedFile
from pretap.recordings.xdf.recorded_stream import RecordedStream
from pretap.recordings.xdf.samples import JoinedValues
from pretap.spelling import did_you_mean


def choose_eeg(
    file: LoadedFile, *, path: Path, stream: str | None, config: RecordingConfig
) -> tuple[RecordedStream, list[str]]:
    """Return the stream with this name or id or, without one, the only stream that can be the EEG, and notes on it.

    Raises
    ------
    DataError
        If there is none, if there are several, or if it has no rate and the settings give none.
    """
    streams = file.streams
    listing = "; ".join(map(str, streams)) or "no streams at all"
    has = f"It has {listing}. {' '.join(file.notes)}".rstrip()
    if stream is not None:
        found = _join_restarted([each for each in streams if each.is_called(stream)])
        if len(found) != 1:
            meant = "" if found else did_you_mean(stream, [each.name for each in streams])
            raise DataError(f"{path}: {len(found)} streams are called {stream!r}. {has}{meant}")
        if not _is_signal(found[0]):
            raise DataError(f"{path}: {found[0]} has no numeric samples at a regular rate. {has}")
    else:
        signals = [each for each in streams if _is_signal(each)]
        named = [each for each in signals if each.type.lower() == "eeg"]
        found = _join_restarted(named or [each for each in signals if each.sfreq_hz] or signals)
        if not found:
            raise DataError(f"{path} has no EEG stream (numeric, regular rate, not empty). {has}")
        if len(found) > 1:
            raise DataError(f"{path} has {len(found)} streams that could be the EEG: name one with --xdf-stream. {has}")
    eeg = found[0]
    if not (eeg.sfreq_hz or config.sfreq_hz):
        raise DataError(
            f"{path} has no EEG stream at a regular rate. If the EEG is {eeg}, set its rate in the configuration: "
            f"[recording] sfreq_hz = {_measured_hz(eeg)}"
        )
    notes = []
    if sum(map(_is_signal, streams)) > len(eeg.parts):
        notes.append(f"The EEG is the stream {eeg.name!r} (id {eeg.id}).")
    if len(eeg.parts) > 1:
        edges = list(eeg.parts.values())[1:]
        pauses = ", ".join(f"{eeg.t_s[k] - eeg.t_s[k - 1]:.1f} s" for k in edges)
        notes.append(
            f"{eeg.name!r} was restarted: its {len(eeg.parts)} streams (ids {', '.join(eeg.parts)}) are joined, with a "
            f"break between them ({pauses})."
        )
    return eeg, notes


def _is_signal(stream: RecordedStream) -> bool:
    """Whether a stream has numbers that can be the EEG if its rate is known."""
    return not stream.is_text and len(stream.t_s) > 0 and not stream.has_markers


def _measured_hz(eeg: RecordedStream) -> str:
    """Return the rate that the timestamps show: the median, so that breaks do not matter."""
    n_lag = max(1, len(eeg.t_s) // 20)
    if len(eeg.t_s) < 2 or not (lag_s := float(np.median(eeg.t_s[n_lag:] - eeg.t_s[:-n_lag]))) > 0:
        return "..."
    return f"{n_lag / lag_s:.4g}, which its timestamps show."


def _join_restarted(streams: Sequence[RecordedStream]) -> list[RecordedStream]:
    """Join streams of one device that do not overlap in time: it was restarted while the recorder ran."""
    groups: dict[tuple[object, ...], list[RecordedStream]] = {}
    for each in streams:
        labels = tuple(channel["label"] for channel in each.channel_info)
        key = (each.name, each.type, each.source_id, each.format, each.n_channels, each.sfreq_hz, labels)
        groups.setdefault(key, []).append(each)
    found = []
    for group in groups.values():
        if len(group) == 1 or not all(map(_is_signal, group)):
            found += group
            continue
        group.sort(key=lambda each: float(each.t_s.min()))
        if any(one.t_s.max() >= other.t_s.min() for one, other in pairwise(group)):
            found += group
            continue
        found.append(_joined(group))
    return found


def _joined(group: Sequence[RecordedStream]) -> RecordedStream:
    joined = copy.copy(group[0])
    firsts = np.cumsum([0, *(len(each.t_s) for each in group)]).tolist()
    joined.parts = {each.id: first for each, first in zip(group, firsts, strict=False)}
    joined.t_s = np.concatenate([each.t_s for each in group])
    joined.values = JoinedValues([each.values for each in group if not isinstance(each.values, list)])
    return joined
