"""StreamClocks: follows the clock offsets of the EEG and the cue stream, and places cues among the samples.

Used by `connection`. Each stream has its own clock, even if both computers have one name: see docs/lab.md.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, Protocol

from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.signal.chunk import Cue, CueOrigin
from pretap_realtime.signal.foreign_clock import describe_foreign

_EVERY_S: Final = 0.5  # liblsl measures every 2 s; at a drift of 100 ppm, an offset is then wrong by 0.25 ms at most
_FIRST_EVERY_S: Final = 0.01  # until the offset is known
_WATCHED_S: Final = 0.4  # one late chunk is no finding
CUE_HELD_S: Final = 1.0  # the first offset takes 0.7 s


class Clocked(Protocol):
    """An inlet whose clock offset is measured."""

    def clock_offset_s(self) -> float | None:
        """Return what to add to the timestamps to get this machine's clock; None if it is not known yet."""
        ...


class StreamClock(NamedTuple):
    """How the timestamps of the EEG stream relate to this machine's clock.

    Attributes
    ----------
    offset_s
        Added to a timestamp it gives this machine's clock. Meaningless while it is not known.
    why_unknown
        Why decisions are withheld: an offset is not known yet. Empty if all are.
    is_real_time
        Whether the timestamps tell when a sample was taken. They do not in a replay at another speed.
    """

    offset_s: float = 0.0
    why_unknown: str = ""
    is_real_time: bool = True

    @property
    def is_known(self) -> bool:
        return not self.why_unknown

    def eeg_time(self, now_s: float) -> float:
        """Return a time of this machine's clock on the clock of the timestamps; infinity if that is not known."""
        return now_s - self.offset_s if self.is_known and self.is_real_time else math.inf


class StreamClocks:
    """The offsets of both streams. A replay at another speed (not `is_real_time`) is on no clock: its offsets are 0."""

    def __init__(self, eeg: Clocked, cues: Clocked | None, *, is_real_time: bool = True) -> None:
        self._streams = {"EEG": eeg} if cues is None else {"EEG": eeg, "cue": cues}
        self._offsets_s = {} if is_real_time else dict.fromkeys(self._streams, 0.0)
        self._is_real_time = is_real_time
        self._due_s = -math.inf if is_real_time else math.inf
        self._held: list[tuple[Cue, float]] = []  # cues that wait for an offset, and when they arrived

    def now(self, now_s: float) -> StreamClock:
        """Return the clock of the EEG stream, after reading the offsets if that is due."""
        if now_s >= self._due_s:
            self._read()
            self._due_s = now_s + (_EVERY_S if len(self._offsets_s) == len(self._streams) else _FIRST_EVERY_S)
        missing = [name for name in self._streams if name not in self._offsets_s]
        why = f"the clock offset of the {' and the '.join(missing)} stream is not known yet" if missing else ""
        return StreamClock(self._offsets_s.get("EEG", 0.0), why, self._is_real_time)

    def stop(self) -> None:
        """Keep the offsets as they are: the inlets are closed."""
        self._due_s = math.inf

    def place(self, cues: list[Cue], *, first_s: float, now_s: float) -> list[Cue]:
        """Return cues on the clock of the EEG stream. Those that came before the offsets were known are held.

        A cue that was held for a second is returned with the reason in `Cue.why`, and has no time.
        """
        clock = self.now(now_s)
        self._held += [(cue, now_s) for cue in cues]
        if not clock.is_known:
            late = [cue for cue, arrived_s in self._held if now_s - arrived_s > CUE_HELD_S]
            self._held = [(cue, arrived_s) for cue, arrived_s in self._held if now_s - arrived_s <= CUE_HELD_S]
            return [Cue(math.nan, cue.text, why=clock.why_unknown) for cue in late]
        placed = [self._placed(cue, first_s) for cue, _ in self._held]
        self._held.clear()
        return placed

    def _placed(self, cue: Cue, first_s: float) -> Cue:
        origin = CueOrigin(cue.t_s, self._offsets_s["cue"], self._offsets_s["EEG"], first_s)
        return Cue(origin.eeg_s, cue.text, origin)

    def _read(self) -> None:
        for name, stream in self._streams.items():
            try:
                offset_s = stream.clock_offset_s()
            except ConnectionLostError:  # the next pull raises it
                continue
            if offset_s is not None:
                self._offsets_s[name] = offset_s


class ClockCheck:
    """Checks when a connection begins whether the EEG's timestamps are on the LSL clock of its computer."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._best = (-math.inf, 0.0)  # the timestamp of the sample that came with the least delay, and the time then
        self._is_done = False

    def update(self, t_s: float, *, now_s: float, clock: StreamClock) -> None:
        """Note the timestamp of the newest sample when it arrived."""
        if self._is_done or not (clock.is_known and clock.is_real_time and math.isfinite(t_s)):
            return
        self._since_s = now_s if self._since_s is None else self._since_s
        sent_s = now_s - clock.offset_s
        if t_s - sent_s > self._best[0] - self._best[1]:
            self._best = t_s, sent_s

    def finding(self, now_s: float) -> str:
        """Return what is wrong with the timestamps, once, when they were watched for long enough; or nothing."""
        if self._is_done or self._since_s is None or now_s - self._since_s < _WATCHED_S:
            return ""
        self._is_done = True
        return describe_foreign("EEG", t_s=self._best[0], now_s=self._best[1])


def check_cue(cue: Cue, *, now_s: float) -> str:
    """Return what is wrong with the timestamp of a live cue that arrived now; or nothing."""
    if cue.origin is None or not math.isfinite(cue.origin.t_s):
        return ""
    return describe_foreign("cue", t_s=cue.origin.t_s, now_s=now_s - cue.origin.cue_offset_s)
