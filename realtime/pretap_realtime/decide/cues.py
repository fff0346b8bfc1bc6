"""Cues: the markers that ask for a decision, and the class they name. Used by `serve` and `score`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pretap.bundle.manifest import Manifest
from pretap.recordings.events import matches
from pretap_realtime.signal.compatibility import printable

TRIAL_ENDS = ("trial/*/end", "trial/*/end/*")  # of replayed trials; the window ends with the trial
_NO_CUES = ("trial/*/start", "trial/*/start/*", "loop/*")  # other markers of a replay
_MAX_NAMED = 20


class CuePatterns:
    """The patterns of the markers that are cues, and the markers that fitted none of them.

    Attributes
    ----------
    n_unmatched
        How many markers fitted no pattern.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.n_unmatched = 0
        self._patterns = tuple(patterns)
        self._named: set[str] = set()
        self._news: list[str] = []

    def match(self, text: str) -> bool:
        """Return whether a marker is a cue, and count it if it is not."""
        if matches(text, self._patterns):
            return True
        if not matches(text, _NO_CUES):
            self.n_unmatched += 1
            if text not in self._named and len(self._named) < _MAX_NAMED:
                self._named.add(text)
                self._news.append(text)
        return False

    def take_news(self) -> list[str]:
        """Return a sentence for each text that fitted no pattern, once; from the 20th on they are only counted."""
        news, self._news = self._news, []
        expected = ", ".join(map(repr, self._patterns))
        return [f"no decision at the marker {printable(text)!r}: expected a cue like {expected}" for text in news]


def bundle_cues(manifest: Manifest) -> tuple[tuple[str, ...], float]:
    """Return the patterns of the bundle's training events, and when its window ends relative to them, in seconds.

    A bundle that was trained on trials has no events: its cues are the ends of replayed trials.
    """
    events = manifest.training.config.events
    if not events:
        return TRIAL_ENDS, 0.0
    return tuple(pattern for patterns in events.values() for pattern in patterns), manifest.window_end_ms / 1000


def class_of(text: str, classes: Sequence[str], events: Mapping[str, Sequence[str]]) -> str | None:
    """Return the class of a marker, or None if it names no class.

    It names a class if it is one of the `events` of that class in training, or if its text ends with the name of the
    class (``trial/3/end/left``).
    """
    for name, patterns in events.items():
        if name in classes and matches(text, patterns):
            return name
    endings = [name for name in classes if f"/{text}".endswith(f"/{name}")]
    return max(endings, key=len, default=None)  # the longest: 'tap/left' is not 'left'


def truth(cue: str, manifest: Manifest) -> int | None:
    """Return the index of the class that a cue names, see `class_of`; None if it names none."""
    name = class_of(cue, manifest.classes, manifest.training.config.events) if cue else None
    return None if name is None else manifest.classes.index(name)
