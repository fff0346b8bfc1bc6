"""Positions of electrodes on the head map of the page, from positions.toml. Used by `follower`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pretap.signal.channels import electrode_names

_TABLE: dict[str, tuple[float, float]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def positions(labels: Sequence[str]) -> list[tuple[float, float] | None]:
    """Return x (to the right ear) and y (to the nose) of each label, or None if it is not an electrode."""
    return [_TABLE.get(name) for name in electrode_names(labels)]
