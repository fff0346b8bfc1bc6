"""What a recording's file does not say, or says wrongly. Part of `pretap train`'s recipe; options of other commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from pretap.config.reading import Label, Positive, Text, load_config


class RecordingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Properties that the file lacks, which of its channels are EEG, and which of its markers are events.

    Attributes
    ----------
    channels, unit, sfreq_hz
        Replace the file's own labels (all of its channels, in order), unit and rate.
    eeg
        Patterns (``*`` and ``?``) of channels that are EEG whatever their type, label or unit says.
    markers
        XDF only: names or ids of the marker streams to read.
    cue_channel
        The trigger channel whose codes are the events, instead of markers and annotations.
    """

    channels: tuple[Label, ...] = ()
    unit: Text = ""
    sfreq_hz: Positive | None = None
    eeg: tuple[Label, ...] = ()
    markers: tuple[Text, ...] = ()
    cue_channel: Annotated[str, Meta(max_length=64)] = ""

    def __post_init__(self) -> None:
        if self.markers and self.cue_channel:
            raise ValueError(
                f"markers = {list(self.markers)} and cue_channel = {self.cue_channel!r} both choose the events: leave "
                "out one"
            )


ALL_EVENTS = RecordingConfig()


def choose_events(markers: Sequence[str], cue_channel: str | None) -> RecordingConfig:
    """Return the choice of the options ``--markers`` and ``--cue-channel``.

    Raises
    ------
    UsageError
        If both are given, or a name is too long.
    """
    return load_config(RecordingConfig, values={"markers": list(markers), "cue_channel": cue_channel})
