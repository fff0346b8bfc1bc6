"""Random replays of the soak test: their options, when they are frozen, and how they end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pretap_realtime.replay.faults import FaultKind, FaultSettings, parse_schedule

__all__ = ["Day", "draw"]

Ending = Literal["Ctrl-C", "kill -9"]


@dataclass(frozen=True)
class Day:
    """A replay: its faults, also as options, when and for how long its process is stopped (SIGSTOP), and its end.

    `clock_s` is by how much the clock of its computer is ahead of the service's.
    """

    faults: FaultSettings
    options: tuple[str, ...]
    n_chunk: int
    length_s: float
    frozen_s: tuple[tuple[float, float], ...]
    ending: Ending
    clock_s: int


def draw(rng: np.random.Generator, *, longest_s: float) -> Day:
    """Draw a random day of at most `longest_s` seconds."""
    schedules: list[tuple[FaultKind, str]] = []
    for kind, share, every_s, length_ms in (
        ("gap", 0.6, (3, 10), (1, 600)),
        ("burst", 0.5, (4, 12), (50, 1500)),
        ("nan", 0.5, (3, 10), (1, 200)),
        ("disconnect", 0.5, (6, 15), (300, 2500)),
        ("unit-flip", 0.3, (10, 20), (300, 1500)),
        ("shuffle-channels", 0.3, (10, 20), (300, 1500)),
    ):
        if rng.random() < share:
            silent = ":silent" if kind == "unit-flip" and rng.random() < 0.3 else ""
            schedules.append((kind, f"{rng.uniform(*every_s):.2f}:{rng.integers(*length_ms)}{silent}"))
    if rng.random() < 0.15:
        schedules += [("unit-flip", "@5:0"), ("unit-flip", "@7:0")]  # only the values, while the stream continues
    figures = {
        "--jitter-ms": float(rng.choice([0, 0, 0.2, 1, 3])),
        "--drift-ppm": float(rng.choice([0, 50, 100, -100])),
        "--drop": float(rng.choice([0, 0, 0.001, 0.01])),
    }
    seed, n_chunk = int(rng.integers(1 << 31)), int(rng.choice([1, 5, 10, 20, 32, 50]))
    is_packet, is_one_sided = rng.random() < 0.3, figures["--jitter-ms"] > 0 and rng.random() < 0.3
    length_s = float(rng.uniform(0.5, 1) * longest_s)
    frozen_s = tuple((float(rng.uniform(1, length_s)), float(rng.uniform(0.05, 2.5))) for _ in range(rng.integers(3)))
    ending: Ending = "kill -9" if rng.random() < 0.3 else "Ctrl-C"
    clock_s = int(rng.choice([0, 0, 4_000, 90_000]))
    options = [part for kind, text in schedules for part in (f"--{kind}", text)]
    options += [part for name, value in figures.items() if value for part in (name, f"{value:g}")]
    options += ["--seed", str(seed), "--packet" if is_packet else "--chunk", str(n_chunk)]
    options += ["--one-sided"] if is_one_sided else []
    faults = FaultSettings(
        jitter_s=figures["--jitter-ms"] / 1000,
        n_packet=n_chunk if is_packet else 0,
        is_one_sided=is_one_sided,
        drift_ppm=figures["--drift-ppm"],
        drop=figures["--drop"],
        schedules=tuple(parse_schedule(kind, text) for kind, text in schedules),
        seed=seed,
    )
    return Day(faults, tuple(options), n_chunk, length_s, tuple(sorted(frozen_s)), ending, clock_s)
