"""Scalp maps as PNG pictures, with the nose up and left on the left. Used by `write`."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from pretap.recordings.mne_epochs import make_info
from pretap.signal.channels import canonical
from pretap_offline.evaluate.decision_patterns import Group, HeadMap
from pretap_offline.trials.montage import channels_on_map

_LABELLED = frozenset(("C3", "C4"))  # over the motor areas of the two hands


class Topographies:
    """Draws maps of the channels that have a standard position."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.placed = channels_on_map(channels)
        self._names = [channels[i] if canonical(channels[i]) in _LABELLED else "" for i in self.placed]
        self._info = make_info(tuple(channels[i] for i in self.placed), sfreq_hz=1.0)

    def draw(self, group: Group) -> list[bytes]:
        """Draw each map of a group, with colours symmetric about 0."""
        limits = [float(np.abs(each.values[self.placed]).max()) or 1.0 for each in group.maps]
        if group.one_scale:
            limits = [max(limits)] * len(limits)
        return [self._png(each, limit) for each, limit in zip(group.maps, limits, strict=True)]

    def _png(self, head_map: HeadMap, limit: float) -> bytes:
        import mne
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patheffects import withStroke

        figure = Figure(figsize=(1.5, 1.5))
        FigureCanvasAgg(figure)
        axis = figure.add_axes((0.0, 0.0, 1.0, 0.96))
        mne.viz.plot_topomap(
            head_map.values[self.placed], self._info, axes=axis, names=self._names, show=False, vlim=(-limit, limit),
            cmap="RdBu_r", sensors="k.", contours=0,
        )  # fmt: skip
        for text in axis.texts:
            text.set(va="bottom", fontsize=7, path_effects=[withStroke(linewidth=1.5, foreground="white")])
        for line in axis.lines:
            line.set_markersize(2)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=160, metadata={"Software": None})
        return picture.getvalue()
