"""The self-audit: now and then the service compares a live decision with the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from pretap_realtime.decide.pipeline import Pipeline

FIRST_S: Final = 1.0  # after the first whole window
EVERY_S: Final = 10.0  # at least
MAX_SHARE: Final = 3e-4  # of the time: numpy takes 2 to 20 ms for a window, and decisions wait meanwhile


class SelfAudit:
    """Runs `DecoderStream.audit` when it is due. After an audit that fails, every window is recomputed."""

    def __init__(self, pipeline: Pipeline, *, clock: Callable[[], float]) -> None:
        self._pipeline, self._clock = pipeline, clock
        self._due_s = -math.inf

    def start(self) -> None:
        """Wait for a whole window of a new stream."""
        manifest = self._pipeline.manifest
        window_s = manifest.n_window / manifest.sfreq_hz
        self._due_s = max(self._due_s, self._clock() + window_s + FIRST_S)

    def run_if_due(self, now_s: float, *, warn: Callable[[str], None]) -> None:
        """Audit the newest decision if it is time to, and warn if it fails."""
        lanes = self._pipeline.mode.lanes
        if now_s <= self._due_s or lanes is None:
            return
        began_s = self._clock()
        fault = lanes.audit()
        self._due_s = now_s + max(EVERY_S, (self._clock() - began_s) / MAX_SHARE)
        if fault:
            warn(fault)
