"""Measure the decoder without LSL: the cost of a sample, the time of a decision, and the windows per second.

    python benchmarks/engines.py [--bundles single-1000hz,tutorial --json engines.json]

Two tables. The first: each engine along a stream, as lanes and recomputing each window. `us_sample` is all the work of
a sample; `p50_us` and `p99_us` are the time between the arrival of a window's last sample and its decision, without
what `catch_up` does when that is out. The second: windows a second at every sample of a recording, the compiled lanes
against torch, which decodes batches of windows. Latencies are on the clock, work and rates in processor time of one
thread. All of it interleaved; medians over the rounds.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import random_networks
from numpy.typing import NDArray
from random_networks import Bundle

from pretap.bundle.manifest import Manifest
from pretap.decoder.compiled import active_variant
from pretap.errors import UsageError
from pretap.signal.scaling import FIR

ENGINES = ("compiled", "numpy", "torch")
WAYS = ("lanes", "recompute")
N_BATCH = 256  # windows that torch decodes at once: 64 is slower, and 1024 is not faster
N_CHUNK = 1000  # samples that the lanes receive at once offline
TOLERANCE = 1e-6  # of a probability
BAR = 3.0

Row = dict[str, Any]


class TooSlowError(Exception):
    """A cell whose windows do not get full in time: lanes of a large ensemble at hop 1 take 2 ms a sample."""


def noise_uv(n: int, manifest: Manifest) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 20, (n, len(manifest.channels))).astype(np.float32)


def follow(bundle: Bundle, engine: str, way: str, *, hop: int, n_chunk: int, seconds: float, patience_s: float) -> Row:
    """Process chunks for some seconds; the windows are full before the measurement starts."""
    manifest = bundle.manifest
    stream = bundle.decoder(engine).stream(hop, recompute=way == "recompute")
    x_uv = noise_uv(100 * max(n_chunk, 100), manifest)
    deadline_s = time.perf_counter() + patience_s
    for start in range(0, manifest.n_window - n_chunk, n_chunk):
        stream.process(x_uv[start : start + n_chunk])
        stream.catch_up()
        if time.perf_counter() > deadline_s:
            raise TooSlowError
    pushes_s: list[float] = []
    n_samples = n_decisions = 0
    gc.collect()
    began_s, cpu_s = time.perf_counter(), time.thread_time()
    while (now_s := time.perf_counter()) - began_s < seconds or not pushes_s:
        start = n_samples % (len(x_uv) - n_chunk + 1)
        outputs = stream.process(x_uv[start : start + n_chunk])
        if outputs:
            pushes_s.append(time.perf_counter() - now_s)
            n_decisions += len(outputs)
        stream.catch_up()
        n_samples += n_chunk
    took_s = time.thread_time() - cpu_s
    p50_s, p99_s = np.percentile(pushes_s, (50, 99))
    return {
        "us_sample": took_s / n_samples * 1e6,
        "p50_us": p50_s * 1e6,
        "p99_us": p99_s * 1e6,
        "decisions_s": n_decisions / took_s,
    }


def batched_torch(bundle: Bundle) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Decode every window of (n, n_channels) with torch, in batches."""
    import torch

    from pretap.torch_networks import module_of

    manifest = bundle.manifest
    build = module_of(manifest.network).from_tensors
    members = [build(manifest.network, each) for each in bundle.member_tensors()]
    decimation = None
    if FIR in bundle.tensors:
        decimation = manifest.scaling.decimation(bundle.tensors[FIR], n_window=manifest.n_window)

    @torch.inference_mode()
    def decode(x_uv: NDArray[np.float32]) -> NDArray[np.float64]:
        windows = np.lib.stride_tricks.sliding_window_view(x_uv, manifest.n_window, axis=0).swapaxes(1, 2)
        probs = np.empty((len(windows), len(manifest.classes)))
        for start in range(0, len(windows), N_BATCH):
            batch = windows[start : start + N_BATCH]  # (n, n_window, n_channels)
            x = torch.from_numpy(manifest.scaling.apply(batch, decimation=decimation))  # (n, n_steps, n_channels)
            logits = torch.stack([member(x) for member in members]).double().mean(dim=0)
            probs[start : start + N_BATCH] = torch.softmax(logits / manifest.temperature, dim=1).numpy()
        return probs

    return decode


