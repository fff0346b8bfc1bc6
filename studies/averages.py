"""Average the out-of-fold logits of two decoders of `pretap compare`, and print the scores of both and of the average.

    pretap compare ensemble-100hz closed-form --data DIR --seed 20261201 --repeats 10 --json frozen.json
    python studies/averages.py frozen.json --weight 0.25

The second decoder has the weight. Temperatures are fitted again, for each fold on the other folds. `compare` keeps
finished fits, so an interrupted one continues.
"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import numpy as np

from pretap.networks import softmax
from pretap_offline.evaluate.cross_validation import Split, calibrated
from pretap_offline.lab.results import Comparison
from pretap_offline.lab.summary import summarise


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--weight", type=click.FloatRange(0, 1), default=0.25, show_default=True, help="Of the second decoder.")
def main(*, results: Path, weight: float) -> None:
    """Print accuracy, NLL, calibration slope and AUC, as means over the repeats, with the spread of the accuracy."""
    comparison = msgspec.json.decode(results.read_bytes(), type=Comparison)
    first, second = comparison.outcomes[:2]
    labels = np.array(comparison.trials.labels)
    nothing = np.array([], np.int64)
    drawn = [Split(fold.repeat, nothing, np.array(fold.score_on)) for fold in comparison.folds]
    logits = [np.log(np.array(each.raw_probs)) for each in (first, second)]  # (n_repeats, n_trials, n_classes)
    probs, _ = calibrated(softmax((1 - weight) * logits[0] + weight * logits[1]), labels, drawn)
    rows = [
        (first.name, first.figures),
        (second.name, second.figures),
        (f"{1 - weight:g} and {weight:g} of them", summarise(labels, probs, seed=comparison.setting.seed)),
    ]
    print(comparison.setting.protocol)
    for name, figures in rows:
        low, high = figures.accuracy_ci95
        slope = "none" if figures.slope is None else f"{figures.slope:.2f}"
        print(
            f"{name:24} accuracy {figures.describe_accuracy()} ({low:.3f} to {high:.3f})  NLL {figures.nll:.3f}  "
            f"slope {slope}  AUC {figures.auc:.3f}"
        )


if __name__ == "__main__":
    main()
