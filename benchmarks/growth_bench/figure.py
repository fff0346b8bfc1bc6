"""Figure of the growth: a panel for each parameter, with the share of a core on a logarithmic axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

__all__ = ["draw"]

Row = dict[str, Any]
_COLOURS = {"lstm": "#0072b2", "lrp-erd": "#d55e00", "one process": "#d55e00", "a process each": "#0072b2"}
_TITLES = {
    "channels": "channels",
    "rate": "rate in Hz (500 ms window)",
    "window": "window in s",
    "hidden": "hidden units a layer",
    "hop": "hop in samples",
    "members": "members",
}
_FAR = 30.0  # draw an extrapolation up to this multiple of the largest measured size


def draw(rows: list[Row], limits: list[Row], streams: list[Row], file: Path, *, note: str) -> None:
    """Draw one panel for each axis, and two for the streams."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    axes_names = list(dict.fromkeys(row["axis"] for row in rows))
    n_panels = len(axes_names) + 2 * bool(streams)
    n_columns = min(4, n_panels)
    n_lines = -(-n_panels // n_columns)
    figure, grid = plt.subplots(
        n_lines, n_columns, figsize=(3.1 * n_columns, 0.6 + 2.6 * n_lines), squeeze=False, layout="constrained"
    )
    panels = list(grid.flat)
    for panel, axis in zip(panels, axes_names, strict=False):
        _cost(panel, axis, [r for r in rows if r["axis"] == axis], [r for r in limits if r["axis"] == axis])
    if streams:
        _streams(panels[len(axes_names)], panels[len(axes_names) + 1], streams)
    for panel in panels[n_panels:]:
        panel.set_axis_off()
    for panel in panels[:n_panels]:
        panel.tick_params(labelsize=8)
        panel.grid(color="#e5e5e5", lw=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(note, fontsize=8, x=0.01, ha="left")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _cost(panel: Any, axis: str, rows: list[Row], limits: list[Row]) -> None:
    panel.axhline(1.0, color="#999999", lw=1, ls=":")
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        sizes, loads = [row["size"] for row in own], [row["load"] for row in own]
        panel.plot(sizes, loads, "o-", color=_COLOURS[network], ms=3.5, lw=1.3, label=network)
        limit = next((r["limit"] for r in limits if r["network"] == network and r["extrapolated"]), None)
        if limit and limit <= _FAR * sizes[-1]:
            panel.plot([sizes[-1], limit], [loads[-1], 1.0], "--", color=_COLOURS[network], lw=0.9)
    _logarithmic(panel, x=True)
    _logarithmic(panel, x=False)
    panel.set_title(f"share of a core, by {_TITLES[axis]}", fontsize=8.5, loc="left")
    panel.legend(fontsize=7, frameon=False)


def _streams(latency: Any, cpu: Any, streams: list[Row]) -> None:
    for way in dict.fromkeys(row["way"] for row in streams):
        own = [row for row in streams if row["way"] == way]
        n = [row["streams"] for row in own]
        for key, style in (("p50_ms", "o-"), ("p99_ms", "^--")):
            label = f"{way}, {key.removesuffix('_ms')}"
            latency.plot(n, [row[key] for row in own], style, color=_COLOURS[way], ms=3.5, lw=1.3, label=label)
        cpu.plot(n, [row["cpu"] for row in own], "o-", color=_COLOURS[way], ms=3.5, lw=1.3, label=way)
    cpu.axhline(1.0, color="#999999", lw=1, ls=":")
    for panel, title in ((latency, "latency in ms, by streams served"), (cpu, "share of a core, by streams served")):
        _logarithmic(panel, x=True)
        _logarithmic(panel, x=False)
        panel.set_title(title, fontsize=8.5, loc="left")
        panel.legend(fontsize=7, frameon=False)


def _logarithmic(panel: Any, *, x: bool) -> None:
    (panel.set_xscale if x else panel.set_yscale)("log")
    axis = panel.xaxis if x else panel.yaxis
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = panel.get_xlim() if x else panel.get_ylim()
    if high < 10 * low:
        axis.set_minor_formatter(mpl.ticker.LogFormatter(minor_thresholds=(1.5, 0.6)))
        axis.set_tick_params(which="minor", labelsize=7)
    else:
        axis.set_minor_formatter(mpl.ticker.NullFormatter())
