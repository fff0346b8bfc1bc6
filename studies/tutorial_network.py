"""Cross-validate the tutorial's network with both of its known mistakes, with either one, and with neither.

    python studies/tutorial_network.py --data DIR --json tutorial.json

The recipe is ``configs/tutorial.toml``; docs/tutorial-network.md explains the network, the mistakes and the figures.
There are two accuracies for each case: `reported` uses the labels that the network was trained on, as the tutorial's
script does, and `true` uses the labels of the file. Both are out of fold. An interrupted run continues from its JSON
file: seeds that it already contains are not run again.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from pretap.config.reading import find_config, load_config
from pretap.config.train import EvaluationConfig, TrainConfig
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.cross_validation import cross_validate
from pretap_offline.training import prepare
from pretap_offline.trials.source import read_trials

CASES = ("mended", "axes", "labels", "both")


@dataclass(frozen=True, eq=False)
class Case:
    """The input of the network, and the number of folds."""

    name: str
    epochs: Epochs
    folds: int


def reshaped(x_uv: NDArray[Any]) -> NDArray[Any]:
    """Make the first mistake: read (time, channel, trial) as if it were (trial, time, channel)."""
    n_epochs, n_samples, n_channels = x_uv.shape
    as_in_file = x_uv.transpose(1, 2, 0)  # (n_samples, n_channels, n_epochs), as the .mat file has it
    return as_in_file.reshape(n_epochs, n_samples, n_channels)


def wrapped(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Make the second mistake: labels 1 and -1 as columns of a one-hot table, as Keras's `to_categorical` does."""
    column = np.where(labels == 0, 1, -1)
    one_hot = np.zeros((len(labels), 2))
    one_hot[np.arange(len(labels)), column] = 1  # column -1 is the last one, which is column 1
    return np.asarray(one_hot.argmax(axis=1), np.int64)


def make_cases(epochs: Epochs, *, folds: int, folds_wrapped: int) -> list[Case]:
    assert epochs.labels is not None
    mixed = replace(epochs, x_uv=np.ascontiguousarray(reshaped(epochs.x_uv)))
    labels = wrapped(epochs.labels)
    return [
        Case("mended", epochs, folds),
        Case("axes", mixed, folds),
        Case("labels", replace(epochs, labels=labels), folds_wrapped),
        Case("both", replace(mixed, labels=labels), folds_wrapped),
    ]


def run_case(case: Case, config: TrainConfig, truth: NDArray[np.int64], *, seed: int, workers: int) -> dict[str, float]:
    """Cross-validate one case; the seed determines the folds, the weights and the order of the batches."""
    started_s = time.perf_counter()
    config = msgspec.structs.replace(config, evaluation=EvaluationConfig(folds=case.folds))
    cv = cross_validate(case.epochs, config, seed=seed, n_workers=workers)
    predicted = cv.probs[0].argmax(axis=1)  # (n_epochs,)
    return {
        "reported": cv.metrics.accuracy,
        "true": float((predicted == truth).mean()),
        "share_of_class_1": float(predicted.mean()),
        "seconds": round(time.perf_counter() - started_s, 1),
    }


def summarise(runs: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean, sd, minimum and maximum over the seeds, for each case and both accuracies."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for case in next(iter(runs.values())):
        for key in ("reported", "true"):
            values = np.array([run[case][key] for run in runs.values()])
            summary.setdefault(case, {})[key] = {
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                "min": float(values.min()),
                "max": float(values.max()),
            }
    return summary


def own_share(epochs: Epochs) -> float:
    """Return the share of the values in 'trial i' that belong to trial i after the reshape."""
    trial = np.arange(len(epochs))[:, None, None]
    owner = reshaped(np.broadcast_to(trial, epochs.x_uv.shape))
    return float((owner == trial).mean())


def write(file: Path, results: dict[str, Any]) -> None:
    """Write the file in one step, so that an interrupted run leaves a complete file."""
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


@click.command()
@click.option("--data", required=True, help="Directory or file of the competition's data, or 'synthetic'.")
@click.option("--seeds", type=click.IntRange(min=1), default=10, show_default=True, help="Seeds 0, 1, ...")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option(
    "--folds-wrapped", type=click.IntRange(min=2), default=2, show_default=True, help="Where all labels are class 1."
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes for the folds.")
@click.option(
    "--case",
    "names",
    multiple=True,
    type=click.Choice(CASES),
    default=CASES,
    help="Case to run. Can be repeated.  [default: all]",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Override one key of the recipe. Can be repeated."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the results to this file after each seed.",
)
def main(
    *,
    data: str,
    seeds: int,
    folds: int,
    folds_wrapped: int,
    workers: int,
    names: tuple[str, ...],
    overrides: tuple[str, ...],
    json_file: Path | None,
) -> None:
    """Measure the tutorial's network, with and without its mistakes, over several seeds."""
    warnings.filterwarnings("ignore", message=".*cohen_kappa_score")  # undefined if all labels are one class
    config = load_config(TrainConfig, find_config("tutorial"), overrides)
    epochs = prepare(read_trials(data, part="train"), config)
    assert epochs.labels is not None
    setup = {
        "data": epochs.source,
        "resampled_from_hz": epochs.resampled_from_hz,
        "shape": list(epochs.x_uv.shape),
        "class_counts": np.bincount(epochs.labels).tolist(),
        "own_share_after_reshape": own_share(epochs),
        "cases": [name for name in CASES if name in names],
        "folds": folds,
        "folds_wrapped": folds_wrapped,
        "config": msgspec.to_builtins(config),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    results: dict[str, Any] = {"setup": setup, "runs": {}}
    if json_file is not None and json_file.exists():
        results = json.loads(json_file.read_text(encoding="utf-8"))
        if results["setup"] != json.loads(json.dumps(setup)):
            raise click.UsageError(
                f"{json_file} holds results of other data, cases, folds, settings or versions. Choose another file."
            )
    print(f"{epochs.source}: {epochs.x_uv.shape}, {os.cpu_count()} cores, {setup['versions']}", flush=True)
    print(f"after the reshape {setup['own_share_after_reshape']:.2%} of 'trial i' belongs to trial i", flush=True)
    cases = [case for case in make_cases(epochs, folds=folds, folds_wrapped=folds_wrapped) if case.name in names]
    for seed in range(seeds):
        if str(seed) in results["runs"]:
            continue
        run = {case.name: run_case(case, config, epochs.labels, seed=seed, workers=workers) for case in cases}
        results["runs"][str(seed)] = run
        results["summary"], results["date"] = summarise(results["runs"]), datetime.date.today().isoformat()
        words = ", ".join(f"{name} {r['reported']:.3f} / {r['true']:.3f}" for name, r in run.items())
        print(f"seed {seed}: {words} ({sum(r['seconds'] for r in run.values()):.0f} s)", flush=True)
        if json_file is not None:
            write(json_file, results)
    print(f"\n{'case':8} {'accuracy':9} {'mean':>6} {'sd':>6} {'min':>6} {'max':>6}   ({len(results['runs'])} seeds)")
    for name, accuracies in results["summary"].items():
        for key, figures in accuracies.items():
            print(f"{name:8} {key:9} " + " ".join(f"{figures[k]:6.3f}" for k in ("mean", "sd", "min", "max")))


if __name__ == "__main__":
    main()
