"""Mirror augmentation: a head seen in a mirror taps with the other hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretap.errors import UsageError

__all__ = ["mirror_partners"]

_NAME = re.compile(r"([A-Za-z]+?)(z|\d+)", re.IGNORECASE)


def mirror_partners(channels: Sequence[str], *, n_classes: int) -> NDArray[np.int64]:
    """Say for each channel which one lies where it would be in a mirror, (n_channels,), by their 10-20 names.

    Odd numbers are on the left, even ones on the right, z is the midline: C3 and C4, FCz and FCz.

    Raises
    ------
    UsageError
        When an electrode has no partner, or there are not two classes to swap.
    """
    if n_classes != 2:
        raise UsageError(f"fit.mirror swaps the two classes left and right: expected 2 classes, got {n_classes}.")
    index = {name.upper(): i for i, name in enumerate(channels)}
    partners = [index.get(_mirrored(name).upper(), -1) for name in channels]
    alone = [name for name, partner in zip(channels, partners, strict=True) if partner < 0]
    if alone:
        raise UsageError(
            f"fit.mirror: {len(alone)} of {len(channels)} electrodes have no partner on the other side of the head: "
            f"{', '.join(alone[:8])}. Expected 10-20 names such as C3 and C4; exclude them, or set fit.mirror = 0."
        )
    return np.array(partners, np.int64)


def _mirrored(name: str) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        return ""
    site, side = match.groups()
    if not side.isdigit():
        return name
    number = int(side)
    return f"{site}{number + 1 if number % 2 else number - 1}"
