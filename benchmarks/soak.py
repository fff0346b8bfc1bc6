"""Soak test: injects random faults into the stream of a real service and checks what must always hold.

    python benchmarks/soak.py --minutes 10 --seed 1 --json soak.json

One real `pretap serve` runs in an isolated LSL session. It receives one real `pretap replay` after the other, each with
random faults (jitter, packets that are stamped on arrival, drift, drops, gaps, bursts, NaN, disconnections, other units
and channel orders). As root on Linux, half of the replays run in a time namespace: on a computer with another clock.
Now and then a replay is stopped (SIGSTOP) for up to 2.5 s, and it ends by Ctrl-C or `kill -9`. What a replay sent is
reconstructed from its seed and its report. The following must hold:

- The numbering has no gap, and the log and the marker stream are equal.
- A valid verdict is based on a window of finite samples that one outlet sent in a row. It has the time of the last
  one, up to 150 ms of jitter and packets, equals the offline decision, and is at most a second old.
- Each death is announced as LOST within 0.5 s, each return as RUNNING, each silence as STALE, and nothing else is.
- The samples received and those counted as lost (by the counter) add up to the samples that the devices took. This is
  exact, except for the last samples of a replay that was killed or that ended while its outlet was closed.
- Memory, threads and file descriptors of the service do not grow, and it ends with exit code 0.

The exit code is 8 if something does not hold.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from pretap_realtime.check.isolated_session import IsolatedSession


@click.command()
@click.option("--minutes", type=click.FloatRange(0.2), default=1.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--bundle", default="ensemble-1000hz", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file.")
def main(*, minutes: float, seed: int, bundle: str, json_file: Path | None) -> None:
    """Soak-test a service with random faults."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with IsolatedSession() as session:
        from soak_bench.run import Soak

        soak = Soak(session, bundle=bundle, seed=seed)
        soak.run(minutes=minutes)
        summary = soak.end()
        growth = soak.growth()
    checks = soak.checks
    kinds: dict[str, int] = {}
    for day in soak.days:
        for kind, n in day["kinds"].items():
            kinds[kind] = kinds.get(kind, 0) + n
    figures = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "minutes": minutes,
        "seed": seed,
        "days": len(soak.days),
        "faults": kinds,
        "clocks_s": [day["clock_s"] for day in soak.days],
        "verdicts": checks.n_verdicts,
        "possible": checks.n_possible,
        "largest_difference": checks.largest_difference,
        "lost_ms": _spread(checks.lost_ms),
        "again_ms": _spread(checks.again_ms),
        "growth": growth,
        "violations": checks.wrong,
    }
    print(summary)
    for name, value in figures.items():
        if name != "violations":
            print(f"{name:<20} {value}")
    if checks.wrong:
        print(json.dumps(soak.days[-1:], indent=1, default=str), file=sys.stderr)
    for line in checks.wrong:
        print(f"VIOLATED: {line}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures | {"what": soak.days}, indent=1, default=str) + "\n", encoding="utf-8")
    print("all checks passed" if not checks.wrong else f"{len(checks.wrong)} violations")
    sys.exit(8 if checks.wrong else 0)


def _spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.0f}, max {max(values):.0f}, n {len(values)}" if values else "none"


if __name__ == "__main__":
    main()
