"""Figure of the latencies: a panel for each cell, a line for each system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from peer_bench.report import medians
from peer_bench.systems import SYSTEMS

__all__ = ["draw"]

# The palette of Okabe and Ito, which colour-blind readers can distinguish; the points are labelled too.
_COLOURS = {
    "echo": "#7f7f7f",
    "pretap": "#d55e00",
    "loop-torch": "#56b4e9",
    "loop-onnxruntime": "#0072b2",
    "mne-lsl": "#009e73",
    "ezmsg": "#cc79a7",
    "timeflux": "#e69f00",
}


def draw(rows: list[dict[str, Any]], file: Path, *, note: str) -> None:
    """Draw the medians over the rounds: p50 as a point, a line from there to p99, on one logarithmic axis."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    summary = medians(rows)
    hops = list(dict.fromkeys(row["hop"] for row in summary))
    chunks = list(dict.fromkeys(row["chunk"] for row in summary))
    systems = [name for name in SYSTEMS if any(row["system"] == name for row in summary)]
    figure, axes = plt.subplots(
        len(hops),
        len(chunks),
        figsize=(1.4 + 3.0 * len(chunks), 1.2 + (0.5 + 0.24 * len(systems)) * len(hops)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for i, hop in enumerate(hops):
        for k, chunk in enumerate(chunks):
            cell = [row for row in summary if (row["hop"], row["chunk"]) == (hop, chunk)]
            _panel(axes[i][k], cell, systems)
            axes[i][k].set_title(f"hop {hop}, chunk {chunk}", fontsize=9, loc="left")
    for axis in axes[-1]:
        axis.set_xlabel("latency in ms: p50, and to p99", fontsize=8)
    figure.suptitle(note, fontsize=8, x=0.01, ha="left")
    figure.savefig(file)
    plt.close(figure)


def _panel(axis: Any, cell: list[dict[str, Any]], systems: list[str]) -> None:
    for row in cell:
        y, colour = systems.index(row["system"]), _COLOURS[row["system"]]
        if row["p50_ms"] is None:
            axis.text(0.5, y, "nothing came in time", transform=axis.get_yaxis_transform(), fontsize=6.5, ha="center")
            continue
        axis.plot([row["p50_ms"], row["p99_ms"]], [y, y], color=colour, lw=1.5, marker="|", ms=6, markevery=[1])
        axis.plot(row["p50_ms"], y, "o", color=colour, ms=5)
        missed = "" if not row["missed"] else f"  missed {row['missed'] / row['expected']:.1%}"
        axis.annotate(
            f"{row['p50_ms']:.3g}{missed}",
            (row["p50_ms"], y),
            xytext=(0, 4),
            textcoords="offset points",
            fontsize=6.5,
            ha="center",
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_yticks(range(len(systems)), systems)
    axis.set_ylim(len(systems) - 0.5, -0.8)
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
