"""The rules for markers: which streams have them, what their text is, and which are events. Used for files and live."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

# MNE's prefixes of the descriptions in a BrainVision file. LSL markers of the same amplifier have none.
_PREFIXES = ("Stimulus/", "Response/", "Comment/")
_MAX_BYTES = 4096
_MARKER_TYPES = ("marker", "markers", "event", "events", "stim", "trigger", "triggers")  # of LSL streams, in lower case


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether a marker's text matches one of the patterns, exactly or with the wildcards ``*`` and ``?``.

    ``S  1`` also matches the annotation ``Stimulus/S  1``, which MNE makes of a BrainVision marker.
    """
    plain = next((text.removeprefix(each) for each in _PREFIXES if text.startswith(each)), text)
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (text, plain))


def is_marker_stream(*, format: str, type: str, sfreq_hz: float) -> bool:  # noqa: A002 - LSL's words
    """Whether an LSL stream carries markers: texts, or numbers at no regular rate if its type says so."""
    return format == "string" or (format != "undefined" and not sfreq_hz and type.lower() in _MARKER_TYPES)


def marker_text(values: Iterable[str | bytes | float]) -> str:
    """Return the text of a marker from the values of its channels, without white space around it.

    A whole number n is the text ``n``, whatever its format. Texts in bytes are cut at 4096, and channels are joined
    with a space.
    """
    return " ".join(filter(None, (_text(each).strip() for each in values)))


def _text(value: str | bytes | float) -> str:
    if isinstance(value, bytes):
        return value[:_MAX_BYTES].decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
