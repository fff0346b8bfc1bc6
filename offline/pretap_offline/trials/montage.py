"""Electrode positions, and the weights that predict an electrode from the others. Used by training and figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.mne_epochs import standard_montage
from pretap.signal.channels import canonical

MIN_ON_MAP = 4
"""The fewest electrodes with a position from which a scalp map can be drawn; MNE fits a sphere to them."""


def known_positions(channels: Sequence[str]) -> dict[str, str]:
    """Map each channel whose electrode is in the standard montage to its name there.

    Of two channels of one electrode, such as T3 and T7, only the first has a position.
    """
    free = {canonical(name): name for name in reversed(standard_montage().ch_names)}
    known = {name: free.pop(canonical(name), "") for name in dict.fromkeys(channels)}
    return {name: position for name, position in known.items() if position}


def channels_on_map(channels: Sequence[str]) -> list[int]:
    """Return the indices of the channels that have a position."""
    known = known_positions(channels)
    return [i for i, name in enumerate(channels) if name in known]


def interpolation_weights(channels: Sequence[str]) -> NDArray[np.float64] | None:
    """Compute the weights of `pretap.signal.interpolation` from MNE's spherical splines.

    Row k holds the weights that `mne.Evoked.interpolate_bads` applies to the other channels if only channel k is bad.
    All rows come from one call, because n calls take minutes for 128 channels: a twin of each electrode, marked bad, is
    interpolated from all of them. The spline smooths by alpha, so the result is I - alpha B, with B the inverse of the
    spline's matrix. A leave-one-out prediction is -B[k, j] / B[k, k] (Dubrule, Math. Geology 15, 1983); alpha cancels.

    Returns
    -------
    (n_channels, n_channels), float64, with zero rows and columns for channels without a known position. None if fewer
    than five channels have one.
    """
    known = known_positions(channels)
    if len(known) <= MIN_ON_MAP:
        return None
    import mne

    n, names = len(known), list(known.values())
    info = mne.create_info(names, 1000.0, "eeg").set_montage(standard_montage(), verbose="error")
    origin = mne.bem.fit_sphere_to_headshape(info, dig_kinds="eeg", units="m", verbose="error")[1]
    positions = {name: channel["loc"][:3] for name, channel in zip(names, info["chs"], strict=True)}
    twins = {f"twin of {name}": positions[name] for name in names}
    montage = mne.channels.make_dig_montage(positions | twins, coord_frame="head")
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
