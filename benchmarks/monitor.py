"""What `pretap monitor` costs, and what the page shows of it.

    python benchmarks/monitor.py [--seconds 60] [--chromium /usr/bin/chromium] [--json FILE]

A replay sends 28 channels at 1000 Hz in chunks of 10 ms, `ensemble-1000hz` decides every 20 ms. In turns: the service
alone; with the monitor and readers of its socket (what a browser does, without drawing); with the monitor and Chromium,
which draws on the processor where there is no graphics card. Figures are CPU seconds of a process over the time. Runs
in an LSL session of its own.
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
from pathlib import Path

import msgspec
import websockets

from pretap_realtime.session import Session

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Give the processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def latencies(log: Path, start: int) -> list[float]:
    """Give the latencies that a service has logged since byte `start`."""
    lines = log.read_bytes()[start:].splitlines()[:-1]
    found = [msgspec.json.decode(line) for line in lines if b'"latency_ms"' in line]
    return [each["latency_ms"] for each in found]


async def read(url: str, seconds: float) -> dict[str, float]:
    """Read the page's socket as a browser does; says how much came."""
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
    """Open the page in Chromium; says how many frames a second it draws."""
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
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with Session() as session:
        log = session.folder / "decisions.jsonl"
        source = str(session.folder / "raw.fif")
        session.run("simulate", source, "--seconds", "60")
        session.start("replay", source, "--loop")
        serve = session.start("serve", "ensemble-1000hz", "--hop-ms", "20", "--log", str(log))
        session.wait_for("RUNNING", lambda: "RUNNING" in session.said(serve) or None, within_s=20)

        def measured(name: str, monitor: subprocess.Popen[bytes] | None, run) -> None:
            size, served_s, start_s = log.stat().st_size, cpu_s(serve.pid), time.monotonic()
            own_s = cpu_s(monitor.pid) if monitor else 0.0
            figures = run()
            took_s = time.monotonic() - start_s
            values = sorted(latencies(log, size))
            figures |= {
                "serve_percent_of_a_core": 100 * (cpu_s(serve.pid) - served_s) / took_s,
                "latency_p50_ms": statistics.median(values),
                "latency_p99_ms": values[int(0.99 * len(values))],
            }
            if monitor:
                figures["monitor_percent_of_a_core"] = 100 * (cpu_s(monitor.pid) - own_s) / took_s
            results[name] = {key: round(value, 2) for key, value in figures.items()}
            print(f"{name:24}", "  ".join(f"{key} {value:g}" for key, value in results[name].items()), flush=True)

        def wait() -> dict[str, float]:
            time.sleep(asked.seconds)
            return {}

        measured("alone", None, wait)
        monitor = session.start("monitor", "--port", "0")
        said = session.wait_for("the page", lambda: re.search(r"http://\S+/", session.said(monitor)), within_s=20)
        url = said[0]
        measured("monitor, no page", monitor, wait)
        measured("monitor, a reader", monitor, lambda: asyncio.run(read(url, asked.seconds)))
        measured("monitor, two readers", monitor, lambda: asyncio.run(_two(url, asked.seconds)))
        if Path(asked.chromium).exists():
            measured("monitor, Chromium", monitor, lambda: draw(url, asked.seconds, asked.chromium))
        session.end(monitor)
        measured("alone again", None, wait)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


async def _two(url: str, seconds: float) -> dict[str, float]:
    first, _ = await asyncio.gather(read(url, seconds), read(url, seconds))
    return first


if __name__ == "__main__":
    main()
