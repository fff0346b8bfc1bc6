"""Timestamps that belong to no LSL clock: what to say about them. Used by `serve` when it connects.

Programs stamp samples with Unix time, or with the device's own time from 0; LSL's clock offsets then lead nowhere.
"""

from __future__ import annotations

from typing import Final

_MAX_LATE_S: Final = 1.0  # older decisions are not published
_MAX_AHEAD_S: Final = 0.5
_MAX_CUE_S: Final = 10.0  # a cue may wait for its reader, or announce a moment
_UNIX_S: Final = 1e9  # the year 2001; LSL clocks count from the start of a computer


def describe_foreign(stream: str, *, t_s: float, now_s: float) -> str:
    """Return by how much a fresh timestamp differs from the clock it should be on, and what follows; or nothing.

    Parameters
    ----------
    stream
        "EEG" or "cue".
    t_s, now_s
        The timestamp, and the time at its arrival, both on the clock of its computer.
    """
    ahead_s = t_s - now_s
    is_cue = stream == "cue"
    if -(_MAX_CUE_S if is_cue else _MAX_LATE_S) <= ahead_s <= (_MAX_CUE_S if is_cue else _MAX_AHEAD_S):
        return ""
    side = "ahead of" if ahead_s > 0 else "behind"
    if t_s > _UNIX_S > now_s:
        kind = "they look like Unix time, and "
    elif t_s < 1000 and ahead_s < -10:
        kind = "they look like a device's own time from 0, and "
    else:
        kind = ""
    return (
        f"the timestamps of the {stream} stream are not on the LSL clock of its computer: {kind}they lie "
        f"{abs(ahead_s):,.1f} s {side} it. {_consequence(stream, is_late=ahead_s < 0)}"
    )


def _consequence(stream: str, *, is_late: bool) -> str:
    if stream == "cue":
        return "Its cues find no samples unless the EEG stream is off by as much"
    if is_late:
        return "So decisions count as too old: they are logged, and not published. Cues on an LSL clock find no samples"
    return "So no latency can be measured, games see decisions in the future, and cues on an LSL clock find no samples"
