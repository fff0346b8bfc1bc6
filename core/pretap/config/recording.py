"""Settings for files that lack something or have it wrong. In `pretap train`'s recipe; options of other commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from pretap.config.reading import Label, Positive, Text, load_config
from pretap.signal.channels import unit_factor


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
        if self.unit and unit_factor(self.unit) is None:
            raise ValueError(f'unit = {self.unit!r} is not a known voltage: expected "uV", "mV", "V" or "nV"')


ALL_EVENTS = RecordingConfig()


def from_options(
    *,
    channels: Sequence[str] = (),
    unit: str | None = None,
    sfreq_hz: float | None = None,
    eeg: Sequence[str] = (),
    markers: Sequence[str] = (),
    cue_channel: str | None = None,
) -> RecordingConfig:
    """Return the configuration that the options of a command describe, see `pretap.options.recording_options`.

    Raises
    ------
    UsageError
        If both ``--markers`` and ``--cue-channel`` are given, a name is too long, or the unit is not a voltage.
    """
    lists = {"channels": list(channels), "eeg": list(eeg), "markers": list(markers)}
    return load_config(RecordingConfig, values=lists | {"unit": unit, "sfreq_hz": sfreq_hz, "cue_channel": cue_channel})


def overridden(config: RecordingConfig, options: RecordingConfig) -> RecordingConfig:
    """Return the configuration of a recipe with everything that `options` sets; either kind of events replaces both."""
    given = {name: getattr(options, name) for name in config.__struct_fields__}
    given = {name: value for name, value in given.items() if value != getattr(ALL_EVENTS, name)}
    if options.markers or options.cue_channel:
        given |= {"markers": options.markers, "cue_channel": options.cue_channel}
    return replace(config, **given)
