"""The figure of ``pretap latency``: ``python -m pretap_offline.evaluate.latency_figure RESULT.json FIGURE``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pretap.extras import import_extra
from pretap_offline.figure_style import COLOURS, STYLE, draw_from_json, save


def draw_delays(result: dict[str, Any], path: Path) -> None:
    """Draw a histogram of the delay from the markers to the light, and one of the whole loop if it was measured.

    `result` is the decoded JSON of `pretap latency --analyse`.

    Raises
    ------
    UsageError
        If the file cannot be written, or Matplotlib does not know its suffix.
    """
    rc_context = import_extra("matplotlib", needed_by="The figure").rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [("from the marker to the light", result["markers"])]
    if result["loop"] is not None:
        panels.append(("from the decision's last sample to the light", result["loop"]))
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axis, (name, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            delay = found["delay"]
            bins = delay["histogram"]
            axis.bar(
                [each["from_ms"] for each in bins], [each["n"] for each in bins], delay["bin_ms"], align="edge",
                color=COLOURS[0],
            )  # fmt: skip
            axis.axvline(delay["p50_ms"], color=COLOURS[1], linewidth=1)
            axis.set_title(f"{name}\nmedian {delay['p50_ms']:.1f} ms, sd {delay['sd_ms']:.1f} ms, n = {delay['n']}")
            axis.set_xlabel("delay, ms")
        save(figure, path)


if __name__ == "__main__":
    sys.exit(draw_from_json(draw_delays, *sys.argv[1:]))
