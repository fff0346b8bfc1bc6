"""Plots of the report as SVG, with colours and markers that also differ for colour-blind readers. Used by `write`."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap_offline.evaluate.metrics import draw_labels, equal_mass_bins
from pretap_offline.figure_style import COLOURS, STYLE
from pretap_offline.lab.report.page import printable
from pretap_offline.lab.results import Outcome, Permutations

_MARKERS = "osD^vPX*"
_N_DRAWS = 1000
_MAX_NAME = 40  # characters


def accuracies(outcomes: Sequence[Outcome], *, chance: float, published: Mapping[str, float]) -> bytes:
    """Draw the accuracy of each decoder with Wilson's interval, its repeats as ticks, and reference lines."""
    from matplotlib.patheffects import withStroke

    halo = withStroke(linewidth=2.5, foreground="white")  # keeps names readable on lines

    def draw(axis: Any) -> None:
        lowest = min(chance, *(each.figures.accuracy_ci95[0] for each in outcomes))
        highest = max(*published.values(), *(each.figures.accuracy_ci95[1] for each in outcomes), 0.0)
        limits = (max(0.0, lowest - 0.03), min(1.01, highest + 0.03))
        for row, each in enumerate(outcomes):
            low, high = each.figures.accuracy_ci95
            axis.plot([low, high], [row, row], color=COLOURS[0], linewidth=2, solid_capstyle="butt")
            axis.plot(each.figures.accuracies, [row] * len(each.figures.accuracies), "|", color="0.35", markersize=7)
            axis.plot(each.figures.accuracy, row, "o", color=COLOURS[0], markersize=7)
            # aligned so that a long name extends into the wider half
            x, side = (high, "right") if low + high > sum(limits) else (low, "left")
            label = f"{_short(each.name)}  {each.figures.accuracy:.3f}"
            axis.text(x, row - 0.22, label, ha=side, va="bottom", fontsize=8.5, path_effects=[halo])
        axis.axvline(chance, color="0.6", linewidth=1, label=f"always the larger class ({chance:.2f})")
        for (name, accuracy), dash, colour in zip(published.items(), ("--", ":", "-."), COLOURS[1:], strict=False):
            axis.axvline(accuracy, color=colour, linestyle=dash, linewidth=1.3, label=name)
        axis.set(ylim=(len(outcomes) - 0.5, -0.8), yticks=[], xlabel="accuracy", xlim=limits)
        axis.spines["left"].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.9 / (len(outcomes) + 0.8)))

    return _svg(draw, size=(4.7, 1.4 + 0.45 * len(outcomes) + 0.15 * len(published)))


