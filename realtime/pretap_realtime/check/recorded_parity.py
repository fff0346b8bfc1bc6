"""Recorded parity: whether a session with jittered timestamps chose the right samples, and equals its `score`.

Used by ``verify`` with ``--jitter-ms`` or ``--packet``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.recordings.live_clocks import read_live_clocks
from pretap.recordings.xdf import open_xdf
from pretap_realtime.signal.losses import LossDetector

SETTLED_S: Final = 3.0  # after the start, sample times must be right
_TOLERANCE: Final = 1e-6  # of probabilities
_TOLERANCE_S: Final = 0.002  # of sample times, or a sample if that is longer
_PROMISED_JITTER_S: Final = 0.003  # with more jitter, sample times are as exact as the stated uncertainty
_COVERED: Final = 0.95
_ROUNDING_S: Final = 1e-9
_CHUNK_S: Final = 0.05


class RecordedParity(msgspec.Struct, frozen=True):
    """The result of a session with jittered timestamps.

    Attributes
    ----------
    n_expected, n_decided
        Trials but the first one, and those of them that were decided. The window of the first trial begins with the
        very first sample, before the service can know that the timestamps jitter.
    n_other_samples, max_abs_diff
        Trials for which `score` chose another sample of the recording, and the largest difference of a probability.
    n_settled
        Trials that ended at least 3 s after the start.
    delay_ms
        The constant delay: by how much the chosen samples lie after the last samples of these trials, in the median.
    max_sample_error_ms, allowed_ms
        How far they lie apart otherwise, and how far they may. None is allowed if the jitter exceeds 3 ms.
    n_covered, max_uncertainty_ms
        Trials, of these, for which the stated uncertainty covers the error, and the largest uncertainty.
    """

    n_expected: int
    n_decided: int
    n_other_samples: int
    max_abs_diff: float
    n_settled: int
    delay_ms: float
    max_sample_error_ms: float
    allowed_ms: float | None
    n_covered: int
    max_uncertainty_ms: float
    passed: bool

    def describe(self) -> str:
        """Return the figures as text for people."""
        allowed = "as the uncertainty allows" if self.allowed_ms is None else f"allowed {self.allowed_ms:g} ms"
        return "\n".join(
            [
                f"decided   {self.n_decided} of {self.n_expected} trials",
                f"recorded  `pretap score` of the recording chose {self.n_other_samples} other samples, probabilities "
                f"within {self.max_abs_diff:.1e}; allowed {_TOLERANCE:.0e}",
                f"samples   within {self.max_sample_error_ms:.2f} ms of each trial's last sample, apart from a delay "
                f"of {self.delay_ms:.2f} ms; {allowed} ({self.n_settled} trials after {SETTLED_S:g} s)",
                f"stated    an uncertainty of at most {self.max_uncertainty_ms:.2f} ms, which covers "
                f"{self.n_covered} of {self.n_settled} trials",
                "PASSED" if self.passed else "FAILED",
            ]
        )


def n_unsettled(manifest: Manifest) -> int:
    """Return how many trials of a replay end before sample times are settled."""
    return int(SETTLED_S * manifest.sfreq_hz / manifest.n_window)


def compare_recorded(
    folder: Path, scored: Path, manifest: Manifest, *, n_trials: int, jitter_s: float
) -> RecordedParity:
    """Compare a session with `score` of its recording, and the samples it chose with those of the replay.

    Parameters
    ----------
    folder
        The session folder of `serve --record`, for a replay of trials at the bundle's rate.
    scored
        What `score --json` wrote.
    jitter_s
        Standard deviation of the jitter of the replay.
    """
    lines = (folder / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [row for row in map(json.loads, lines) if "origin" in row and row["valid"] and _trial(row)]
    live = {_trial(row): row for row in logged}
    offline = {
        _trial(row): row for row in json.loads(scored.read_bytes())["decisions"] if not row["why"] and _trial(row)
    }
    both = live.keys() & offline.keys()
    n_other = sum(live[trial]["origin"]["sample"] != offline[trial]["sample"] for trial in both)
    n_other += len(live.keys() ^ offline.keys())
    differences = [abs(p - offline[trial]["p"][name]) for trial in both for name, p in live[trial]["p"].items()]
    settled = [trial for trial in sorted(live) if trial >= n_unsettled(manifest)]
    chosen = np.array([live[trial]["origin"]["sample"] for trial in settled], np.int64)  # (n_settled,)
    late = chosen - ((np.array(settled, np.int64) + 1) * manifest.n_window - 1)  # (n_settled,) samples
    delay = float(np.median(late)) if settled else math.nan
    error_s = np.abs(late - delay) / manifest.sfreq_hz  # (n_settled,)
    stated_s = _stated_uncertainty_s(folder, manifest)[chosen]  # (n_settled,)
    # The chosen sample is the nearest one, and so is that of the median: each is rounded by up to half a sample.
    n_covered = int((error_s <= stated_s + 1 / manifest.sfreq_hz).sum())
    allowed_s = max(_TOLERANCE_S, 1 / manifest.sfreq_hz) if jitter_s <= _PROMISED_JITTER_S else None
    max_difference = max(differences, default=math.nan)  # not within the tolerance if nothing could be compared
    max_error_s = float(error_s.max()) if settled else math.nan
    return RecordedParity(
        n_expected=n_trials - 1,
        n_decided=len(logged),
        n_other_samples=n_other,
        max_abs_diff=max_difference,
        n_settled=len(settled),
        delay_ms=1000 * delay / manifest.sfreq_hz,
        max_sample_error_ms=1000 * max_error_s,
        allowed_ms=None if allowed_s is None else 1000 * allowed_s,
        n_covered=n_covered,
        max_uncertainty_ms=1000 * float(stated_s.max()) if settled else math.nan,
        passed=len(logged) == len(live) == n_trials - 1
        and n_other == 0
        and max_difference <= _TOLERANCE
        and max_error_s <= (math.inf if allowed_s is None else allowed_s + _ROUNDING_S)
        and n_covered >= _COVERED * len(settled),
    )


def _trial(row: dict[str, Any]) -> int:
    return int(row["cue"].split("/")[1])  # trial/<n>/end


def _stated_uncertainty_s(folder: Path, manifest: Manifest) -> NDArray[np.float64]:
    """Return the uncertainty that the timeline stated before each sample of the session, (n_samples,)."""
    clocks = read_live_clocks(folder / "decisions.jsonl")
    recording = open_xdf(folder / "session.xdf", clocks=clocks)
    losses = LossDetector(sfreq_hz=manifest.sfreq_hz)
    n_chunk = max(1, round(_CHUNK_S * manifest.sfreq_hz))
    stated_s = np.empty(recording.n_samples - recording.connections[0])
    for at in range(0, len(stated_s), n_chunk):
        stated_s[at : at + n_chunk] = losses.shifts.line.uncertainty_s
        start = recording.connections[0] + at
        t_s = recording.timestamps_s(start, min(start + n_chunk, recording.n_samples))
        losses.check(np.empty((len(t_s), 0), np.float32), t_s)
    return stated_s
