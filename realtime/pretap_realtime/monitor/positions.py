"""Positions of electrodes on the head map of the page, from positions.toml. Used by `follower`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pretap.signal.channels import electrode_names


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[float, float]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def positions(labels: Sequence[str]) -> list[tuple[float, float] | None]:
    """Return x (to the right ear) and y (to the nose) of each label, or None if it is not an electrode."""
    return [_table().get(name) for name in electrode_names(labels)]