def confidence_bins(
    labels: NDArray[np.int64], probs: NDArray[np.float64], *, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Bin predictions (n_repeats, n_trials, n_classes) by the probability of the predicted class.

    Returns
    -------
    (n_bins, 4): mean probability, share correct, and the 95 % range of that share for a perfectly calibrated decoder.
    For the range, labels are drawn from the probabilities, as in `pretap_offline.evaluate.metrics.calibration_p`.
    """
    confidence, predicted = probs.max(axis=2).ravel(), probs.argmax(axis=2)  # (n_repeats * n_trials,)
    right = (predicted == labels).ravel()
    drawn = rng.random((_N_DRAWS, len(labels), 1))
    simulated = np.stack(
        [draw_labels(drawn, each) == own for each, own in zip(probs, predicted, strict=True)], axis=1
    ).reshape(_N_DRAWS, -1)  # (n_draws, n_repeats * n_trials)
    return np.array(
        [
            (confidence[run].mean(), right[run].mean(), *np.quantile(simulated[:, run].mean(axis=1), (0.025, 0.975)))
            for run in equal_mass_bins(confidence)
        ]
    )


def reliability(bins: NDArray[np.float64], probs: NDArray[np.float64], *, large: bool) -> bytes:
    """Draw the share correct against the probability, with the range of a calibrated decoder and a histogram."""
    from matplotlib.ticker import MaxNLocator

    lowest = 1 / probs.shape[2]

    def draw(figure: Any) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        top.fill_between(
            bins[:, 0], bins[:, 2], bins[:, 3], color="0.85", linewidth=0, label="calibrated: 95 % of draws"
        )
        top.plot([lowest, 1], [lowest, 1], color="0.5", linewidth=1)
        top.plot(bins[:, 0], bins[:, 1], "o-", color=COLOURS[0], markersize=5 if large else 4, label="this decoder")
        top.set(ylabel="share correct", ylim=(max(0.0, min(lowest, bins[:, 1:3].min()) - 0.04), 1.02))
        top.legend(frameon=False, fontsize=8, loc="lower right")
        n_repeats = len(probs)
        confidence = probs.max(axis=2).ravel()
        weights = np.full(len(confidence), 1 / n_repeats)
        bottom.hist(confidence, bins=np.linspace(lowest, 1, 21), weights=weights, color=COLOURS[5])
        bottom.set(xlabel="probability of the predicted class", ylabel="trials", xlim=(lowest - 0.01, 1.01))
        bottom.yaxis.set_major_locator(MaxNLocator(2, integer=True))

    return _svg(draw, size=(4.6, 4.4) if large else (3.5, 3.6), axes=False)


def learning_curves(outcomes: Sequence[Outcome]) -> bytes:
    """Draw accuracy against the number of training trials, with Wilson's interval."""
    n_max = max(point.n_trials for each in outcomes for point in each.learning_curve)

    def draw(axis: Any) -> None:
        for number, each in enumerate(outcomes):
            curve = each.learning_curve
            n = np.array([point.n_trials for point in curve]) + n_max * 0.008 * (number - (len(outcomes) - 1) / 2)
            y = np.array([point.accuracy for point in curve])
            error = np.abs(np.array([point.accuracy_ci95 for point in curve]).T - y)
            axis.errorbar(
                n, y, error, color=COLOURS[number % 8], marker=_MARKERS[number % 8], markersize=5, capsize=2,
                elinewidth=1, linestyle=("-", "--", ":")[number // 8 % 3], label=_short(each.name),
            )  # fmt: skip
        axis.set(xlabel="training trials", ylabel="accuracy", xlim=(0, None))
        axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.16))

    return _svg(draw, size=(4.7, 3.2 + 0.2 * len(outcomes)))


def permutations(found: Permutations, accuracy: float) -> bytes:
    """Draw a histogram of the accuracies on permuted labels, and the accuracy on the true labels."""

    def draw(axis: Any) -> None:
        low, high = min(found.accuracies), max(found.accuracies)
        width = max(0.01, (high - low) / 20)
        axis.hist(found.accuracies, bins=np.arange(low - width / 2, high + width, width), color=COLOURS[5])
        axis.axvline(accuracy, color=COLOURS[1], linewidth=2)
        axis.annotate(
            f"true labels {accuracy:.3f}", (accuracy, 0.97), xycoords=("data", "axes fraction"), xytext=(-4, 0),
            textcoords="offset points", ha="right", va="top", color=COLOURS[1], fontsize=8.5,
        )  # fmt: skip
        axis.set(xlabel="accuracy", ylabel="permutations")
        axis.yaxis.get_major_locator().set_params(integer=True)

    return _svg(draw, size=(3.5, 2.3))


def training(losses: NDArray[np.float64], *, n_classes: int) -> bytes:
    """Draw the loss on the training trials (n_fits, n_epochs): mean, and 10th to 90th percentile of the fits.

    The dashed line is the loss of guessing.
    """

    def draw(axis: Any) -> None:
        epoch = np.arange(1, losses.shape[1] + 1)
        low, high = np.quantile(losses, (0.1, 0.9), axis=0)
        axis.fill_between(epoch, low, high, color=COLOURS[5], alpha=0.4, linewidth=0)
        axis.plot(epoch, losses.mean(axis=0), color=COLOURS[0], marker="o" if len(epoch) == 1 else None)
        axis.axhline(np.log(n_classes), color="0.6", linewidth=1, linestyle="--")
        axis.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))

    return _svg(draw, size=(3.5, 2.3))


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _svg(draw: Callable[[Any], None], *, size: tuple[float, float], axes: bool = True) -> bytes:
    import warnings

    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # letters that the font lacks appear as boxes
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot() if axes else figure)
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return picture.getvalue()
