"""Figure of the trials: class averages at two channels, and scalp maps. Used by ``pretap train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.files import writing
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import make_info
from pretap.signal.channels import canonical
from pretap_offline.trials.montage import MIN_ON_MAP, channels_on_map
from pretap_offline.trials.report import describe_counts

_PREFERRED = ("C3", "C4")  # over the motor areas of the two hands
_BASELINE_MS, _END_MS = 100.0, 50.0  # averaged at the start and at the end of the window


def draw_trials(epochs: Epochs, path: Path) -> str:
    """Write a figure (.png): the average potential of each class at two channels, and scalp maps of the window's end.

    The potential is relative to the mean of the first 100 ms of the window. The map shows the last 50 ms: the
    difference between two classes, or the difference of each class from the mean of all. Without known electrode
    positions, the map is left out.

    Returns
    -------
    Notes about channels and maps that a reader would not expect; may be empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mean_uv, error_uv, end_uv = _averages(epochs)
    picked, notes = _two_channels(epochs, end_uv)
    effects = _effects(epochs, end_uv)  # (title, (n_channels,) uV)
    known = channels_on_map(epochs.channels)
    if len(known) < MIN_ON_MAP:
        notes.append(f"no scalp map: {len(known)} of {len(epochs.channels)} channels have a known position")
        effects = []
    n_columns = len(picked) + len(effects)
    figure = Figure(figsize=(3.6 * n_columns + 0.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, n_columns, squeeze=False)[0]
    low_uv = float((mean_uv - error_uv)[:, :, picked].min())
    high_uv = float((mean_uv + error_uv)[:, :, picked].max())
    margin_uv = 0.08 * (high_uv - low_uv) or 1.0
    for axis, channel in zip(axes, picked, strict=False):
        _draw_course(axis, epochs, mean_uv[:, :, channel], error_uv[:, :, channel], channel=channel)
        axis.set_ylim(low_uv - margin_uv, high_uv + 2 * margin_uv)  # one scale for both, and space for the legend
    if effects:
        _draw_maps(figure, axes[len(picked) :], epochs, effects, known=known, picked=picked)
    counts = np.bincount(_labels(epochs), minlength=len(epochs.classes))
    source = epochs.source if len(epochs.source) <= 60 else epochs.source[:57] + "..."
    figure.suptitle(f"{source}: {len(epochs)} trials ({describe_counts(counts, epochs.classes)})", fontsize=11)
    with writing(path):
        figure.savefig(path, dpi=120)
    return "; ".join(notes)


def _labels(epochs: Epochs) -> NDArray[np.int64]:
    assert epochs.labels is not None
    return epochs.labels


def _averages(epochs: Epochs) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard error of each class (n_classes, n_samples, n_channels), and the end of each trial.

    The ends (n_epochs, n_channels) are the mean of the last 50 ms in microvolts, relative to the baseline.
    """
    labels = _labels(epochs)
    n_base = min(epochs.n_samples, max(1, round(_BASELINE_MS / 1000 * epochs.sfreq_hz)))
    n_end = min(epochs.n_samples, max(1, round(_END_MS / 1000 * epochs.sfreq_hz)))
    shape = (len(epochs.classes), epochs.n_samples, len(epochs.channels))
    mean, error = np.zeros(shape), np.zeros(shape)
    end = np.zeros((len(epochs), len(epochs.channels)))
    for label in range(len(epochs.classes)):
        members = labels == label
        if not members.any():
            continue
        x = epochs.x_uv[members].astype(np.float64)  # (n_members, n_samples, n_channels), one class at a time
        x -= x[:, :n_base].mean(axis=1, keepdims=True)
        mean[label] = x.mean(axis=0)
        error[label] = x.std(axis=0) / np.sqrt(len(x))
        end[members] = x[:, -n_end:].mean(axis=1)
    return mean, error, end


def _two_channels(epochs: Epochs, end_uv: NDArray[np.float64]) -> tuple[list[int], list[str]]:
    """Pick C3 and C4, or the two channels whose ends differ most between the classes (F of an ANOVA), and notes."""
    names = [canonical(name) for name in epochs.channels]
    if all(name in names for name in _PREFERRED):
        return [names.index(name) for name in _PREFERRED], []
    labels = _labels(epochs)
    groups = [end_uv[labels == label] for label in np.unique(labels)]
    between = sum(len(g) * (g.mean(axis=0) - end_uv.mean(axis=0)) ** 2 for g in groups)
    within = np.asarray(sum(((g - g.mean(axis=0)) ** 2).sum(axis=0) for g in groups))  # (n_channels,)
    largest = np.argsort(-np.asarray(between) / np.maximum(within, 1e-12))[:2].tolist()
    chosen = " and ".join(epochs.channels[i] for i in largest)
    return largest, [f"no C3 and C4: the figure shows {chosen}, where the classes differ most"]


def _effects(epochs: Epochs, end_uv: NDArray[np.float64]) -> list[tuple[str, NDArray[np.float64]]]:
    labels = _labels(epochs)
    means = [end_uv[labels == label].mean(axis=0) for label in range(len(epochs.classes))]  # (n_channels,) each
    if len(means) == 2:
        return [(f"{epochs.classes[1]} minus {epochs.classes[0]}", means[1] - means[0])]
    overall = np.mean(means, axis=0)
    return [(f"{name} minus mean of all", mean - overall) for name, mean in zip(epochs.classes, means, strict=True)]


def _draw_course(axis: Any, epochs: Epochs, mean_uv: Any, error_uv: Any, *, channel: int) -> None:
    last_ms = epochs.window_end_ms
    t_ms = last_ms - 1000 * np.arange(epochs.n_samples)[::-1] / epochs.sfreq_hz  # (n_samples,)
    for label, name in enumerate(epochs.classes):
        axis.plot(t_ms, mean_uv[label], color=f"C{label}", label=name, linewidth=1.6)
        low, high = mean_uv[label] - error_uv[label], mean_uv[label] + error_uv[label]
        axis.fill_between(t_ms, low, high, color=f"C{label}", alpha=0.2, linewidth=0)
    axis.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axis.set(
        title=epochs.channels[channel], xlabel="time from the event (ms)", ylabel="potential (µV)", xlim=t_ms[[0, -1]]
    )
    axis.legend(frameon=False, loc="best", title="mean ± SE", fontsize=9, title_fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_maps(
    figure: Any, axes: Any, epochs: Epochs, effects: list[tuple[str, Any]], *, known: list[int], picked: list[int]
) -> None:
    import mne
    from matplotlib.patheffects import withStroke

    info = make_info(tuple(epochs.channels[i] for i in known), sfreq_hz=epochs.sfreq_hz)
    limit_uv = max(float(np.abs(values[known]).max()) for _, values in effects) or 1.0
    names = [epochs.channels[i] if i in picked else "" for i in known]  # only those with a time course in the figure
    image = None
    for axis, (title, values) in zip(axes, effects, strict=True):
        image, _ = mne.viz.plot_topomap(
            values[known], info, axes=axis, names=names, show=False, vlim=(-limit_uv, limit_uv), cmap="RdBu_r",
            sensors=True, contours=4,
        )  # fmt: skip
        for text in axis.texts:
            text.set(va="bottom", fontsize=9, path_effects=[withStroke(linewidth=2, foreground="white")])
        axis.set_title(f"{title}\nlast {_END_MS:g} ms of the window")
    figure.colorbar(image, ax=axes, shrink=0.6, label="µV")
