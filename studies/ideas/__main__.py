"""Cross-validate the ideas for the networks, both adopted and rejected ones, and print one line each.

    python studies/ideas --data DIR --json ideas.json

Every idea changes the base recipe (configs/single-100hz.toml with 60 of its 120 epochs, to keep the study short) and
uses the same 10 stratified folds. A line holds the accuracy of a single network (mean over seeds and repeats); its
negative log-likelihood (nats) after the temperature that fits these trials best; both for the ensemble over seeds (mean
logits); and the difference of the single accuracy from the base, with the standard error over (seed, repeat) pairs with
the same folds and seeds. That error describes the effect of other seeds and folds, not of other trials.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from stacked import Recipe, fit, make_views

from pretap.config.reading import find_config, load_config
from pretap.config.train import TrainConfig
from pretap.networks import softmax
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.calibration import fit_temperature, with_temperature
from pretap_offline.fit.estimator import make_estimator, make_scaling
from pretap_offline.fit.mirror import mirror_partners
from pretap_offline.training import prepare
from pretap_offline.trials.source import read_trials

FOLDS, INNER_FOLDS = 10, 5

# name: (description, changes to the base)
IDEAS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("the frozen recipe with 60 epochs", {}),
    "epochs-120": ("the frozen recipe: 120 epochs", {"epochs": 120}),
    # from the recipe that the search began with to the base; the step after mirror-0.5 is the base
    "recipe": (
        "first recipe: 30 epochs, learning rate 0.01, no dropout, mirror 0.5",
        {"epochs": 30, "learning_rate": 1e-2, "dropout": 0.0, "mirror": 0.5},
    ),
    "recipe-longer": ("recipe + 60 epochs", {"learning_rate": 1e-2, "dropout": 0.0, "mirror": 0.5}),
    "recipe-faster": ("recipe + 60 epochs + learning rate 0.02", {"dropout": 0.0, "mirror": 0.5}),
    "mirror-0.5": ("mirror 0.5 (recipe + 60 epochs + learning rate 0.02 + dropout 0.3)", {"mirror": 0.5}),
    "no-mirror": ("no mirrored windows", {"mirror": 0.0}),
    # parts left out
    "no-erd": ("no ERD branch", {"bands_hz": ()}),
    "no-lrp": ("no LRP branch", {"lrp_filters": 0}),
    "no-baseline": ("LRP without a baseline", {"baseline_ms": 0.0}),
    "no-reference": ("no average reference", {"average_reference": False}),
    # sizes
    "baseline-30": ("baseline 30 ms", {"baseline_ms": 30.0}),
    "baseline-100": ("baseline 100 ms", {"baseline_ms": 100.0}),
    "blocks-100": ("5 blocks of 100 ms", {"block_ms": 100.0}),
    "no-dropout": ("no dropout", {"dropout": 0.0}),
    "dropout-0.2": ("dropout 0.2", {"dropout": 0.2}),
    "dropout-0.4": ("dropout 0.4", {"dropout": 0.4}),
    "hidden-8": ("LSTM of 8", {"hidden": 8}),
    "hidden-32": ("LSTM of 32", {"hidden": 32}),
    "filters-4": ("4 + 4 spatial filters", {"lrp_filters": 4, "erd_filters": 4}),
    "filters-12": ("12 + 12 spatial filters", {"lrp_filters": 12, "erd_filters": 12}),
    "decay-0.1": ("weight decay 0.1", {"filter_decay": 0.1, "lstm_decay": 0.1}),
    "decay-0.3": ("weight decay 0.3", {"filter_decay": 0.3, "lstm_decay": 0.3}),
    "filter-decay-0.3": ("weight decay 0.3 of the spatial filters alone", {"filter_decay": 0.3}),
    "lstm-decay-0.3": ("weight decay 0.3 of the LSTM and dense layer alone", {"lstm_decay": 0.3}),
    # bands
    "band-10-40": ("ERD 10 to 40 Hz", {"bands_hz": ((10.0, 40.0),)}),
    "band-18-40": ("ERD 18 to 40 Hz", {"bands_hz": ((18.0, 40.0),)}),
    "bank-8-16-40": ("ERD in 8-16 and 16-40 Hz, 4 filters each", {"bands_hz": ((8, 16), (16, 40)), "erd_filters": 4}),
    "bank-14-24-40": (
        "ERD in 14-24 and 24-40 Hz, 4 filters each",
        {"bands_hz": ((14, 24), (24, 40)), "erd_filters": 4},
    ),
    # the input of the LSTM, and how its output is used
    "accumulated": ("power since the window's start", {"accumulate": True}),
    "correlations": ("also the correlations of the ERD filters, block by block", {"correlations": True}),
    "correlations-accumulated": (
        "also the correlations of the ERD filters, and all since the window's start",
        {"correlations": True, "accumulate": True},
    ),
    "attention": ("attention over the steps instead of the last step", {"attention": True}),
    # how it is trained
    "shifts": ("450 ms windows cut at random offsets; tested on the latest", {"shifts": True}),
    "distillation": ("targets: half label, half the closed form's out-of-fold probability", {"distillation": 0.5}),
    "pretraining": ("LSTM first predicts the next block's features, 20 epochs, no labels", {"pretraining_epochs": 20}),
    "mirror-test": ("mirror at test time too (doubles the live cost)", {"both_sides": "test"}),
    "antisymmetric": (
        "logit = (g(x) - g(mirrored x)) / 2 throughout, no mirrored windows (doubles the live cost)",
        {"both_sides": "always", "mirror": 0.0},
    ),
}


@dataclass(frozen=True, eq=False)
class Study:
    """The trials and folds of every idea; `train` and `test` have a row for each fold of each repeat."""

    epochs: Epochs
    labels: NDArray[np.int64]  # (n_trials,)
    train: list[NDArray[np.int64]]
    test: list[NDArray[np.int64]]
    repeats: int
    seed: int

    def closed_form(self) -> NDArray[np.float64]:
        """Return the closed form's probability of class 1 for the training trials of each fold, out of fold.

        (n_networks, n_trials); trials outside a fold's training part keep 0.5 and are not used.
        """
        config, epochs = load_config(TrainConfig, find_config("closed-form")), self.epochs
        _, n_window, n_channels = epochs.x_uv.shape
        scaling = make_scaling(config, sfreq_hz=epochs.sfreq_hz, n_window=n_window, n_channels=n_channels)
        estimator = make_estimator(config, scaling, like=epochs, seed=self.seed)
        soft = np.full((len(self.train), len(self.labels)), 0.5)
        inner = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=self.seed)
        for row, trials in zip(soft, self.train, strict=True):
            x, y = epochs.x_uv[trials], self.labels[trials]
            row[trials] = cross_val_predict(estimator, x, y, cv=inner, method="predict_proba")[:, 1]
        return soft

    def logits(self, recipe: Recipe, *, seeds: int) -> NDArray[np.float64]:
        """Cross-validate: out-of-fold logits of class 1, (seeds, repeats, n_trials)."""
        epochs, n_trials = self.epochs, len(self.labels)
        partners = mirror_partners(epochs.channels, n_classes=len(epochs.classes))
        views = make_views(epochs.x_uv.astype(np.float64), recipe, partners=partners, sfreq_hz=epochs.sfreq_hz)
        targets = np.broadcast_to(self.labels.astype(np.float64), (len(self.train), n_trials))
        if recipe.distillation:
            targets = (1 - recipe.distillation) * targets + recipe.distillation * self.closed_form()
        n_train = min(len(trials) for trials in self.train)  # the same size for all: a larger fold loses a random trial
        out = np.empty((seeds, self.repeats, n_trials))
        for seed in range(seeds):
            rng = np.random.default_rng((self.seed, seed))
            train = torch.tensor(np.stack([rng.permutation(trials)[:n_train] for trials in self.train]))
            own = rng.integers(2**31, size=len(self.train)).tolist()
            stack = fit(recipe, views, torch.tensor(targets, dtype=torch.float32), train=train, seeds=own)
            with torch.no_grad():
                everything = torch.arange(n_trials).expand(len(train), -1)
                logits = stack.logits(everything, both_sides=recipe.both_sides != "no").numpy()
            for network, (row, trials) in enumerate(zip(logits, self.test, strict=True)):
                out[seed, network // FOLDS, trials] = row[trials]
        return out


def make_study(epochs: Epochs, *, repeats: int, seed: int) -> Study:
    """Draw the folds: repeat r is shuffled by seed + r."""
    assert epochs.labels is not None
    drawn = [
        split
        for repeat in range(repeats)
        for split in StratifiedKFold(FOLDS, shuffle=True, random_state=seed + repeat).split(epochs.x_uv, epochs.labels)
    ]
    return Study(epochs, epochs.labels, [train for train, _ in drawn], [test for _, test in drawn], repeats, seed)


def best_nll(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the negative log-likelihood of logits (..., n_trials) after the temperature that fits them best."""
    flat, truth = logits.ravel(), np.broadcast_to(labels, logits.shape).ravel()
    probs = softmax(np.stack([np.zeros_like(flat), flat], axis=1))  # (n, 2)
    probs = with_temperature(probs, fit_temperature(probs, truth))
    return float(-np.log(probs[np.arange(len(truth)), truth]).mean())


