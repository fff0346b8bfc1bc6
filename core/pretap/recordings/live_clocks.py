"""The clock offsets with which a live session placed its cues. Used by the XDF reader on that session's recording.

Software that reads a recording fits its own clock offsets, which differ from the live ones by fractions of a
millisecond. With those of the session's log, `score` finds the same sample for each cue as the live service.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError


@dataclass(frozen=True, eq=False)
class LiveClocks:
    """Offsets from the log of a session.

    Attributes
    ----------
    cue_s
        Timestamps of the cues on their own clock, (n_cues,), sorted.
    shift_s
        What was added to each for the clock of the EEG stream, (n_cues,).
    first_s
        Timestamps of the first EEG sample of each connection.
    """

    cue_s: NDArray[np.float64]
    shift_s: NDArray[np.float64]
    first_s: tuple[float, ...]

    def to_eeg_clock(self, t_s: float) -> float:
        """Convert a timestamp of the cue stream; between two cues, the offsets are interpolated."""
        return t_s + float(np.interp(t_s, self.cue_s, self.shift_s))


def read_live_clocks(log: Path) -> LiveClocks | None:
    """Read the log of a session (``decisions.jsonl``); None if it has no cue.

    Raises
    ------
    DataError
        If it is not such a log.
    """
    rows: list[tuple[float, float]] = []
    first_s: dict[float, None] = {}  # in their order
    try:
        with log.open(encoding="utf-8") as file:
            for line in file:
                origin = json.loads(line).get("origin")
                if origin is not None:
                    rows.append((origin["t_s"], origin["cue_offset_s"] - origin["eeg_offset_s"]))
                    first_s[origin["first_s"]] = None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{log} is not the log of a session: expected a line of JSON per message ({error}).") from None
    if not rows:
        return None
    cue_s, shift_s = np.array(sorted(rows)).T  # (2, n_cues)
    return LiveClocks(cue_s, shift_s, tuple(first_s))
