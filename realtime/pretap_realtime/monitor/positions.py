"""Positions of electrodes on the head map of the page, from positions.toml. Used by `follower`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from pretap.signal.channels import canonical, electrode_names, standard_names

_TABLE: dict[str, tuple[float, float]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


_EARLOBES = ("A1", "A2")


def positions(labels: Sequence[str]) -> list[tuple[float, float] | None]:
    """Return x (to the right ear) and y (to the nose) of each label, or None if it is not an electrode."""
    is_numbered = standard_names(labels) != tuple(labels)  # a cap of BioSemi, whose A2 is near the vertex
    names = ["" if is_numbered and canonical(label) == name in _EARLOBES else name
             for label, name in zip(labels, electrode_names(labels), strict=True)]  # fmt: skip
    return [_TABLE.get(name) for name in names]
