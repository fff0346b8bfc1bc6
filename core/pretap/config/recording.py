"""The source of the events of a recording. Part of the recipe of `pretap train`, and options of other commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from pretap.config.reading import Text, load_config


class RecordingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which markers of a recording are its events, if it has several kinds.

    Attributes
    ----------
    markers
        XDF only: names or ids of the marker streams to read.
    cue_channel
        The trigger channel whose codes are the events, instead of markers and annotations.
    """

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
