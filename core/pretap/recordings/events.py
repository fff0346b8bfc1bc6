"""The rule for which marker texts are an event. Used for recordings and for live cues."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

# MNE's prefixes of the descriptions in a BrainVision file. LSL markers of the same amplifier have none.
_PREFIXES = ("Stimulus/", "Response/", "Comment/")


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether a marker's text matches one of the patterns, exactly or with the wildcards ``*`` and ``?``.

    ``S  1`` also matches the annotation ``Stimulus/S  1``, which MNE makes of a BrainVision marker.
    """
    plain = next((text.removeprefix(each) for each in _PREFIXES if text.startswith(each)), text)
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (text, plain))
