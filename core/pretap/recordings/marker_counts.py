"""The marker texts of a recording with their counts, for each stream of them. Used by ``pretap markers``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.continuous import is_xdf, open_recording
from pretap.recordings.recording import Event
from pretap.recordings.xdf.load import load_streams


class MarkerCounts(msgspec.Struct, frozen=True):
    """The markers of one stream: how often each text occurred, the commonest first. `id` is empty outside XDF."""

    name: str
    id: str
    n_markers: int
    counts: dict[str, int]


def count_texts(name: str, id: str, texts: Iterable[str]) -> MarkerCounts:  # noqa: A002 - LSL's word
    """Count the texts of one stream."""
    counts = Counter(texts)
    return MarkerCounts(name, id, counts.total(), dict(counts.most_common()))


def read_marker_counts(path: Path) -> list[MarkerCounts]:
    """Count the markers in each marker stream of an XDF file, or the annotations and trigger codes of another file."""
    if path.exists() and is_xdf(path):
        streams = load_streams(path, synchronize=False).streams
        markers = [each for each in streams if each.can_have_markers]
        return [count_texts(each.name, each.id, (text for _, text in each.texts)) for each in markers]
    return [count_texts("annotations and trigger channels", "", (event.text for event in _events(path)))]


def _events(path: Path) -> tuple[Event, ...]:
    """Read the events of a file, even if its unit is not known or none of its channels is EEG."""
    config = RecordingConfig(unit="uV")
    try:
        return open_recording(path, config=config).events
    except DataError as error:
        try:
            return open_recording(path, config=replace(config, eeg=("*",))).events
        except DataError:
            raise error from None
