"""Draw the figures of docs/accuracy.md from the results of `pretap compare --json`, in the style of its report.

python studies/accuracy_figures.py RESULTS.json... --data DIR --out docs/figures
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pretap_offline.evaluate.decision_patterns import decision_patterns
from pretap_offline.lab.report import figures
from pretap_offline.lab.report.topographies import Topographies
from pretap_offline.lab.results import Comparison, read_results
from pretap_offline.trials.source import read_trials

PUBLISHED = {"competition's winner, test part (0.84)": 0.84, "best published, test part (0.87)": 0.87}


def in_a_row(pictures):
    """Join PNGs of one size side by side."""
    images = [Image.open(io.BytesIO(each)) for each in pictures]
    row = Image.new("RGB", (sum(each.width for each in images), images[0].height), "white")
    left = 0
    for each in images:
        row.paste(each, (left, 0))
        left += each.width
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    for path in args.results:
        found = read_results(path)
        assert isinstance(found, Comparison)
        for each in found.outcomes:  # if a recipe is in several files, use the one with the most repeats
            if len(each.probs) >= len(outcomes.get(each.name, each).probs):
                outcomes[each.name] = each
            if each.learning_curve:
                (args.out / "learning-curve.svg").write_bytes(figures.learning_curves([each]))
            if each.permutations is not None:
                (args.out / "permutations.svg").write_bytes(
                    figures.permutations(each.permutations, each.figures.accuracy)
                )
    best_first = sorted(outcomes.values(), key=lambda each: -each.figures.accuracy)
    labels = np.array(found.trials.labels)
    chance = np.bincount(labels).max() / len(labels)
    (args.out / "accuracies.svg").write_bytes(figures.accuracies(best_first, chance=chance, published=PUBLISHED))
    trials = read_trials(args.data, part="train")
    drawing = Topographies(trials.channels)
    for each in best_first:
        if each.kind != "lrp-erd-lstm":
            continue
        probs = np.array(each.probs)
        bins = figures.confidence_bins(labels, probs, rng=np.random.default_rng(0))
        (args.out / f"calibration-{each.name}.svg").write_bytes(figures.reliability(bins, probs, large=True))
        (args.out / f"training-{each.name}.svg").write_bytes(figures.training(np.array(each.losses), n_classes=2))
        maps = [drawn for group in decision_patterns(trials, probs.mean(axis=0)) for drawn in drawing.draw(group)]
        in_a_row(maps).save(args.out / f"maps-{each.name}.png")


if __name__ == "__main__":
    main()