def summarise(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Compute the figures of one idea from logits (seeds, repeats, n_trials)."""
    right, ensemble = (logits > 0) == labels, logits.mean(axis=0)  # ensemble: (repeats, n_trials)
    return {
        "single": float(right.mean()),
        "single_nll": best_nll(logits, labels),
        "ensemble": float(((ensemble > 0) == labels).mean()),
        "ensemble_nll": best_nll(ensemble, labels),
        "accuracies": right.mean(axis=2).tolist(),  # (seeds, repeats)
    }


def difference(figures: dict[str, Any], base: dict[str, Any]) -> dict[str, float | None]:
    """Return the mean paired difference in single accuracy, and its standard error if there are several pairs."""
    pairs = np.ravel(figures["accuracies"]) - np.ravel(base["accuracies"])
    error = float(pairs.std(ddof=1) / np.sqrt(len(pairs))) if len(pairs) > 1 else None
    return {"difference": float(pairs.mean()), "standard_error": error}


def line(name: str, result: dict[str, Any]) -> str:
    """Write one idea's figures under the heading that `main` prints."""
    error = "   -" if result["standard_error"] is None else f"{100 * result['standard_error']:4.1f}"
    return (
        f"{name:25} {result['single']:6.3f} {result['single_nll']:5.3f}  {result['ensemble']:8.3f} "
        f"{result['ensemble_nll']:5.3f}  {100 * result['difference']:+12.1f} +- {error} {result['seconds']:9.0f}  "
        f"{result['words']}"
    )


@click.command()
@click.option("--data", required=True, help="Directory or file of the competition's data, or 'synthetic'.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(IDEAS)),
    help="Idea to run. Can be repeated; the base is always run.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=2, show_default=True, help="Of the 10 folds.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Number of networks for each fold."
)
@click.option("--seed", type=click.IntRange(min=0), default=7000, show_default=True)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the results to this file after each idea.",
)
def main(*, data: str, only: tuple[str, ...], repeats: int, seeds: int, seed: int, json_file: Path | None) -> None:
    """Cross-validate each idea and compare it to the base."""
    torch.set_num_threads(1)
    epochs = prepare(read_trials(data, part="train"), load_config(TrainConfig, find_config("single-100hz")))
    study = make_study(epochs, repeats=repeats, seed=seed)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    setup = {"data": epochs.source, "folds": FOLDS, "repeats": repeats, "seeds": seeds, "seed": seed, **versions}
    results: dict[str, dict[str, Any]] = {}
    print(f"{setup}, {epochs.x_uv.shape}, {os.cpu_count()} cores")
    print(f"{'idea':25} single   nll  ensemble   nll  single - base (points)     s", flush=True)
    for name, (words, changes) in IDEAS.items():
        if only and name not in {"base", *only}:
            continue
        began_s = time.perf_counter()
        figures = summarise(study.logits(replace(Recipe(), **changes), seeds=seeds), study.labels)
        seconds = round(time.perf_counter() - began_s, 1)
        base = results.get("base", figures)
        results[name] = {"words": words, **figures, **difference(figures, base), "seconds": seconds}
        print(line(name, results[name]), flush=True)
        if json_file is not None:
            written = {"setup": setup, "date": datetime.date.today().isoformat(), "ideas": results}
            json_file.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
