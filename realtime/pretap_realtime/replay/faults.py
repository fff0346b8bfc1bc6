"""Fault injection: the faults that a replay can have, and how the command line describes them. Used by `injector`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap.errors import UsageError
from pretap.signal.channels import microvolts_per

FaultKind = Literal["gap", "burst", "disconnect", "unit-flip", "shuffle-channels", "nan"]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
REWIRING: tuple[FaultKind, ...] = ("unit-flip", "shuffle-channels")
_DEFAULT_MS: dict[FaultKind, float] = {
    "gap": 200,
    "burst": 1000,
    "disconnect": 2000,
    "unit-flip": 2000,
    "shuffle-channels": 2000,
    "nan": 100,
}


@dataclass(frozen=True)
class Schedule:
    """When faults of one kind happen, and how long each lasts.

    A fault happens once, `at_s` seconds after the start, or repeatedly, on average `every_s` seconds after the previous
    one. With `is_silent`, the reopened outlet keeps its old description.
    """

    kind: FaultKind
    at_s: float | None
    every_s: float | None
    length_s: float
    is_silent: bool = False


def parse_schedule(kind: FaultKind, text: str) -> Schedule:
    """Parse ``WHEN[:LENGTH_MS][:silent]``; WHEN is the mean number of seconds between faults, or ``@SECONDS`` for one.

    Raises
    ------
    UsageError
        If the text has another form.
    """
    when, *rest = text.split(":")
    is_silent = kind in REWIRING and rest[-1:] == ["silent"]
    rest = rest[:-1] if is_silent else rest
    is_single = when.startswith("@")
    try:
        when_s = float(when.removeprefix("@"))
        (length_ms,) = [float(each) for each in rest] or [_DEFAULT_MS[kind]]
    except ValueError:
        when_s = length_ms = math.nan
    if not (math.isfinite(when_s) and 0 <= length_ms < math.inf and (when_s >= 0 if is_single else when_s > 0)):
        more = "[:silent]" if kind in REWIRING else ""
        raise UsageError(
            f"--{kind} {text!r}: expected WHEN[:LENGTH_MS]{more}. WHEN is the mean number of seconds between faults, "
            f"such as 20:{_DEFAULT_MS[kind]:g}, or @SECONDS for a single one, such as @12:{_DEFAULT_MS[kind]:g}."
        )
    return Schedule(kind, when_s if is_single else None, None if is_single else when_s, length_ms / 1000, is_silent)


@dataclass(frozen=True)
class FaultSettings:
    """All faults of a replay.

    Attributes
    ----------
    jitter_s
        Standard deviation of the noise added to each timestamp, or to each packet's.
    n_packet
        Samples of a packet, which is stamped on arrival; 0 if each sample has a timestamp of its own.
    is_one_sided
        Whether jitter is exponential and only delays, instead of normal.
    drift_ppm
        Relative error of the device's clock, positive if it runs fast: with 100, a nominal 1000 Hz are 1000.1 Hz.
    drop
        Share of the pieces that are lost.
    schedules
        Faults that happen at certain times.
    seed
        Random seed.
    """

    jitter_s: float = 0.0
    n_packet: int = 0
    is_one_sided: bool = False
    drift_ppm: float = 0.0
    drop: float = 0.0
    schedules: tuple[Schedule, ...] = ()
    seed: int = 0

    @property
    def time_scale(self) -> float:
        """The true duration of a nominal second of the device."""
        return 1 / (1 + self.drift_ppm * 1e-6)


class Wiring(
    msgspec.Struct, frozen=True, rename={"described_unit": "said_unit", "described_order": "said_order"}
):  # renamed: the keys of the report
    """The unit of an outlet's values and the order of its channels, as they are and as its description says."""

    unit: str
    order: tuple[int, ...]
    described_unit: str
    described_order: tuple[int, ...]

    @classmethod
    def of(cls, unit: str, n_channels: int) -> Wiring:
        """Return the wiring of a correctly described outlet with the channels in their own order."""
        order = tuple(range(n_channels))
        return cls(unit, order, unit, order)

    def values(self, x_uv: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert microvolts (n, n_channels) to the values that the outlet sends."""
        x = x_uv if self.order == tuple(range(len(self.order))) else x_uv[:, list(self.order)]
        per_uv = 1 / microvolts_per(self.unit)
        return x if per_uv == 1.0 else x * np.float32(per_uv)

    def describe(self) -> str:
        text = f"values in {self.unit}"
        if self.unit != self.described_unit:
            text += f" described as {self.described_unit}"
        if self.order != tuple(range(len(self.order))):
            text += ", channels shuffled" + ("" if self.order == self.described_order else ", their labels not")
        return text


class Fault(msgspec.Struct, frozen=True, rename={"text": "words"}):
    """A fault that happens before sample `first_n`, `due_s` seconds after the start, and affects `n_samples` samples.

    ``disconnect`` closes the outlet, and ``connect`` opens it again. `wiring` is the wiring from then on.
    """

    kind: FaultKind | Literal["drop", "connect"]
    due_s: float
    first_n: int
    n_samples: int
    text: str
    wiring: Wiring | None = None
