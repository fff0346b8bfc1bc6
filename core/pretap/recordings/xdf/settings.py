"""The settings of [recording] for the EEG stream of an XDF file: rate, labels and unit. Used by `open_xdf`."""

from __future__ import annotations

import copy
from pathlib import Path

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.xdf.description import text_of
from pretap.recordings.xdf.recorded_stream import RecordedStream


def apply_settings(eeg: RecordedStream, config: RecordingConfig, path: Path) -> tuple[RecordedStream, list[str]]:
    """Return the stream with the rate, labels and unit of the settings, and sentences on what it does not say itself.

    Afterwards it has one `channel_info` per channel.

    Raises
    ------
    DataError
        If the settings name another number of channels than the stream has.
    """
    n, found, notes = eeg.n_channels, eeg.channel_info, []
    if config.channels and len(config.channels) != n:
        raise DataError(
            f"{path}: {eeg.name!r} has {n} channels. [recording] channels names {len(config.channels)}. Name every "
            "channel, in order."
        )
    if len(found) == n:
        info = [dict(each) for each in found]
    else:
        info = [{"label": "", "unit": "", "type": ""} for _ in range(n)]
        if found:
            unit = found[0]["unit"]
            if all(each["unit"] == unit for each in found):
                info = [each | {"unit": unit} for each in info]
            notes.append(f"{eeg.name!r} has {n} channels, but describes {len(found)}, so the description is not used.")
    common_unit = text_of(eeg.info.find("desc"), "unit", "units")
    n_unnamed = sum(not each["label"] for each in info)
    if n_unnamed and not config.channels:
        which = "" if n_unnamed == n else f" for {n_unnamed} of its {n} channels"
        notes.append(
            f"{eeg.name!r} has no channel labels{which}, so channels are called ch1 to ch{n}. [recording] "
            "channels = [...] names them."
        )
    for i, each in enumerate(info):
        each["label"] = config.channels[i] if config.channels else each["label"] or f"ch{i + 1}"
        each["unit"] = config.unit or each["unit"] or common_unit
    eeg = copy.copy(eeg)
    eeg.channel_info = info
    eeg.sfreq_hz = config.sfreq_hz or eeg.sfreq_hz
    return eeg, notes
