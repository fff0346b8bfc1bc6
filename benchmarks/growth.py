"""Measure the cost of a decoder as it grows, and how many streams one machine can serve.

    python benchmarks/growth.py --json growth.json --figure growth.svg [--only channels,streams --seconds 1]

One parameter grows at a time; the others stay at 28 channels, 1000 Hz, 500 samples and hop 50. The networks are an LSTM
10-10-5 that reads every sample (`lstm`), and one like the shipped bundles, decimated to 100 Hz (`lrp-erd`). They have
random weights and compiled lanes, and receive chunks of 10. `us_sample` is the total processor time of a sample, `load`
the share of a core that the stream takes, and `slope` the slope of the load between the two largest sizes on
logarithmic axes: 1 is proportional. The limit is the size at which one core is full. Beyond the measured sizes it is
extrapolated with the slope or the order of the computation, whichever is larger, because the constant part of a cost
flattens the slope and would put the limit too high.

The second part measures streams with a real `pretap serve`. Each decoder has its own stream of 28 channels at 1 kHz in
chunks of 10, all in one process or each in its own. Source and receiver run on the same machine.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from growth_bench.figure import draw
from growth_bench.streams import StreamsError, Way, serve_streams
from random_networks import Bundle, random_lrp_erd, random_tutorial

from pretap.bundle.shipped import find_bundle
from pretap.decoder.compiled import active_variant

Row = dict[str, Any]
_CHUNK = 10
_HOP_S, _WINDOW_S, _SFREQ_HZ = 0.05, 0.5, 1000.0
_MAKERS: dict[str, Callable[..., Bundle]] = {"lstm": random_tutorial, "lrp-erd": random_lrp_erd}


@dataclass(frozen=True)
class Axis:
    """A parameter that grows: its sizes, the network and the hop of each size, and the order of its cost."""

    name: str
    sizes: tuple[float, ...]
    make: Callable[[str, float], Bundle]
    hop: Callable[[float], int] = lambda _: round(_HOP_S * _SFREQ_HZ)
    order: float = 1.0


def _with_rate(network: str, sfreq_hz: float) -> Bundle:
    return _MAKERS[network](sfreq_hz=sfreq_hz, n_window=round(_WINDOW_S * sfreq_hz))


def _with_hidden(network: str, n: float) -> Bundle:
    return _MAKERS[network](hidden=(int(n), int(n), int(n) // 2) if network == "lstm" else int(n))


AXES = (
    Axis("channels", (8, 16, 32, 64, 128, 256), lambda network, n: _MAKERS[network](n_channels=int(n))),
    Axis("rate", (100, 250, 500, 1000, 2000, 5000), _with_rate, lambda sfreq_hz: round(_HOP_S * sfreq_hz)),
    Axis(
        "window", (0.1, 0.2, 0.5, 1, 2, 5), lambda network, size_s: _MAKERS[network](n_window=round(size_s * _SFREQ_HZ))
    ),
    Axis("hidden", (8, 16, 32, 64, 128, 256), _with_hidden, order=2.0),
    Axis("hop", (1, 5, 10, 50, 100, 500), lambda network, _: _MAKERS[network](), int, order=-1.0),
    Axis("members", (1, 2, 5, 10, 20), lambda network, n: _MAKERS[network](n_members=int(n))),
)
NAMES = (*(axis.name for axis in AXES), "streams")


def cost_us(bundle: Bundle, *, hop: int, seconds: float) -> float:
    """Return the microseconds per sample once the windows are full."""
    stream = bundle.decoder("compiled").stream(hop)
    x_uv = np.random.default_rng(0).normal(0, 20, (100 * _CHUNK, len(bundle.manifest.channels))).astype(np.float32)
    for _ in range(0, bundle.manifest.n_window, len(x_uv)):
        stream.process(x_uv)
        stream.catch_up()
    chunks = [x_uv[start : start + _CHUNK] for start in range(0, len(x_uv), _CHUNK)]
    gc.collect()
    n_chunks, began_s, cpu_s = 0, time.perf_counter(), time.thread_time()
    while time.perf_counter() - began_s < seconds or n_chunks * _CHUNK < 2 * hop:
        stream.process(chunks[n_chunks % len(chunks)])
        stream.catch_up()
        n_chunks += 1
    return (time.thread_time() - cpu_s) / (n_chunks * _CHUNK) * 1e6


def measure_axis(axis: Axis, *, seconds: float, rounds: int) -> list[Row]:
    """Measure all sizes of both networks, interleaved, and return the medians."""
    cells = [(network, size) for network in _MAKERS for size in axis.sizes]
    bundles = {cell: axis.make(*cell) for cell in cells}
    found: dict[tuple[str, float], list[float]] = {cell: [] for cell in cells}
    for _ in range(rounds):
        for cell in cells:
            found[cell].append(cost_us(bundles[cell], hop=axis.hop(cell[1]), seconds=seconds))
    rows = []
    for (network, size), values in found.items():
        us = statistics.median(values)
        load = us * bundles[network, size].manifest.sfreq_hz / 1e6
        rows.append({"axis": axis.name, "network": network, "size": size, "us_sample": us, "load": load})
    return rows


def find_limit(rows: list[Row], *, order: float) -> Row:
    """Return how the load of one network grows along one axis (rising sizes), and the size at which a core is full."""
    sizes, loads = [row["size"] for row in rows], [row["load"] for row in rows]
    slope = _slope(sizes, loads, -1)
    result: Row = {"axis": rows[0]["axis"], "network": rows[0]["network"], "slope": slope}
    full = [k for k in range(1, len(loads)) if (loads[k - 1] < 1) != (loads[k] < 1)]
    if full:
        k = full[-1]
        limit = _where_full(sizes[k], loads[k], _slope(sizes, loads, k))
        return result | {"limit": limit, "extrapolated": False, "words": f"a core is full at {limit:.3g}"}
    if loads[-1] >= 1:
        return result | {"limit": None, "extrapolated": False, "words": "a core is full at every size"}
    if order < 0:
        words = f"none; the highest load is {max(loads):.2g} of a core"
        return result | {"limit": None, "extrapolated": False, "words": words}
    limit = _where_full(sizes[-1], loads[-1], max(slope, order))
    words = f"about {limit:.2g}, extrapolated from {loads[-1]:.2g} of a core at {sizes[-1]:g}"
    return result | {"limit": limit, "extrapolated": True, "words": words}


def _slope(sizes: list[float], loads: list[float], k: int) -> float:
    return math.log(loads[k] / loads[k - 1]) / math.log(sizes[k] / sizes[k - 1])


def _where_full(size: float, load: float, slope: float) -> float:
    return float(size * (1 / load) ** (1 / slope))


def measure_streams(plan: dict[str, Any], bundle: Path) -> list[Row]:
    found: dict[tuple[Way, int], list[Row]] = {}
    for number in range(plan["rounds"]):
        for n_streams in plan["streams"]:
            for way in get_args(Way):
                cell = {"n_streams": n_streams, "way": way, "hop": plan["hop"], "seconds": plan["stream_seconds"]}
                try:
                    row = serve_streams(bundle, **cell)
                    found.setdefault((way, n_streams), []).append(row)
                    words = str(row)
                except StreamsError as failure:
                    words = f"FAILED: {failure}"
                print(f"round {number + 1}, {n_streams} streams, {way}: {words}", file=sys.stderr, flush=True)
    return [
        {"way": way, "streams": n_streams} | {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        for (way, n_streams), rows in found.items()
    ]


def print_results(rows: list[Row], limits: list[Row], streams: list[Row]) -> None:
    for limit in limits:
        own = [row for row in rows if (row["axis"], row["network"]) == (limit["axis"], limit["network"])]
        costs = ", ".join(f"{row['size']:g}: {row['us_sample']:.3g}" for row in own)
        print(f"{limit['axis']:9} {limit['network']:8} us a sample at {costs}")
        print(f"{'':18} slope {limit['slope']:.2f}; limit: {limit['words']}")
    for row in streams:
        print(
            f"{row['streams']:3} streams, {row['way']:14}: {row['cpu']:.3f} of a core, {row['rss_mb']:.0f} MB, "
            f"p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f} ms, missed {row['missed']:g} of {row['expected']:g}"
        )


def _names(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    names = [word.strip() for word in value.split(",")]
    if not set(names) <= set(NAMES):
        raise click.BadParameter(f"{value!r}: expected one or more of {', '.join(NAMES)}")
    return names


def _numbers(_: click.Context, __: click.Parameter, value: str) -> list[int]:
    words = [word.strip() for word in value.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise click.BadParameter(f"{value!r}: expected comma-separated integers")
    return [int(word) for word in words]


@click.command()
@click.option("--only", callback=_names, default=",".join(NAMES), show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.01), default=0.5, show_default=True, help="For each size.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--streams", callback=_numbers, default="1,2,4,8,16", show_default=True, help="How many at once.")
@click.option("--stream-seconds", type=click.FloatRange(min=1), default=10.0, show_default=True)
@click.option("--hop", type=click.IntRange(min=1), default=50, show_default=True, help="Hop of the streams in samples.")
@click.option("--bundle", default="ensemble-1000hz", show_default=True, help="Of the streams.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--figure", "figure_file", type=click.Path(path_type=Path, dir_okay=False), help="Such as growth.svg.")
def main(*, json_file: Path | None, figure_file: Path | None, **plan: Any) -> None:
    """Measure how the cost grows."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end the children, as on Ctrl-C
    rows: list[Row] = []
    limits: list[Row] = []
    for axis in (each for each in AXES if each.name in plan["only"]):
        rows += measure_axis(axis, seconds=plan["seconds"], rounds=plan["rounds"])
        of_network = ([r for r in rows if (r["axis"], r["network"]) == (axis.name, network)] for network in _MAKERS)
        limits += [find_limit(own, order=axis.order) for own in of_network]
        print(f"{axis.name} done", file=sys.stderr, flush=True)
    streams = measure_streams(plan, find_bundle(plan["bundle"]).resolve()) if "streams" in plan["only"] else []
    print_results(rows, limits, streams)
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    setup = {"machine": machine, "variant": active_variant(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "plan": plan}
    if json_file is not None:
        results = {"setup": setup, "rows": rows, "limits": limits, "streams": streams}
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if figure_file is not None:
        note = f"{os.cpu_count()} cores, {active_variant()}, {setup['date']}; medians of {plan['rounds']} rounds"
        draw(rows, limits, streams, figure_file, note=f"{note}. Dotted: one core is full; dashed: extrapolated")


if __name__ == "__main__":
    main()
