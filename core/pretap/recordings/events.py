"""Which marker texts are which events: one rule for recordings and for live cues."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

__all__ = ["matches"]

# What MNE puts before the descriptions of a BrainVision file; the same amplifier's LSL markers come without it.
_PREFIXES = ("Stimulus/", "Response/", "Comment/")


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Say whether a marker's text fits one of the patterns: to the letter, or as in a shell (``*`` and ``?``).

    ``S  1`` also fits the annotation ``Stimulus/S  1`` that MNE makes of a BrainVision marker.
    """
    plain = next((text.removeprefix(each) for each in _PREFIXES if text.startswith(each)), text)
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (text, plain))
