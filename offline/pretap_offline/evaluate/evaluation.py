"""Scoring a bundle on trials, through the same decoder that serves live."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.decoder.decoder import Decoder
from pretap.errors import DataError
from pretap.files import write_json, writing
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap_offline.evaluate.advice import chance_words
from pretap_offline.evaluate.metrics import Scores, against_chance, score

__all__ = ["Evaluation", "evaluate_trials", "report", "write_figures", "write_predictions"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a decoder said about trials: `probs` (n_trials, n_classes), and `scores` where labels are known.

    `n_trained_on` counts the trials that the decoder was trained on; where there are any, the scores are no estimate
    of how it does on new ones. `scored_in_s` is how long decoding all trials took, without reading and resampling.
    """

    source: str
    classes: tuple[str, ...]
    probs: NDArray[np.float64]
    scores: Scores | None
    n_trained_on: int
    scored_in_s: float


def evaluate_trials(decoder: Decoder, epochs: Epochs, *, clock: Callable[[], float] = time.perf_counter) -> Evaluation:
    """Decode every trial. Channels and classes are matched by name, and another rate is resampled to the bundle's."""
    manifest = decoder.manifest
    if epochs.labels is not None and epochs.classes != manifest.classes:
        if not set(epochs.classes) <= set(manifest.classes):
            raise DataError(f"{epochs.source} has the classes {epochs.classes}, the bundle decodes {manifest.classes}.")
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


def report(evaluation: Evaluation) -> str:
    """Say it in words."""
    n, counts = len(evaluation.probs), np.bincount(evaluation.probs.argmax(1), minlength=len(evaluation.classes))
    predicted = ", ".join(f"{k} {name}" for name, k in zip(evaluation.classes, counts, strict=True))
    lines = [f"{n} trials: {evaluation.source}", f"predicted: {predicted}"]
    if evaluation.n_trained_on:
        lines.append(f"NOT AN ESTIMATE: {evaluation.n_trained_on} of {n} trials were trained on")
    scores = evaluation.scores
    if scores is None:
        lines.append("no labels, so no accuracy")
    else:
        low, high = scores.accuracy_ci95
        lines += [
            (
                f"accuracy {scores.accuracy:.3f} ({scores.n_correct} of {scores.n_trials}, "
                f"95 % interval {low:.3f} to {high:.3f}), kappa {scores.kappa:.2f}, NLL {scores.nll:.3f}"
            ),
            "confusion (truth in rows): "
            + "; ".join(
                f"{name}: " + ", ".join(f"{k} {other}" for other, k in zip(evaluation.classes, row, strict=True))
                for name, row in zip(evaluation.classes, scores.confusion, strict=True)
            ),
        ]
        if not evaluation.n_trained_on:
            lines.append(chance_words(*against_chance(scores.n_correct, scores.labels())))
    took_s = evaluation.scored_in_s
    lines.append(f"scored {n} trials in {took_s:.2f} s ({1000 * took_s / n:.1f} ms each), after loading")
    return "\n".join(lines)


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write the file that WIRE.md defines: ``trial,predicted,p_<class>...``, 9 significant digits."""
    rows = [",".join(["trial", "predicted", *(f"p_{name}" for name in evaluation.classes)])]
    for trial, probs in enumerate(evaluation.probs):
        rows.append(",".join([str(trial), str(int(probs.argmax())), *(f"{p:.9g}" for p in probs)]))
    with writing(path):
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_figures(evaluation: Evaluation, path: Path) -> None:
    """Write the figures; ``honest`` is false where any trial was trained on."""
    figures: dict[str, Any] = {
        "source": evaluation.source,
        "classes": evaluation.classes,
        "n_trials": len(evaluation.probs),
        "n_trained_on": evaluation.n_trained_on,
        "scored_in_s": evaluation.scored_in_s,
        "honest": evaluation.n_trained_on == 0,
        "scores": None if evaluation.scores is None else asdict(evaluation.scores),
    }
    write_json(path, figures)
