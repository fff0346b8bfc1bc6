"""Evaluation of a bundle on trials, through the decoder that also runs live. Used by ``pretap evaluate``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import describe_chance
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError
from pretap.files import write_json, write_text
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap.spelling import counted
from pretap_offline.evaluate.metrics import Scores, against_chance, describe_confusion, score
from pretap_offline.trials.report import TrialReport, describe_counts


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The decoded trials: `probs` (n_trials, n_classes), and `scores` if labels are known.

    `n_trained_on` counts the trials that the decoder was trained on. If it is not 0, the scores do not estimate the
    accuracy on new trials. `scored_in_s` is the time to decode all trials, without reading and resampling.
    """

    source: str
    classes: tuple[str, ...]
    probs: NDArray[np.float64]
    scores: Scores | None
    n_trained_on: int
    scored_in_s: float

    def describe(self) -> str:
        """Return the predictions and the scores in a few lines."""
        n, scores, scored_in_s = len(self.probs), self.scores, self.scored_in_s
        counts = np.bincount(self.probs.argmax(1), minlength=len(self.classes))
        lines = [f"{counted(n, 'trial')}: {self.source}", f"predicted: {describe_counts(counts, self.classes)}"]
        if self.n_trained_on:
            lines.append(f"NOT AN ESTIMATE: {self.n_trained_on} of {n} trials were trained on")
        if scores is None:
            lines.append("no labels, so no accuracy")
        else:
            low, high = scores.accuracy_ci95
            lines += [
                f"accuracy {scores.accuracy:.3f} ({scores.n_correct} of {scores.n_trials} correct, "
                f"95 % interval {low:.3f} to {high:.3f}), kappa {scores.kappa:.2f}, NLL {scores.nll:.3f}",
                "true classes in rows, decoded in columns:",
                *describe_confusion(scores.confusion, self.classes),
            ]
            if not self.n_trained_on:
                n_of_class = [sum(row) for row in scores.confusion]
                lines.append(f"chance {describe_chance(*against_chance(scores.n_correct, n_of_class))}")
        lines.append(
            f"scored {counted(n, 'trial')} in {scored_in_s:.2f} s ({1000 * scored_in_s / n:.1f} ms each), after loading"
        )
        return "\n".join(lines)


def evaluate_trials(decoder: Decoder, epochs: Epochs, *, clock: Callable[[], float] = time.perf_counter) -> Evaluation:
    """Decode every trial, after matching channels and classes by name and resampling to the bundle's rate.

    Raises
    ------
    DataError
        If classes, channels or the length of the trials do not fit the bundle.
    """
    manifest = decoder.manifest
    if epochs.labels is not None and epochs.classes != manifest.classes:
        if not set(epochs.classes) <= set(manifest.classes):
            raise DataError(
                f"{epochs.source} has the classes {epochs.classes}, but the bundle decodes {manifest.classes}."
            )
        order = np.array([manifest.classes.index(name) for name in epochs.classes], np.int64)
        epochs = replace(epochs, labels=order[epochs.labels], classes=manifest.classes)
    epochs = epochs.pick(manifest.channels)
    at_rate = resample_epochs(epochs, sfreq_hz=manifest.sfreq_hz)
    if at_rate.n_samples != manifest.n_window:
        raise DataError(
            f"{epochs.source}: trials of {at_rate.n_samples} samples at {at_rate.sfreq_hz:g} Hz; "
            f"the bundle takes windows of {manifest.n_window}."
        )
    started_s = clock()
    probs = decoder.decode(at_rate.x_uv)
    scored_in_s = clock() - started_s
    return Evaluation(
        source=epochs.source,
        classes=manifest.classes,
        probs=probs,
        scores=None if epochs.labels is None else score(epochs.labels, probs),
        n_trained_on=manifest.training.count_known(epochs.trial_ids),
        scored_in_s=scored_in_s,
    )


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write one CSV row per trial: ``trial,predicted,p_<class>...`` with 9 significant digits."""
    rows = [",".join(["trial", "predicted", *(f"p_{name}" for name in evaluation.classes)])]
    for trial, probs in enumerate(evaluation.probs):
        rows.append(",".join([str(trial), str(int(probs.argmax())), *(f"{p:.9g}" for p in probs)]))
    write_text(path, "\n".join(rows) + "\n")


def write_scores(evaluation: Evaluation, path: Path, *, cut: TrialReport | None = None) -> None:
    """Write the scores as JSON, with the report of the trials if they were cut from recordings.

    ``honest`` is false if the decoder was trained on any of the trials.
    """
    content = asdict(evaluation) | {"n_trials": len(evaluation.probs), "honest": evaluation.n_trained_on == 0}
    if cut is not None:
        content["trials"] = cut
    del content["probs"]
    write_json(path, content)
