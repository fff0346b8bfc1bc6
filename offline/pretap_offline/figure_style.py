"""Colours and Matplotlib settings of the figures. Used by `evaluate.tradeoff_figure` and `lab.report`."""

from __future__ import annotations

from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's colours, readable with colour blindness."""
STYLE: Any = {  # names defined by Matplotlib
    "text.parse_math": False,  # names are not formulas
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "pretap",  # equal figures produce equal bytes
}
