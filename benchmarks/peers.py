"""Compare pretap with its peers: the same job on the same machine, in one interleaved run.

    python benchmarks/peers.py --json peers.json --figure peers.svg [--systems echo,pretap --hops 50 --chunks 10]

A source sends 28 channels at 1 kHz, a system decides at each hop, and a receiver records when each decision arrives. A
latency counts from the push of the chunk with the window's last sample to the receipt of the decision. Each cell runs
in an LSL session of its own, one system after the other, in another order each round. `make bench-peers` installs the
peers.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import click
from peer_bench.cell import CellError, run_cell
from peer_bench.export import export_onnx, export_torch
from peer_bench.figure import draw
from peer_bench.report import judge, print_report, ratios
from peer_bench.systems import SYSTEMS, VENVS, Job

from pretap.bundle.file import load
from pretap.bundle.shipped import find_bundle

_TUTORIAL = VENVS / "tutorial.safetensors"


class Results(TypedDict):
    """The contents of the JSON file."""

    setup: dict[str, Any]
    rows: list[dict[str, Any]]
    ratios: list[dict[str, Any]]
    bars: list[dict[str, Any]]
    failures: list[dict[str, Any]]


class Names(click.ParamType):
    """A comma-separated list of integers or of names from `choices`."""

    name = "list"

    def __init__(self, choices: tuple[str, ...] = ()) -> None:
        self.choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        words = [word.strip() for word in value.split(",")]
        if self.choices:
            for word in words:
                if word not in self.choices:
                    self.fail(f"{word!r}: expected one or more of {', '.join(self.choices)}", param, ctx)
            return words
        if not all(word.isdecimal() and int(word) for word in words):
            self.fail(f"{value!r}: expected comma-separated integers", param, ctx)
        return [int(word) for word in words]


def find_or_train(name: str) -> Path:
    """Return the bundle's file. The tutorial's network is trained for one epoch, because only its speed matters."""
    if name != "tutorial":
        return find_bundle(name).resolve()
    if not _TUTORIAL.exists():
        recipe = ["--data", "synthetic", "--set", "evaluation.folds=0", "--set", "fit.max_epochs=1"]
        command = [sys.executable, "-m", "pretap", "train", "tutorial", *recipe, "--out", str(_TUTORIAL)]
        subprocess.run(command, check=True, timeout=600)
    return _TUTORIAL


def check_installed(names: list[str]) -> None:
    """Refuse systems whose venv is missing."""
    missing = [name for name in names if not SYSTEMS[name].python.exists()]
    if missing:
        targets = " ".join(f".bench/{SYSTEMS[name].venv}/.installed" for name in missing)
        raise click.UsageError(f"Not installed: {', '.join(missing)}. Run: make {targets}")


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def versions(names: list[str]) -> dict[str, dict[str, str]]:
    """Return the packages in each system's venv."""
    script = (
        "import json, platform; from importlib.metadata import distributions as d; "
        "print(json.dumps({'python': platform.python_version()} | {x.name: x.version for x in d()}))"
    )
    found = {}
    for name in names:
        output = subprocess.run([SYSTEMS[name].python, "-c", script], check=True, capture_output=True, timeout=60)
        found[name] = json.loads(output.stdout)
    return found


def save(results: Results, file: Path | None) -> None:
    """Write the results after each cell in one step, so that an interrupted run keeps what it has measured."""
    results["ratios"], results["bars"] = ratios(results["rows"]), judge(results["rows"])
    if file is not None:
        part = file.with_name(file.name + ".part")
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        part.replace(file)


def rotated(names: list[str], by: int) -> list[str]:
    """Start with another system each round, so that none always runs on a processor warmed by the same one."""
    return names[by % len(names) :] + names[: by % len(names)]


def measure(results: Results, job_files: dict[str, Path], *, file: Path | None, plan: dict[str, Any]) -> None:
    """Run all rounds of all cells, and store the results."""
    decoder = load(job_files["bundle"])
    for number in range(plan["rounds"]):
        for hop, chunk in ((hop, chunk) for hop in plan["hops"] for chunk in plan["chunks"]):
            for name in rotated(plan["systems"], number):
                row: dict[str, Any] = {"system": name, "hop": hop, "chunk": chunk, "round": number + 1}
                system, job = SYSTEMS[name], Job(hop, **job_files)
                try:
                    row |= run_cell(system, job, chunk=chunk, seconds=plan["seconds"], decoder=decoder)
                    results["rows"].append(row)
                    words = f"p50 {row['p50_ms']} ms, cpu {row['cpu']}, {row['rss_mb']} MB, missed {row['missed']}"
                except CellError as failure:
                    results["failures"].append(row | {"why": str(failure)})
                    words = f"FAILED: {failure}"
                print(f"round {number + 1} hop {hop} chunk {chunk} {name}: {words}", file=sys.stderr, flush=True)
                save(results, file)


@click.command()
@click.option("--systems", type=Names(tuple(SYSTEMS)), default=",".join(SYSTEMS), show_default=True)
@click.option("--hops", type=Names(), default="50,10,1", show_default=True, help="Samples between decisions.")
@click.option("--chunks", type=Names(), default="1,10,32", show_default=True, help="Samples a push.")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Seconds to measure in each cell."
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--bundle", default="tutorial", show_default=True, help="A file, a shipped bundle's name, or 'tutorial'.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Written after each cell.")
@click.option("--figure", "figure_file", type=click.Path(path_type=Path, dir_okay=False), help="Such as peers.svg.")
def main(*, bundle: str, json_file: Path | None, figure_file: Path | None, **plan: Any) -> None:
    """Measure pretap and its peers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # end the children, as on Ctrl-C
    check_installed(plan["systems"])
    bundle_file = find_or_train(bundle)
    torch_file = export_torch(bundle_file, VENVS / "models")
    onnx_file = torch_file.with_suffix(".onnx")
    if "loop-onnxruntime" in plan["systems"]:
        export_onnx(torch_file, onnx_file, SYSTEMS["loop-onnxruntime"].python)
    setup = {
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "platform": platform.platform()},
        "date": datetime.date.today().isoformat(),
        "bundle": bundle,
        "pretap": version("pretap"),
        "plan": plan,
        "versions": versions(plan["systems"]),
    }
    results: Results = {"setup": setup, "rows": [], "ratios": [], "bars": [], "failures": []}
    job_files = {"bundle": bundle_file, "torch_file": torch_file, "onnx_file": onnx_file}
    try:
        measure(results, job_files, file=json_file, plan=plan)
    finally:
        if results["rows"]:
            print_report(results["rows"], results["failures"])
    if figure_file is not None and results["rows"]:
        note = f"{setup['machine']['cpu']}, {os.cpu_count()} cores, {setup['date']}, bundle {bundle}"
        draw(results["rows"], figure_file, note=f"{note}; medians of {plan['rounds']} rounds of {plan['seconds']:g} s")
    sys.exit(8 if results["failures"] else 0)


if __name__ == "__main__":
    main()
