"""The table of measured faults that ``--faults-report FILE`` writes."""

from __future__ import annotations

import datetime
import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Row", "write"]

_INTRO = """# What happens when things go wrong

Each row is a test of `tests/faults/`: a fault, injected into real processes on real liblsl, what must happen, and what
happened. `make faults` runs them all and writes this page. A test fails if the row is not true, except for its times:
those depend on the machine, so a row that took too long is marked here and fails no test.

{when}
"""


@dataclass(frozen=True)
class Row:
    """One claim: where its test stands, whether it held, and whether it did so in the time that it names."""

    file: str
    heading: str
    line: int
    test: str
    fault: str
    required: str
    figure: str
    held: bool
    in_time: bool


def write(path: Path, rows: list[Row], *, seconds: float, version: str) -> None:
    """Write the page, the rows in the order of the tests."""
    when = (
        f"Measured {datetime.datetime.now(datetime.UTC):%Y-%m-%d} by `make faults` in {seconds:.0f} s, with {version} "
        f"on {platform.system()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {len(rows)} claims, "
        f"{sum(row.held and row.in_time for row in rows)} held."
    )
    lines = [_INTRO.format(when=when)]
    heading = None
    for row in sorted(rows, key=lambda row: (row.file, row.line, row.test)):
        if row.heading != heading:
            heading = row.heading
            lines += ["", f"## {heading}", "", "| fault | what must happen | measured |", "|---|---|---|"]
        mark = "**FAILED** " if not row.held else "" if row.in_time else "**TOO SLOW** "
        cells = [row.fault, row.required, mark + row.figure]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    path.write_text("\n".join(lines).replace("\n\n\n", "\n\n") + "\n", encoding="utf-8")
