"""Check that the live process does not grow for an hour: memory, threads and descriptors, minute by minute.

    python benchmarks/memory.py [BUNDLE] [--minutes 60] [--hop-ms 50]

`pretap replay --loop` plays a synthetic subject in real time, and `pretap serve` decodes it and writes its log. The
figures come from the kernel (/proc). Runs in an LSL session of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import time
from pathlib import Path

from pretap_realtime.check.isolated_session import IsolatedSession


def figures(pid: int) -> tuple[float, float, int, int, float]:
    """Return the resident memory and its peak in MB, the threads, the descriptors and the CPU seconds so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss_kb, peak_kb, n_threads = (
        int(re.search(rf"{key}:\s+(\d+)", status)[1]) for key in ("VmRSS", "VmHWM", "Threads")
    )
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    cpu_s = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return rss_kb / 1024, peak_kb / 1024, n_threads, len(list(Path(f"/proc/{pid}/fd").iterdir())), cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="ensemble-1000hz")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--hop-ms", type=float, default=50.0)
    options = parser.parse_args()
    with IsolatedSession() as session:
        log = str(session.folder / "log.jsonl")
        hop_ms = f"{options.hop_ms:g}"
        service = session.start("serve", options.bundle, "--query", "name=amp", "--hop-ms", hop_ms, "--log", log)
        session.start("replay", "synthetic", "--loop", "--wait", "--name", "amp", "--sfreq-hz", "1000")
        print(f"{options.bundle}, every {options.hop_ms:g} ms; {os.cpu_count()} cores, {platform.platform()}")
        print("| minute | memory, peak MB | threads | descriptors | share of a core |")
        print("|---|---|---|---|---|")
        cpu_before_s, began_s = 0.0, time.monotonic()
        for minute in range(options.minutes + 1):
            time.sleep(max(0.0, began_s + 60 * minute - time.monotonic()) or 10.0)  # first: when all is loaded
            session.check_children()
            rss_mb, peak_mb, n_threads, n_files, cpu_s = figures(service.pid)
            share = (cpu_s - cpu_before_s) / 60 if minute > 1 else float("nan")
            print(f"| {minute} | {rss_mb:.1f}, {peak_mb:.1f} | {n_threads} | {n_files} | {share:.3f} |", flush=True)
            cpu_before_s = cpu_s
        session.stop(service)
        print(f"exit code {service.returncode}; it printed:\n{session.output_of(service)}")


if __name__ == "__main__":
    main()
