"""Cues of a bundle: the markers that ask for a decision, and the class they name. Used by `serve` and `score`."""

from __future__ import annotations

from pretap.bundle.manifest import Manifest
from pretap.recordings.events import matches

TRIAL_ENDS = ("trial/*/end", "trial/*/end/*")  # of replayed trials; the window ends with the trial


def bundle_cues(manifest: Manifest) -> tuple[tuple[str, ...], float]:
    """Return the patterns of the bundle's training events, and when its window ends relative to them, in seconds.

    A bundle that was trained on trials has no events: its cues are the ends of replayed trials.
    """
    events = manifest.training.config.events
    if not events:
        return TRIAL_ENDS, 0.0
    return tuple(pattern for patterns in events.values() for pattern in patterns), manifest.window_end_ms / 1000


def truth(cue: str, manifest: Manifest) -> int | None:
    """Return the class of a cue, or None if it names no class.

    A cue names a class if it is one of the events of that class in training, or if its text ends with the name of the
    class (``trial/3/end/left``).
    """
    classes = manifest.classes
    for name, patterns in manifest.training.config.events.items():
        if name in classes and matches(cue, patterns):
            return classes.index(name)
    endings = [name for name in classes if f"/{cue}".endswith(f"/{name}")]
    return classes.index(max(endings, key=len)) if endings else None  # the longest: 'tap/left' is not 'left'
