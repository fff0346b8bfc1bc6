"""Injector: applies faults to the pieces that ``pretap replay`` sends; the same seed gives the same faults.

Pure: an iterator of pieces becomes an iterator of pieces and faults. The recording stands for a device that keeps
taking samples, so sample numbers count on, and missing ones were lost on the way. Each kind of fault has a random
generator of its own, so adding a kind does not move the faults of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap_realtime.replay.faults import KINDS, REWIRING, Fault, FaultSettings, Schedule, Wiring
from pretap_realtime.replay.pieces import Mark, Piece

_STAMPING_S = 1e-5  # from one sample of a packet to the next


def inject(
    stream: Iterator[Piece], settings: FaultSettings, *, sfreq_hz: float, channels: Sequence[str], unit: str
) -> Iterator[Piece | Fault]:
    """Inject faults into a stream of these channels, in `unit`. Each fault precedes the first piece it affects."""
    injector = _Injector(settings, sfreq_hz=sfreq_hz, channels=channels, unit=unit)
    for piece in stream:
        for part in injector.split(piece):
            yield from injector.process(part)


class _Occurrences:
    """The current fault of a schedule, in samples, and a generator for the next ones."""

    def __init__(self, schedule: Schedule, rng: np.random.Generator, *, sfreq_hz: float) -> None:
        self.schedule, self.rng, self._sfreq_hz = schedule, rng, sfreq_hz
        self.has_begun = False
        self.n_samples = round(schedule.length_s * sfreq_hz)
        self.start = self._draw(after_n=0) if schedule.at_s is None else round(schedule.at_s * sfreq_hz)
        self.channel = 0  # the one that is NaN

    @property
    def stop(self) -> float:
        return self.start + self.n_samples

    def next(self) -> None:
        self.has_begun = False
        self.start = self._draw(after_n=self.stop)

    def _draw(self, *, after_n: float) -> float:
        """Return the first sample of the next fault; infinite if there is only one."""
        if self.schedule.every_s is None:
            return math.inf
        return after_n + 1 + round(self.rng.exponential(self.schedule.every_s) * self._sfreq_hz)

    def shuffle(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """Return another order, if there is one."""
        other = order
        while other == order and len(order) > 1:
            other = tuple(self.rng.permutation(order).tolist())
        return other


class _Injector:
    """The state of the stream between two pieces."""

    def __init__(self, settings: FaultSettings, *, sfreq_hz: float, channels: Sequence[str], unit: str) -> None:
        self._settings, self._sfreq_hz, self._channels = settings, sfreq_hz, tuple(channels)
        self._jitter, self._drop, *rngs = np.random.default_rng(settings.seed).spawn(2 + len(KINDS))
        self._occurrences = []
        for kind, rng_of_kind in zip(KINDS, rngs, strict=True):
            schedules = [each for each in settings.schedules if each.kind == kind]
            for schedule, rng in zip(schedules, rng_of_kind.spawn(len(schedules)), strict=True):
                self._occurrences.append(_Occurrences(schedule, rng, sfreq_hz=sfreq_hz))
        self._units = (unit, "uV" if unit == "V" else "V")
        self._wiring = Wiring.of(unit, len(self._channels))
        self._is_away = False
        self._held_s = -math.inf

    def split(self, piece: Piece) -> Iterator[Piece]:
        """Split a piece at the samples at which a fault begins or ends."""
        first, last = piece.first_n, piece.first_n + len(piece.x_uv)
        edges = sorted({int(n) for each in self._occurrences for n in (each.start, each.stop) if first < n < last})
        marks = list(piece.markers)
        for start, stop in zip([first, *edges], [*edges, last], strict=True):
            t_s = piece.t_s[start - first : stop - first]
            among = [mark for mark in marks if mark.t_s <= t_s[-1]] if stop < last else marks
            marks = marks[len(among) :]
            yield Piece(start, piece.x_uv[start - first : stop - first], t_s, tuple(among))

    def process(self, piece: Piece) -> Iterator[Piece | Fault]:
        """Apply all faults to a piece within which none begins or ends."""
        scale = self._settings.time_scale
        markers = tuple(Mark(mark.t_s * scale, mark.text) for mark in piece.markers)
        piece = replace(piece, t_s=piece.t_s * scale, markers=markers)
        if not piece.t_s.size:
            yield piece
            return
        yield from self._begin_and_end(piece.first_n, max(float(piece.t_s[0]), self._held_s))
        kinds = {each.schedule.kind for each in self._occurrences if each.has_begun}
        is_dropped = self._settings.drop > 0 and self._drop.random() < self._settings.drop
        timestamps_s = self._stamp(piece.t_s)
        due_s = self._due_s(piece)
        is_lost = self._is_away or "gap" in kinds
        if is_lost or is_dropped:
            if not is_lost:
                n = len(piece.x_uv)
                yield Fault("drop", due_s, piece.first_n, n, f"{n} samples dropped")
            if markers:
                yield replace(piece, x_uv=piece.x_uv[:0], t_s=piece.t_s[:0], held_until_s=due_s)
            return
        x_uv = piece.x_uv
        if "nan" in kinds:
            x_uv = x_uv.copy()
            x_uv[:, [e.channel for e in self._occurrences if e.has_begun and e.schedule.kind == "nan"]] = np.nan
        yield replace(piece, x_uv=x_uv, t_s=timestamps_s, held_until_s=due_s)

    def _stamp(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the timestamps (n,) of samples that were taken at `t_s`: each with jitter, or together on arrival."""
        settings, is_packet = self._settings, self._settings.n_packet > 0
        jitter_s: NDArray[np.float64] | float = 0.0
        if settings.jitter_s:
            draw = self._jitter.standard_exponential if settings.is_one_sided else self._jitter.standard_normal
            jitter_s = settings.jitter_s * draw(1 if is_packet else len(t_s))
        return (t_s[-1] + _STAMPING_S * np.arange(len(t_s)) if is_packet else t_s) + jitter_s

    def _due_s(self, piece: Piece) -> float:
        """Return when to send a piece: at the end of a burst, and never before the previous piece."""
        after_n = piece.first_n + len(piece.x_uv)
        bursts = [each.stop for each in self._occurrences if each.has_begun and each.schedule.kind == "burst"]
        n_held = max(bursts, default=after_n) - after_n
        self._held_s = max(self._held_s, float(piece.t_s[-1]) + n_held / self._sfreq_hz * self._settings.time_scale)
        return self._held_s

    def _begin_and_end(self, n: int, now_s: float) -> Iterator[Fault]:
        """Begin the faults that start at or before sample `n`, and end those that are over."""
        for each in self._occurrences:
            while each.start <= n:
                if not each.has_begun:
                    yield from self._begin(each, n, now_s)
                if each.stop > n:
                    break
                if each.schedule.kind in REWIRING:
                    self._rewire(each)
                    if not each.n_samples:
                        yield Fault(each.schedule.kind, now_s, n, 0, self._wiring.describe(), self._wiring)
                each.next()
        is_away = any(e.has_begun and e.schedule.kind in ("disconnect", *REWIRING) for e in self._occurrences)
        if self._is_away and not is_away:
            yield Fault("connect", now_s, n, 0, f"reconnected: {self._wiring.describe()}", self._wiring)
        self._is_away = is_away

    def _begin(self, occurrence: _Occurrences, n: int, now_s: float) -> Iterator[Fault]:
        occurrence.has_begun = True
        kind, n_samples = occurrence.schedule.kind, occurrence.n_samples
        length = f"for {1000 * occurrence.schedule.length_s:g} ms"
        if kind == "gap":
            yield Fault(kind, now_s, n, n_samples, f"{n_samples} samples lost, {length}")
        elif kind == "burst":
            yield Fault(kind, now_s, n, n_samples, f"frozen {length}, then everything at once")
        elif kind == "nan":
            occurrence.channel = int(occurrence.rng.integers(len(self._channels)))
            yield Fault(kind, now_s, n, n_samples, f"{self._channels[occurrence.channel]} is NaN {length}")
        elif n_samples and not self._is_away:
            self._is_away = True
            yield Fault("disconnect", now_s, n, n_samples, f"disconnected {length}")

    def _rewire(self, occurrence: _Occurrences) -> None:
        """Flip the unit or shuffle the channels; the description follows if the outlet is reopened and not silent."""
        is_described = occurrence.n_samples > 0 and not occurrence.schedule.is_silent
        if occurrence.schedule.kind == "unit-flip":
            unit, other = self._units
            changed: dict[str, Any] = {"unit": other if self._wiring.unit == unit else unit}
        else:
            changed = {"order": occurrence.shuffle(self._wiring.order)}
        if is_described:
            changed |= {f"described_{name}": value for name, value in changed.items()}
        self._wiring = msgspec.structs.replace(self._wiring, **changed)
