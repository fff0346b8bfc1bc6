"""Colours and Matplotlib settings of the figures, and how the figure of another process's result is written.

Used by `train`, `evaluate.tradeoff_figure`, `evaluate.latency_figure` and `lab.report`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pretap.errors import PretapError, UsageError
from pretap.files import replacing, writing

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


def not_drawn(figure: str, error: Exception) -> str:
    """Return the sentence about a figure that failed; no figure ends the work that it illustrates."""
    reason = " ".join(str(error).split())[:200]
    return f"{figure} could not be drawn ({type(error).__name__}: {reason}). No result depends on it."


def save(figure: Any, path: Path) -> None:
    """Write a Matplotlib figure; raise UsageError if that fails, or Matplotlib does not know the suffix."""
    try:
        with writing(path), replacing(path) as partial:
            figure.savefig(partial, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    except ValueError as error:
        raise UsageError(f"Cannot write {path}: {error}.") from None


def draw_from_json(draw: Callable[[dict[str, Any], Path], None], file: str, figure: str) -> int:
    """Draw the figure of a result in a JSON file, and return the exit code.

    The live side runs this in a process of its own, because it may not import Matplotlib.
    """
    try:
        draw(json.loads(Path(file).read_bytes()), Path(figure))
    except PretapError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - Matplotlib raises anything
        sys.stderr.write(f"Error: {not_drawn(figure, error)}\n")
        return UsageError.exit_code
    return 0
