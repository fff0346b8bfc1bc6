"""Measure the cost of `pretap monitor` and the frame rate of its page.

    python benchmarks/monitor.py [--seconds 60] [--rounds 5] [--no-reader] [--chromium /usr/bin/chromium] [--json FILE]

A replay sends 28 channels at 1000 Hz in chunks of 10 ms, and `ensemble-1000hz` decides every 20 ms. Three conditions
alternate: the service alone; with a monitor and a reader of its socket, which does what a browser does without drawing;
and with a monitor and Chromium, which draws on the processor if there is no graphics card. Figures are CPU seconds of a
process over the time. Runs in an LSL session of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import websockets

from pretap_realtime.check.isolated_session import IsolatedSession

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def latencies(log: Path, start: int) -> list[float]:
    """Return the latencies that a service has logged since byte `start`."""
    lines = log.read_bytes()[start:].splitlines()[:-1]
    found = [msgspec.json.decode(line) for line in lines if b'"latency_ms"' in line]
    return [each["latency_ms"] for each in found]


async def read(url: str, seconds: float) -> dict[str, float]:
    """Read the page's socket as a browser does; return how much arrived."""
    n_bytes = n_frames = 0
    address = url.replace("http", "ws") + "live"
    async with websockets.connect(address, origin=url.rstrip("/"), max_size=None, compression=None) as page:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            data = await asyncio.wait_for(page.recv(), 5)
            n_bytes += len(data)
            n_frames += isinstance(data, bytes)
    return {"kbytes_per_s": n_bytes / seconds / 1000, "frames_per_s": n_frames / seconds}


def draw(url: str, seconds: float, chromium: str) -> dict[str, float]:
    """Open the page in Chromium; return how many frames per second it draws."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(url)
        expect(page.locator("#state-name")).to_have_text("RUNNING", timeout=20_000)
        rates = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            page.wait_for_timeout(1000)
            rates.append(float(page.evaluate("document.documentElement.dataset.fps ?? 'NaN'")))
        browser.close()
    rates = [rate for rate in rates[1:] if rate == rate]
    return {"fps_median": statistics.median(rates), "fps_lowest_second": min(rates)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-reader", action="store_true", help="Leave the reader out: a third of the time.")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    conditions: dict[str, Callable[[str], dict[str, float]] | None] = {"closed": None}
    if not asked.no_reader:
        conditions["open, a reader"] = lambda url: asyncio.run(read(url, asked.seconds))
    if Path(asked.chromium).exists():
        conditions["open, Chromium"] = lambda url: draw(url, asked.seconds, asked.chromium)
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in conditions}
    pooled: dict[str, list[float]] = {name: [] for name in conditions}
    with IsolatedSession() as session:
        log = session.folder / "decisions.jsonl"
        source = str(session.folder / "raw.fif")
        session.run("simulate", source, "--seconds", "60")
        session.start("replay", source, "--loop")
        serve = session.start("serve", "ensemble-1000hz", "--hop-ms", "20", "--log", str(log))
        session.wait_for("RUNNING", lambda: "RUNNING" in session.output_of(serve) or None, within_s=20)
        for _ in range(asked.rounds):
            for name, look in conditions.items():
                figures, values = measure(session, serve, log, look, asked.seconds)
                rounds[name].append(figures)
                pooled[name] += values
                print(f"{name:16}", "  ".join(f"{key} {value:.2f}" for key, value in figures.items()), flush=True)
    results = {}
    for name, measured in rounds.items():
        values = sorted(pooled[name])
        results[name] = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        results[name] |= {
            "latency_p50_ms": statistics.median(values),
            "latency_p99_ms": values[int(0.99 * len(values))],
        }
        results[name]["p50_against_closed"] = results[name]["latency_p50_ms"] / results["closed"]["latency_p50_ms"]
        print(f"ALL {name:16}", "  ".join(f"{key} {value:.2f}" for key, value in results[name].items()))
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(
    session: IsolatedSession,
    serve: subprocess.Popen[bytes],
    log: Path,
    look: Callable[[str], dict[str, float]] | None,
    seconds: float,
) -> tuple[dict[str, float], list[float]]:
    """Run the service with or without a monitor; return the figures and the latencies in ms."""
    monitor, url = None, ""
    if look is not None:
        monitor = session.start("monitor", "--port", "0")
        url = session.wait_for("the page", lambda: re.search(r"http://\S+/", session.output_of(monitor)), within_s=20)[
            0
        ]
        time.sleep(2)  # until it has found the streams and connected
    size, start_s = log.stat().st_size, time.monotonic()
    served_s, shown_s = cpu_s(serve.pid), cpu_s(monitor.pid) if monitor else 0.0
    figures = look(url) if look is not None else time.sleep(seconds) or {}
    elapsed_s = time.monotonic() - start_s
    figures["serve_percent_of_a_core"] = 100 * (cpu_s(serve.pid) - served_s) / elapsed_s
    if monitor:
        figures["monitor_percent_of_a_core"] = 100 * (cpu_s(monitor.pid) - shown_s) / elapsed_s
    values = latencies(log, size)
    figures["latency_p50_ms"] = statistics.median(values)
    if monitor:
        session.stop(monitor)
    return figures, values


if __name__ == "__main__":
    main()
