"""The figure of ``pretap tune``: ``python -m pretap_offline.evaluate.tradeoff_figure RESULT.json FIGURE``.

The live side runs this in a separate process, because it may not import matplotlib.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretap.extras import import_extra
from pretap_offline.figure_style import COLOURS, STYLE, draw_from_json, save

_COLOURS = {"report": COLOURS[0], "tuned": COLOURS[7]}
_NAMES = {"report": "the rest of the recording", "tuned": "the part used for tuning"}


def draw_tradeoff(result: dict[str, Any], path: Path) -> None:
    """Draw hits, lead time and bits against false activations, or wrong commands, per minute.

    `result` is the decoded JSON of `pretap tune`.

    Raises
    ------
    UsageError
        If the file cannot be written, or Matplotlib does not know its suffix.
    """
    rc_context = import_extra("matplotlib", needed_by="The figure").rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    limited = result["limited"]
    panels: list[tuple[str, Callable[[dict[str, Any]], float]]] = [
        ("hits, % of the events", lambda o: 100 * o["n_hits"] / max(1, o["n_events"])),
        ("bits per minute (Wolpaw)", lambda o: o["bits_per_min"]),
    ]
    if limited == "false_per_min":
        panels.insert(1, ("lead before the event, ms (median)", lambda o: _or_nan(o["lead_ms"])))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.3 * len(panels), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        for axis, (name, value) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            for part, marker in (("tuned", "o--"), ("report", "o-")):
                points = sorted((each[part][limited], value(each[part])) for each in result["front"])
                fill = _COLOURS[part] if part == "report" else "white"
                axis.plot(
                    *zip(*points, strict=True), marker, color=_COLOURS[part], markerfacecolor=fill, markersize=4.5,
                    linewidth=1, label=_NAMES[part],
                )  # fmt: skip
            chosen = result["chosen"]["report"]
            axis.plot(
                chosen[limited], value(chosen), "*", color=COLOURS[1], markersize=12, zorder=3, label="chosen setting"
            )
            axis.axvline(result["max_per_min"], color="0.7", linewidth=1, linestyle=":", label="the limit")
            axis.set_xscale("symlog", linthresh=1.0, linscale=0.5)
            ticks = [0, 1, 2, 5, 10, 20, 50, 100]
            axis.set_xticks(ticks, [str(each) for each in ticks])
            axis.minorticks_off()
            highest = max(each[part][limited] for each in result["front"] for part in _NAMES)
            axis.set(xlim=(-0.05, 1.2 * max(1.0, highest, result["max_per_min"])), ylim=(0, None), title=name)
        name = "false activations per minute of pause" if limited == "false_per_min" else "wrong commands per minute"
        figure.supxlabel(name, fontsize=9)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
        save(figure, path)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


if __name__ == "__main__":
    sys.exit(draw_from_json(draw_tradeoff, *sys.argv[1:]))
