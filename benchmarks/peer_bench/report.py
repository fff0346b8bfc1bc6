"""Medians, ratios of rounds, and the limits that they are compared with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from peer_bench.systems import PEERS

__all__ = ["judge", "medians", "print_report", "ratios"]

Row = dict[str, Any]
_COSTS = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "cpu", "rss_mb", "start_s")
_FIGURES = (*_COSTS, "expected", "missed", "wrong", "misplaced")
_METRICS = {"p50": "p50_ms", "cpu": "cpu", "rss": "rss_mb", "start": "start_s"}
_AGAINST = {"echo": ("echo",), "best-peer": PEERS, "loop-onnxruntime": ("loop-onnxruntime",)}
_MAX_RSS_MB = 60.0


def _cells(rows: Iterable[Row]) -> list[tuple[int, int]]:
    return list(dict.fromkeys((row["hop"], row["chunk"]) for row in rows))


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def medians(rows: list[Row]) -> list[Row]:
    """Return one row for each system and cell: the medians over the rounds."""
    keys = dict.fromkeys((row["hop"], row["chunk"], row["system"]) for row in rows)
    summary = []
    for hop, chunk, system in keys:
        own = [row for row in rows if (row["hop"], row["chunk"], row["system"]) == (hop, chunk, system)]
        figures = {name: _median(row[name] for row in own) for name in _FIGURES}
        summary.append({"system": system, "hop": hop, "chunk": chunk, "rounds": len(own)} | figures)
    return summary


def ratios(rows: list[Row]) -> list[Row]:
    """Return the median over the rounds of pretap's figure divided by the opponent's, for each cell and opponent.

    ``best-peer`` is the lowest of mne-lsl, ezmsg and timeflux, separately for each figure and round. None means that
    pretap made no decision.
    """
    return [{key: None if value == math.inf else value for key, value in row.items()} for row in _ratios(rows)]


def _ratios(rows: list[Row]) -> list[Row]:
    found = []
    for hop, chunk in _cells(rows):
        cell = [row for row in rows if (row["hop"], row["chunk"]) == (hop, chunk)]
        for against, systems in _AGAINST.items():
            ratio = {name: _median(_per_round(cell, systems, key)) for name, key in _METRICS.items()}
            if any(value is not None for value in ratio.values()):
                found.append({"hop": hop, "chunk": chunk, "against": against} | ratio)
    return found


def _per_round(cell: list[Row], systems: tuple[str, ...], key: str) -> list[float]:
    values = []
    for number in sorted({row["round"] for row in cell}):
        own = {row["system"]: row[key] for row in cell if row["round"] == number}
        others = [own[system] for system in systems if own.get(system)]
        if "pretap" in own and others:
            values.append(math.inf if own["pretap"] is None else round(own["pretap"] / min(others), 4))
    return values


def _bars(hop: int, chunk: int, against: str) -> dict[str, float]:
    """Return the largest ratio allowed (issue 5)."""
    if against == "echo":
        p50 = {} if hop == 1 else {"p50": 1.25}
        if hop == 1 and chunk in (1, 10):
            p50 = {"p50": 1.3 if chunk == 1 else 1.6}
        return p50 if hop == 1 else p50 | {"cpu": 2.0}
    if against == "best-peer":
        fast = {"p50": 0.25, "cpu": 0.35} if hop == 1 else {"p50": 0.3, "cpu": 0.3}
        return fast | {"rss": 0.2, "start": 0.33}
    return dict.fromkeys(_METRICS, 1.0)


def judge(rows: list[Row]) -> list[Row]:
    """Compare the ratios and pretap's own figures with their limits: rows of cell, what, value, limit and passed.

    A system with wrong decisions is not comparable, so that limit applies to all of them.
    """
    verdicts = []
    for ratio in _ratios(rows):
        bars = _bars(ratio["hop"], ratio["chunk"], ratio["against"])
        for metric, bar in bars.items():
            if (value := ratio[metric]) is not None:
                is_lower = value < bar or (value == bar and ratio["against"] != "loop-onnxruntime")
                verdicts.append(_verdict(ratio, f"{metric} / {ratio['against']}", value, bar, passed=is_lower))
    for hop, chunk in _cells(rows):
        n_wrong = sum(row["wrong"] for row in rows if (row["hop"], row["chunk"]) == (hop, chunk))
        cell = {"hop": hop, "chunk": chunk}
        verdicts.append(_verdict(cell, "wrong, all rounds and systems", n_wrong, 0, passed=n_wrong == 0))
    own = [row for row in rows if row["system"] == "pretap"]
    for hop, chunk in _cells(own):
        cell = [row for row in own if (row["hop"], row["chunk"]) == (hop, chunk)]
        for what in ("missed", "misplaced"):
            n = sum(row[what] for row in cell)
            verdicts.append(_verdict(cell[0], f"{what}, all rounds", n, 0, passed=n == 0))
        rss_mb = max(row["rss_mb"] for row in cell)
        verdicts.append(_verdict(cell[0], "rss_mb, highest", rss_mb, _MAX_RSS_MB, passed=rss_mb <= _MAX_RSS_MB))
    return verdicts


def _verdict(cell: Row, what: str, value: float, bar: float, *, passed: bool) -> Row:
    known = None if value == math.inf else value
    return {"hop": cell["hop"], "chunk": cell["chunk"], "what": what, "value": known, "bar": bar, "passed": passed}


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"


def print_report(rows: list[Row], failures: list[Row]) -> None:
    """Print the medians and the verdicts."""
    console = Console(width=None if Console().is_terminal else 140)
    table = Table("hop", "chunk", "system", *_FIGURES, title="medians over the rounds", title_justify="left")
    for row in medians(rows):
        table.add_row(*(str(row[key]) for key in ("hop", "chunk", "system")), *(_text(row[key]) for key in _FIGURES))
    console.print(table)
    bars = Table("hop", "chunk", "pretap's", "value", "bar", "", title="against the bars", title_justify="left")
    for verdict in judge(rows):
        name, passed = ("pass", "green") if verdict["passed"] else ("FAIL", "red")
        cells = (str(verdict["hop"]), str(verdict["chunk"]), verdict["what"], _text(verdict["value"]))
        bars.add_row(*cells, _text(verdict["bar"]), f"[{passed}]{name}[/]")
    if bars.row_count:
        console.print(bars)
    for failure in failures:
        where = f"{failure['system']}, hop {failure['hop']}, chunk {failure['chunk']}, round {failure['round']}"
        console.print(f"FAILED {where}: {failure['why']}", style="red", markup=False)
