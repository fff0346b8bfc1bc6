"""Mirror augmentation: swaps electrodes left and right, and the two classes with them. Used by `neural`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretap.errors import UsageError
from pretap.signal.channels import electrode_names, mirrored
from pretap_offline.trials.montage import known_positions


def mirror_partners(channels: Sequence[str], *, n_classes: int) -> NDArray[np.int64]:
    """Return the index of each channel's mirror image, (n_channels,).

    All channels must be electrodes of the 10-05 system, or names that `pretap.signal.channels` maps to one. Odd numbers
    are on the left, even numbers on the right, z is the midline: C3 and C4, FCz and FCz.

    Raises
    ------
    UsageError
        If an electrode has no partner, all lie on the midline, or the number of classes is not two.
    """
    if n_classes != 2:
        raise UsageError(f"fit.mirror swaps the two classes left and right: expected 2 classes, got {n_classes}.")
    names = electrode_names(channels)
    known = known_positions(names)
    index = {name: i for i, name in enumerate(names) if name in known}
    partners = [index.get(mirrored(name), -1) for name in names]
    alone = [label for i, label in enumerate(channels) if partners[i] < 0 or partners[partners[i]] != i]
    if alone:
        raise UsageError(
            f"fit.mirror: {len(alone)} of {len(channels)} electrodes have no partner on the other side of the head: "
            f"{', '.join(alone[:8])}. Expected standard names such as C3 and C4, each once; exclude them, or set "
            "fit.mirror = 0."
        )
    if partners == list(range(len(channels))):
        raise UsageError(
            f"fit.mirror: all {len(channels)} electrodes lie on the midline, so mirroring would change only the "
            "class. Expected electrodes on both sides of the head; set fit.mirror = 0."
        )
    return np.array(partners, np.int64)
