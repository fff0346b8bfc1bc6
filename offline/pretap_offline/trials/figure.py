"""Figure of the trials: slow potential and band power over time and as scalp maps. Used by ``pretap train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.files import replacing, writing
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import make_info
from pretap.signal.channels import canonical
from pretap.spelling import counted
from pretap_offline.trials.courses import BANDS_HZ, Course, band_power, potential_ends, slow_potential, why_no_power
from pretap_offline.trials.montage import MIN_ON_MAP, channels_on_map
from pretap_offline.trials.report import describe_counts

_PREFERRED = ("C3", "C4")  # over the motor areas of the two hands


def draw_trials(epochs: Epochs, path: Path) -> str:
    """Write a figure (.png) with a row for the slow potential, the mu power and the beta power.

    Each row shows the average of each class at two channels over time, and scalp maps: the difference between two
    classes, or the difference of each class from the mean of all. Without known electrode positions, the maps are left
    out. See `pretap_offline.trials.courses` for the quantities.

    Returns
    -------
    Notes about channels, maps and bands that a reader would not expect; may be empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picked, notes = _two_channels(epochs)
    refused = {band: why_no_power(epochs, band) for band in BANDS_HZ}
    courses = [slow_potential(epochs), *(band_power(epochs, band) for band, why in refused.items() if not why)]
    notes += filter(None, refused.values())
    known = channels_on_map(epochs.channels)
    if len(known) < MIN_ON_MAP:
        notes.append(
            f"no scalp map: positions are known for {len(known)} of {counted(len(epochs.channels), 'channel')}"
        )
        known = []
    n_maps = len(courses[0].effects(epochs.classes)) if known else 0
    figure = Figure(figsize=(3.7 * len(picked) + 2.7 * n_maps + 0.9, 2.7 * len(courses) + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    widths = [1.35] * len(picked) + [1.0] * n_maps
    rows = figure.subplots(len(courses), len(widths), squeeze=False, width_ratios=widths)
    for number, (course, axes) in enumerate(zip(courses, rows, strict=True)):
        _draw_courses(axes, epochs, course, picked, is_first=number == 0, is_last=number == len(courses) - 1)
        if n_maps:
            _draw_maps(figure, axes[len(picked) :], epochs, course, known=known, picked=picked)
    counts = np.bincount(_labels(epochs), minlength=len(epochs.classes))
    source = epochs.source if len(epochs.source) <= 60 else epochs.source[:57] + "..."
    title = f"{source}: {counted(len(epochs), 'trial')} ({describe_counts(counts, epochs.classes)})"
    figure.suptitle(title, fontsize=11, parse_math=False)
    with writing(path), replacing(path) as partial:
        figure.savefig(partial, dpi=120)
    return "; ".join(notes)


def _labels(epochs: Epochs) -> NDArray[np.int64]:
    assert epochs.labels is not None
    return epochs.labels


def _two_channels(epochs: Epochs) -> tuple[list[int], list[str]]:
    """Pick C3 and C4, or the two channels whose ends differ most between the classes (F of an ANOVA), and notes."""
    names = [canonical(name) for name in epochs.channels]
    if all(name in names for name in _PREFERRED):
        return [names.index(name) for name in _PREFERRED], []
    labels, end_uv = _labels(epochs), potential_ends(epochs)
    groups = [end_uv[labels == label] for label in np.unique(labels)]
    between = sum(len(g) * (g.mean(axis=0) - end_uv.mean(axis=0)) ** 2 for g in groups)
    within = np.asarray(sum(((g - g.mean(axis=0)) ** 2).sum(axis=0) for g in groups))  # (n_channels,)
    largest = np.argsort(-np.asarray(between) / np.maximum(within, 1e-12))[:2].tolist()
    chosen = " and ".join(epochs.channels[i] for i in largest)
    return largest, [f"no C3 and C4: the figure shows {chosen}, where the classes differ most"]


def _draw_courses(
    axes: Any, epochs: Epochs, course: Course, picked: list[int], *, is_first: bool, is_last: bool
) -> None:
    t_ms = epochs.window_end_ms - 1000 * np.arange(epochs.n_samples)[::-1] / epochs.sfreq_hz  # (n_samples,)
    low, high = float(course.low[:, :, picked].min()), float(course.high[:, :, picked].max())
    margin = 0.08 * (high - low) or 1.0
    for axis, channel in zip(axes, picked, strict=False):
        for label, name in enumerate(epochs.classes):
            axis.plot(t_ms, course.mean[label, :, channel], color=f"C{label}", label=name, linewidth=1.6)
            spread = course.low[label, :, channel], course.high[label, :, channel]
            axis.fill_between(t_ms, *spread, color=f"C{label}", alpha=0.2, linewidth=0)
        axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        # one scale for both, and space for the legend
        axis.set(xlim=t_ms[[0, -1]], ylim=(low - margin, high + margin * (4 if is_first else 1)))
        axis.spines[["top", "right"]].set_visible(False)
        if is_first:
            axis.set_title(epochs.channels[channel], parse_math=False)
            axis.legend(
                frameon=False, loc="upper left", title="mean ± SE", fontsize=8, title_fontsize=8, ncols=3,
                borderaxespad=0.0,
            )  # fmt: skip
        if is_last:
            axis.set_xlabel("time from the event (ms)")
    axes[0].set_ylabel(f"{course.name}\n({course.unit})")


def _draw_maps(figure: Any, axes: Any, epochs: Epochs, course: Course, *, known: list[int], picked: list[int]) -> None:
    import mne
    from matplotlib.patheffects import withStroke

    effects = course.effects(epochs.classes)
    info = make_info(tuple(epochs.channels[i] for i in known), sfreq_hz=epochs.sfreq_hz)
    limit = max(float(np.abs(values[known]).max()) for _, values in effects) or 1.0
    names = [epochs.channels[i] if i in picked else "" for i in known]  # only those with a time course in the figure
    image = None
    for axis, (title, values) in zip(axes, effects, strict=True):
        image, _ = mne.viz.plot_topomap(
            values[known], info, axes=axis, names=names, show=False, vlim=(-limit, limit), cmap="RdBu_r",
            sensors=True, contours=4,
        )  # fmt: skip
        for text in axis.texts:
            text.set(va="bottom", fontsize=8, path_effects=[withStroke(linewidth=2, foreground="white")])
        axis.set_title(f"{title}\n{course.span}", fontsize=9, parse_math=False)
    figure.colorbar(image, ax=axes, shrink=0.7, label=course.unit)
