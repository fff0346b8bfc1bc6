"""Where the electrodes sit, and what that lets a bundle do: predict a lost electrode from its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.mne_epochs import standard_montage
from pretap.signal.channels import canonical

__all__ = ["interpolation_weights", "known_positions"]

_FEWEST = 4  # electrodes; MNE fits a sphere to them


def known_positions(channels: Sequence[str]) -> dict[str, str]:
    """Map each channel whose electrode is in the standard montage to the montage's name for it."""
    by_electrode = {canonical(name): name for name in reversed(standard_montage().ch_names)}
    return {name: by_electrode[canonical(name)] for name in channels if canonical(name) in by_electrode}


def interpolation_weights(channels: Sequence[str]) -> NDArray[np.float64] | None:
    """Compute what `pretap.signal.interpolation` needs, through MNE's spherical splines.

    Row k is what `mne.Evoked.interpolate_bads` makes of the other channels when channel k alone is bad. All rows come
    from one call (n calls take minutes for 128 channels): a twin of each electrode, marked bad, is interpolated from
    all of them. The spline smooths by alpha, so this gives I - alpha B, with B the inverse of the spline's matrix, and
    a leave-one-out prediction is -B[k, j] / B[k, k] (Dubrule, Math. Geology 15, 1983); alpha cancels.

    Returns
    -------
    (n_channels, n_channels), float64, zero rows and columns for channels without a known position; None where fewer
    than five channels have one.
    """
    known = known_positions(channels)
    if len(known) <= _FEWEST:
        return None
    import mne

    n, names = len(known), list(known.values())
    info = mne.create_info(names, 1000.0, "eeg").set_montage(standard_montage(), verbose="error")
    origin = mne.bem.fit_sphere_to_headshape(info, dig_kinds="eeg", units="m", verbose="error")[1]
    where = {name: channel["loc"][:3] for name, channel in zip(names, info["chs"], strict=True)}
    twins = {f"twin of {name}": where[name] for name in names}
    montage = mne.channels.make_dig_montage(where | twins, coord_frame="head")
    info = mne.create_info([*names, *twins], 1000.0, "eeg").set_montage(montage, verbose="error")
    unit = mne.EvokedArray(np.vstack([np.eye(n), np.zeros((n, n))]), info, verbose="error")
    unit.info["bads"] = list(twins)
    smoothed = unit.interpolate_bads(origin=origin, verbose="error").data[n:]  # (n, n)
    alpha_b = np.eye(n) - smoothed
    index = np.array([channels.index(name) for name in known])
    weights = np.zeros((len(channels), len(channels)))
    weights[np.ix_(index, index)] = np.eye(n) - alpha_b / np.diag(alpha_b)[:, None]
    np.fill_diagonal(weights, 0.0)
    return weights
