"""Figure of the patterns of a decoder's decisions, as scalp maps. Used by ``pretap train``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.files import replacing, writing
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import make_info
from pretap.signal.channels import canonical
from pretap.spelling import counted
from pretap_offline.evaluate.decision_patterns import BETA_HZ, MU_HZ, decision_patterns
from pretap_offline.trials.montage import MIN_ON_MAP, channels_on_map

_LABELLED = frozenset(("FP1", "FP2", "F7", "F8", "T7", "T8", "C3", "C4"))  # eyes, jaw and hands


def why_no_patterns(epochs: Epochs) -> str:
    """Return why no scalp map can be drawn, or an empty text."""
    n_placed = len(channels_on_map(epochs.channels))
    if n_placed >= MIN_ON_MAP:
        return ""
    return f"no figure of patterns: positions are known for {n_placed} of {counted(len(epochs.channels), 'channel')}"


def draw_patterns(epochs: Epochs, probs: NDArray[np.float64], path: Path) -> None:
    """Write a figure (.png) of the slow potential and the band power that go with out-of-fold decisions.

    `probs` is (n_epochs, n_classes). See `decision_patterns` for the quantities. The trials need positions, see
    `why_no_patterns`.
    """
    import mne
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    placed = channels_on_map(epochs.channels)
    info = make_info(tuple(epochs.channels[i] for i in placed), sfreq_hz=epochs.sfreq_hz)
    electrodes = [canonical(epochs.channels[i]) for i in placed]
    names = [name if name in _LABELLED else "" for name in electrodes]
    groups = decision_patterns(epochs, probs, bands_hz=(MU_HZ, BETA_HZ))
    n_columns = max(len(group.maps) for group in groups)
    figure = Figure(figsize=(2.2 * n_columns, 2.7 * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = np.atleast_1d(np.array(figure.subfigures(len(groups), 1)))
    for group, row in zip(groups, rows, strict=True):
        row.suptitle(group.title, fontsize=10, parse_math=False)
        axes = row.subplots(1, n_columns, squeeze=False)[0]
        largest = max(float(np.abs(each.values[placed]).max()) for each in group.maps) or 1.0
        for axis in axes[len(group.maps) :]:
            axis.set_visible(False)
        for axis, each in zip(axes, group.maps, strict=False):
            mne.viz.plot_topomap(
                each.values[placed], info, axes=axis, names=names, show=False, vlim=(-largest, largest), cmap="RdBu_r",
                contours=0,
            )  # fmt: skip
            axis.set_title(each.title, fontsize=8, parse_math=False)
    with writing(path), replacing(path) as partial:
        figure.savefig(partial, dpi=120)
