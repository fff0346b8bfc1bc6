"""Where electrodes lie on the page's head."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pretap.channels import electrode_names

__all__ = ["positions"]


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[float, float]]:
    return tomllib.loads(Path(__file__).with_name("positions.toml").read_text(encoding="utf-8"))


def positions(labels: Sequence[str]) -> list[tuple[float, float] | None]:
    """Give x (to the right ear) and y (to the nose) of each label, None for no electrode; see positions.toml."""
    return [_table().get(name) for name in electrode_names(labels)]
