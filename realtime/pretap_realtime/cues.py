"""Which markers are cues of a bundle where nobody says."""

from __future__ import annotations

from pretap.manifest import Manifest

__all__ = ["TRIAL_ENDS", "bundle_cues"]

TRIAL_ENDS = ("trial/*/end", "trial/*/end/*")  # of replayed trials: the window ends where the trial does


def bundle_cues(manifest: Manifest) -> tuple[tuple[str, ...], float]:
    """Give the patterns of the events that the bundle was trained on, and where its window ends from them, in seconds.

    A bundle that was trained on trials has no events: its cues are the ends of replayed trials.
    """
    events = manifest.training.config.events
    if not events:
        return TRIAL_ENDS, 0.0
    return tuple(pattern for patterns in events.values() for pattern in patterns), manifest.window_end_ms / 1000
