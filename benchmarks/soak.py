"""A long bad day: random mishaps against a real service, and everything that must hold is checked.

    python benchmarks/soak.py --minutes 10 --seed 1 --json soak.json

One real `pretap serve` in an isolated session of LSL; against it one real `pretap replay` after the other, each with
mishaps that the seed draws (jitter, drift, drops, gaps, bursts, NaN, disconnections, other units and orders of
channels), stopped (SIGSTOP) for up to 2.5 s now and then, and ended by Ctrl-C or `kill -9`. From its seed and its
account each replay is made anew, and so is what it sent. It must hold that

- the numbering has no hole, in the log and on the marker stream, and both say the same;
- a valid verdict stands on a window of samples that were sent one after the other by one outlet, all finite; it carries
  the stamp of the last, it is what the decoder says offline, and it is no older than a second;
- each death is LOST within 0.5 s, each return RUNNING, each silence STALE, and nothing else is;
- samples received and counted as lost (by the counter) are those that the devices took: exactly, but for the last ones
  of a replay that was killed or ended while its outlet was away;
- memory, threads and descriptors of the service do not grow, and it ends with 0.

Exit code 8 where something does not hold.
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

from pretap_realtime.check.isolated_session import Session


@click.command()
@click.option("--minutes", type=click.FloatRange(0.2), default=1.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--bundle", default="ensemble-1000hz", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here.")
def main(*, minutes: float, seed: int, bundle: str, json_file: Path | None) -> None:
    """Soak a service in mishaps."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Session() as session:
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
        "mishaps": kinds,
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
    print("all that must hold held" if not checks.wrong else f"{len(checks.wrong)} violations")
    sys.exit(8 if checks.wrong else 0)


def _spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.0f}, max {max(values):.0f}, n {len(values)}" if values else "none"


if __name__ == "__main__":
    main()