def compiled_lanes(bundle: Bundle) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Decode every window of (n, n_channels) along a stream."""
    stream = bundle.decoder("compiled").stream(1)

    def decode(x_uv: NDArray[np.float32]) -> NDArray[np.float64]:
        stream.reset()
        probs = []
        for start in range(0, len(x_uv), N_CHUNK):
            probs += [output.probs for output in stream.process(x_uv[start : start + N_CHUNK])]
            stream.catch_up()
        return np.array(probs)

    return decode


def offline(bundle: Bundle, *, seconds: float, rounds: int) -> Row:
    """Compare both ways to decode a recording; each gets as many windows as it decodes in `seconds`."""
    n_window = bundle.manifest.n_window
    ways = {"lanes": compiled_lanes(bundle), "torch": batched_torch(bundle)}
    x_uv = noise_uv(n_window - 1 + 2 * N_BATCH, bundle.manifest)
    error = float(np.abs(ways["lanes"](x_uv) - ways["torch"](x_uv)).max())
    if not error <= TOLERANCE:
        raise SystemExit(f"{bundle.name}: lanes and torch differ by {error:.2g}, {TOLERANCE:g} is allowed")
    n_windows = {}
    for name, decode in ways.items():
        began_s = time.perf_counter()
        decode(x_uv)
        rate = 2 * N_BATCH / (time.perf_counter() - began_s)
        n_windows[name] = max(1, round(seconds * rate / N_BATCH)) * N_BATCH
    x_uv = noise_uv(n_window - 1 + max(n_windows.values()), bundle.manifest)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            part = x_uv[: n_window - 1 + n_windows[name]]
            began_s = time.thread_time()
            ways[name](part)
            rates[name].append(n_windows[name] / (time.thread_time() - began_s))
    ratios = [lanes / torch for lanes, torch in zip(rates["lanes"], rates["torch"], strict=True)]
    return {
        "bundle": bundle.name,
        "lanes_windows_s": statistics.median(rates["lanes"]),
        "torch_windows_s": statistics.median(rates["torch"]),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "error": error,
    }


def measure(bundles: list[Bundle], plan: dict[str, Any]) -> list[Row]:
    """Run the cells of the first table, interleaved."""
    cells: dict[tuple[Bundle, str, str, int, int], list[Row]] = {
        (bundle, engine, way, hop, n_chunk): []
        for bundle in bundles
        for hop in dict.fromkeys(hop or bundle.manifest.n_window for hop in plan["hops"])
        for n_chunk in plan["chunks"]
        for engine in plan["engines"]
        for way in plan["ways"]
        if (engine, way) != ("torch", "lanes")  # torch recomputes every window
    }
    for number in range(plan["rounds"]):
        for key in list(cells):
            bundle, engine, way, hop, n_chunk = key
            sizes = {"hop": hop, "n_chunk": n_chunk, "seconds": plan["seconds"], "patience_s": plan["patience"]}
            try:
                cells[key].append(follow(bundle, engine, way, **sizes))
            except (UsageError, TooSlowError) as error:
                words = f"{bundle.name}, {engine}, {way}, hop {hop}, chunk {n_chunk}: "
                print(f"{words}left out: {str(error) or 'too slow'}", file=sys.stderr, flush=True)
                del cells[key]
        print(f"round {number + 1} of {plan['rounds']} done", file=sys.stderr, flush=True)
    return [
        {"bundle": bundle.name, "engine": engine, "way": way, "hop": hop, "chunk": n_chunk}
        | {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        for (bundle, engine, way, hop, n_chunk), rows in cells.items()
    ]


def print_tables(rows: list[Row], comparisons: list[Row]) -> None:
    if rows:
        print(f"\n{'bundle':16} {'engine':9} {'way':10} {'hop':>4} {'chunk':>5}", end="")
        print(f" {'us a sample':>12} {'p50 us':>9} {'p99 us':>9} {'decisions/s':>12}")
    for row in rows:
        print(f"{row['bundle']:16} {row['engine']:9} {row['way']:10} {row['hop']:4} {row['chunk']:5}", end="")
        print(f" {row['us_sample']:12.2f} {row['p50_us']:9.1f} {row['p99_us']:9.1f} {row['decisions_s']:12.0f}")
    for row in comparisons:
        bar = (
            ""
            if row["bundle"] == "tutorial"
            else f", {'meets' if row['ratio'] >= BAR else 'MISSES'} the bar of {BAR:g}"
        )
        print(
            f"\n{row['bundle']}, every sample: {row['lanes_windows_s']:.0f} windows a second by lanes, "
            f"{row['torch_windows_s']:.0f} by torch in batches of {N_BATCH}: {row['ratio']:.2f} times{bar}; "
            f"probabilities differ by {row['error']:.1g}"
        )


def _listed(_: click.Context, __: click.Parameter, value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    words = _listed(context, parameter, value)
    if not all(word == "n_window" or (word.isdecimal() and int(word)) for word in words):
        raise click.BadParameter(f"{value!r}: expected comma-separated integers")
    return [0 if word == "n_window" else int(word) for word in words]


@click.command()
@click.option("--bundles", callback=_listed, default="single-1000hz,ensemble-1000hz,tutorial", show_default=True)
@click.option("--engines", callback=_listed, default=",".join(ENGINES), show_default=True)
@click.option("--ways", callback=_listed, default=",".join(WAYS), show_default=True)
@click.option("--hops", callback=_numbers, default="1,10,50,n_window", show_default=True)
@click.option("--chunks", callback=_numbers, default="1,10,100", show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.01), default=0.3, show_default=True, help="For each cell.")
@click.option("--patience", type=float, default=3.0, show_default=True, help="Seconds until windows must be full.")
@click.option("--offline-seconds", type=click.FloatRange(min=0.1), default=3.0, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--stream/--no-stream", "with_stream", default=True, help="The first table.")
@click.option("--offline/--no-offline", "with_offline", default=True, help="The second.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
def main(*, json_file: Path | None, with_stream: bool, with_offline: bool, **plan: Any) -> None:
    """Measure the decoder alone."""
    for key, known in (("engines", ENGINES), ("ways", WAYS)):
        if not set(plan[key]) <= set(known):
            raise click.UsageError(f"--{key} {','.join(plan[key])}: expected some of {', '.join(known)}")
    bundles = [random_networks.find(name) for name in plan["bundles"]]
    if with_offline or "torch" in plan["engines"]:
        import torch

        torch.set_num_threads(1)  # the steps are so small that a second thread only waits: 15 ms per sample
    machine = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    setup = {"machine": machine, "variant": active_variant(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "plan": plan}
    print(f"{machine}; compiled for {active_variant() or 'nothing: no compiled engine'}", flush=True)
    rows = measure(bundles, plan) if with_stream else []
    comparisons = []
    if with_offline:
        comparisons = [offline(each, seconds=plan["offline_seconds"], rounds=plan["rounds"]) for each in bundles]
    print_tables(rows, comparisons)
    if json_file is not None:
        results = {"setup": setup, "rows": rows, "offline": comparisons}
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
