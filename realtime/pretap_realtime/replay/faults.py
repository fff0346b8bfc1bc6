"""A bad day on purpose: mishaps put into what `pretap replay` sends, the same ones for the same seed.

Pure: an iterator of pieces becomes one of pieces and mishaps. The recording stands for a device that goes on taking
samples whatever happens to them, so the sample numbers count on, and those that are missing were lost on the way. Each
kind draws from a generator of its own: one more kind of mishap leaves those of the others where they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pretap.errors import UsageError
from pretap.signal.channels import microvolts_per
from pretap_realtime.replay.pieces import Mark, Piece

__all__ = ["BadDay", "Kind", "Mishap", "Plan", "Wiring", "inject", "parse_plan"]

Kind = Literal["gap", "burst", "disconnect", "unit-flip", "shuffle-channels", "nan"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_DEFAULT_MS: dict[Kind, float] = {
    "gap": 200,
    "burst": 1000,
    "disconnect": 2000,
    "unit-flip": 2000,
    "shuffle-channels": 2000,
    "nan": 100,
}
_REWIRES: tuple[Kind, ...] = ("unit-flip", "shuffle-channels")


@dataclass(frozen=True)
class Plan:
    """One kind of mishap: when it comes, and how long it lasts.

    It comes once, `at_s` seconds after the start, or again and again, on average `every_s` seconds after the last one.
    `silent`: the outlet that comes back keeps its old description.
    """

    kind: Kind
    at_s: float | None
    every_s: float | None
    length_s: float
    silent: bool = False


def parse_plan(kind: Kind, text: str) -> Plan:
    """Read ``WHEN[:LENGTH_MS][:silent]``, WHEN being the mean seconds between two, or ``@SECONDS`` for once.

    Raises
    ------
    UsageError
        For what is none.
    """
    when, *rest = text.split(":")
    silent = kind in _REWIRES and rest[-1:] == ["silent"]
    rest = rest[:-1] if silent else rest
    once = when.startswith("@")
    try:
        when_s = float(when.removeprefix("@"))
        (length_ms,) = [float(each) for each in rest] or [_DEFAULT_MS[kind]]
    except ValueError:
        when_s = length_ms = math.nan
    if not (math.isfinite(when_s) and 0 <= length_ms < math.inf and (when_s >= 0 if once else when_s > 0)):
        more = "[:silent]" if kind in _REWIRES else ""
        raise UsageError(
            f"--{kind} {text!r}: expected WHEN[:LENGTH_MS]{more}, WHEN being the mean seconds between two, such as "
            f"20:{_DEFAULT_MS[kind]:g}, or @SECONDS for once, such as @12:{_DEFAULT_MS[kind]:g}."
        )
    return Plan(kind, when_s if once else None, None if once else when_s, length_ms / 1000, silent)


@dataclass(frozen=True)
class BadDay:
    """Everything that is done to a stream.

    Attributes
    ----------
    jitter_s
        Standard deviation of what is added to each stamp.
    drift_ppm
        By how much the device's clock is fast: at 100, a nominal 1000 Hz are 1000.1.
    drop
        The share of the pieces that are lost.
    plans
        What comes at times.
    seed
        Of all that is random.
    """

    jitter_s: float = 0.0
    drift_ppm: float = 0.0
    drop: float = 0.0
    plans: tuple[Plan, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Wiring:
    """What the values of the outlet are in, and which channel stands where; and what its description says of both."""

    unit: str
    order: tuple[int, ...]
    said_unit: str
    said_order: tuple[int, ...]

    def values(self, x_uv: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give microvolts (n, n_channels) as the outlet sends them."""
        x = x_uv if self.order == tuple(range(len(self.order))) else x_uv[:, list(self.order)]
        per_uv = 1 / microvolts_per(self.unit)
        return x if per_uv == 1.0 else x * np.float32(per_uv)


@dataclass(frozen=True)
class Mishap:
    """What happens before sample `first_n`, `due_s` seconds after the start, and for how many samples.

    ``disconnect`` closes the outlet. `wiring` is how it is from then on; a ``connect`` opens it anew, like that.
    """

    kind: Kind | Literal["drop", "connect"]
    due_s: float
    first_n: int
    n_samples: int
    words: str
    wiring: Wiring | None = None


