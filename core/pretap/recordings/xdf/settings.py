"""The settings of [recording] for the EEG stream of an XDF file: rate and labels. Used by `open_xdf`."""

from __future__ import annotations

import copy
from pathlib import Path

from pretap.config.recording import RecordingConfig
from pretap.recordings.reading.overrides import describe_rate, replace_labels
from pretap.recordings.xdf.description import text_of
from pretap.recordings.xdf.recorded_stream import RecordedStream


def apply_settings(eeg: RecordedStream, config: RecordingConfig, path: Path) -> tuple[RecordedStream, list[str]]:
    """Return the stream with the rate and labels of the settings, and sentences on what these replace or add.

    Afterwards it has one `channel_info` per channel.

    Raises
    ------
    DataError
        If the settings name another number of channels than the stream has.
    """
    n, found, notes = eeg.n_channels, eeg.channel_info, []
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
    labels = replace_labels([each["label"] for each in info], config, source=f"{path}: {eeg.name!r}")
    for label, each in zip(labels, info, strict=True):
        each["label"] = label
        each["unit"] = each["unit"] or common_unit
    if note := describe_rate(config.sfreq_hz, eeg.sfreq_hz):
        notes.append(note)
    eeg = copy.copy(eeg)
    eeg.channel_info = info
    eeg.sfreq_hz = config.sfreq_hz or eeg.sfreq_hz
    return eeg, notes