def inject(
    stream: Iterator[Piece], day: BadDay, *, sfreq_hz: float, channels: Sequence[str], unit: str
) -> Iterator[Piece | Mishap]:
    """Let mishaps happen to a stream of these channels, in `unit`. Each is given before the first piece it befalls."""
    injector = _Injector(day, sfreq_hz=sfreq_hz, channels=channels, unit=unit)
    for piece in stream:
        for part in injector.cut(piece):
            yield from injector.befall(part)


class _Track:
    """The spans of samples of one plan, one after the other."""

    def __init__(self, plan: Plan, rng: np.random.Generator, *, sfreq_hz: float) -> None:
        self.plan = plan
        self.begun = False
        self._rng, self._sfreq_hz = rng, sfreq_hz
        self.n_samples = round(plan.length_s * sfreq_hz)
        self.start: float = 0
        if plan.at_s is not None:
            self.start = round(plan.at_s * sfreq_hz)
        else:
            self._draw(after_n=0)
        self.channel = 0  # of NaN

    @property
    def stop(self) -> float:
        return self.start + self.n_samples

    def next(self) -> None:
        self.begun = False
        if self.plan.every_s is None:
            self.start = math.inf
        else:
            self._draw(after_n=self.stop)

    def _draw(self, *, after_n: float) -> None:
        assert self.plan.every_s is not None
        self.start = after_n + 1 + round(self._rng.exponential(self.plan.every_s) * self._sfreq_hz)

    def choose(self, n_channels: int) -> int:
        return int(self._rng.integers(n_channels))

    def shuffle(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """Give another order, where there is one."""
        other = order
        while other == order and len(order) > 1:
            other = tuple(self._rng.permutation(order).tolist())
        return other


class _Injector:
    """The state of the stream between two pieces."""

    def __init__(self, day: BadDay, *, sfreq_hz: float, channels: Sequence[str], unit: str) -> None:
        self._day, self._sfreq_hz, self._channels = day, sfreq_hz, tuple(channels)
        self._stretch = 1 / (1 + day.drift_ppm * 1e-6)  # of time, where the device's clock is fast
        self._jitter, self._drop, *own = np.random.default_rng(day.seed).spawn(2 + len(_KINDS))
        self._tracks = [
            _Track(plan, rng, sfreq_hz=sfreq_hz)
            for kind, of_kind in zip(_KINDS, own, strict=True)
            for plan, rng in _with_generators([p for p in day.plans if p.kind == kind], of_kind)
        ]
        order = tuple(range(len(self._channels)))
        self._wiring = Wiring(unit, order, unit, order)
        self._other_unit = "uV" if unit == "V" else "V"
        self._unit = unit
        self._is_away = False
        self._held_s = -math.inf

    def cut(self, piece: Piece) -> Iterator[Piece]:
        """Cut a piece where a mishap begins or ends."""
        first, last = piece.first_n, piece.first_n + len(piece.x_uv)
        edges = sorted({int(e) for track in self._tracks for e in (track.start, track.stop) if first < e < last})
        if not edges:
            yield piece
            return
        marks = list(piece.markers)
        for start, stop in zip([first, *edges], [*edges, last], strict=True):
            t_s = piece.t_s[start - first : stop - first]
            among = [mark for mark in marks if mark.t_s <= t_s[-1]] if stop < last else marks
            marks = marks[len(among) :]
            yield Piece(start, piece.x_uv[start - first : stop - first], t_s, tuple(among))

    def befall(self, piece: Piece) -> Iterator[Piece | Mishap]:
        """Give what becomes of a piece in which no mishap begins or ends."""
        markers = tuple(Mark(mark.t_s * self._stretch, mark.text) for mark in piece.markers)
        piece = replace(piece, t_s=piece.t_s * self._stretch, markers=markers)
        if not piece.t_s.size:
            yield piece
            return
        first_s = float(piece.t_s[0])
        yield from self._begin_and_end(piece.first_n, max(first_s, self._held_s))
        kinds = {track.plan.kind for track in self._tracks if track.begun}
        is_dropped = self._day.drop > 0 and self._drop.random() < self._day.drop
        jitter_s = self._jitter.normal(0, self._day.jitter_s, len(piece.t_s)) if self._day.jitter_s else 0.0
        due_s = self._due_s(piece)
        if self._is_away or "gap" in kinds or is_dropped:
            if is_dropped and not self._is_away and "gap" not in kinds:
                n = len(piece.x_uv)
                yield Mishap("drop", due_s, piece.first_n, n, f"{n} samples dropped")
            if markers:
                yield replace(piece, x_uv=piece.x_uv[:0], t_s=piece.t_s[:0], pushed_s=due_s)
            return
        x_uv = piece.x_uv
        if "nan" in kinds:
            x_uv = x_uv.copy()
            x_uv[:, [track.channel for track in self._tracks if track.begun and track.plan.kind == "nan"]] = np.nan
        yield replace(piece, x_uv=x_uv, t_s=piece.t_s + jitter_s, pushed_s=due_s)

    def _due_s(self, piece: Piece) -> float:
        """Say when a piece is pushed: in a burst when it ends, and never before what came earlier."""
        after_n = piece.first_n + len(piece.x_uv)
        n_held = max((t.stop - after_n for t in self._tracks if t.begun and t.plan.kind == "burst"), default=0)
        self._held_s = max(self._held_s, float(piece.t_s[-1]) + n_held / self._sfreq_hz * self._stretch)
        return self._held_s

    def _begin_and_end(self, n: int, now_s: float) -> Iterator[Mishap]:
        """Let the mishaps begin that start by sample `n`, and those end that are over."""
        for track in self._tracks:
            while track.start <= n:
                if not track.begun:
                    yield from self._begin(track, n, now_s)
                if track.stop > n:
                    break
                if track.plan.kind in _REWIRES:
                    self._rewire(track)
                    if not track.n_samples:
                        yield Mishap(track.plan.kind, now_s, n, 0, self._wired(), self._wiring)
                track.next()
        is_away = any(t.begun and t.plan.kind in ("disconnect", *_REWIRES) for t in self._tracks)
        if self._is_away and not is_away:
            yield Mishap("connect", now_s, n, 0, f"connected again: {self._wired()}", self._wiring)
        self._is_away = is_away

    def _begin(self, track: _Track, n: int, now_s: float) -> Iterator[Mishap]:
        track.begun = True
        kind, length = track.plan.kind, f"for {1000 * track.plan.length_s:g} ms"
        if kind == "gap":
            yield Mishap(kind, now_s, n, track.n_samples, f"{track.n_samples} samples lost, {length}")
        elif kind == "burst":
            yield Mishap(kind, now_s, n, track.n_samples, f"frozen {length}; then all at once")
        elif kind == "nan":
            track.channel = track.choose(len(self._channels))
            yield Mishap(kind, now_s, n, track.n_samples, f"{self._channels[track.channel]} is NaN {length}")
        elif track.n_samples and not self._is_away:
            self._is_away = True
            yield Mishap("disconnect", now_s, n, track.n_samples, f"disconnected {length}")

    def _rewire(self, track: _Track) -> None:
        """Flip the unit, or swap two channels; the description follows unless the plan is silent."""
        wiring = self._wiring
        if track.plan.kind == "unit-flip":
            wiring = replace(wiring, unit=self._other_unit if wiring.unit == self._unit else self._unit)
        else:
            wiring = replace(wiring, order=track.shuffle(wiring.order))
        if track.n_samples and not track.plan.silent:
            if track.plan.kind == "unit-flip":
                wiring = replace(wiring, said_unit=wiring.unit)
            else:
                wiring = replace(wiring, said_order=wiring.order)
        self._wiring = wiring

    def _wired(self) -> str:
        wiring = self._wiring
        said = "" if wiring.unit == wiring.said_unit else f" described as {wiring.said_unit}"
        words = [f"values in {wiring.unit}{said}"]
        if wiring.order != tuple(range(len(wiring.order))):
            words.append("channels shuffled" + ("" if wiring.order == wiring.said_order else ", their labels not"))
        return ", ".join(words)


def _with_generators(plans: list[Plan], rng: np.random.Generator) -> Iterator[tuple[Plan, np.random.Generator]]:
    yield from zip(plans, rng.spawn(len(plans)), strict=True)
