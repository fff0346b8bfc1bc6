"""Evaluation of a bundle on trials, through the decoder that also runs live. Used by ``pretap evaluate``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import describe_chance
from pretap.decoder.adapting import Adapted, AdaptingDecoder
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError
from pretap.files import write_json, write_text
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap.spelling import counted
from pretap_offline.evaluate.metrics import Scores, against_chance, describe_confusion, score
from pretap_offline.fit.riemannian import riemannian_mean
from pretap_offline.trials.report import TrialReport, describe_counts


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The decoded trials: `probs` (n_trials, n_classes), and `scores` if labels are known.

    `n_trained_on` counts the trials that the decoder was trained on. If it is not 0, the scores do not estimate the
    accuracy on new trials. `scored_in_s` is the time to decode all trials, without reading and resampling.

    `is_in_order` is whether the trials are known to be in the order of recording, in which a decoder must adapt. If it
    does, `adapted` is how far it has moved, `unadapted` are the scores of the bundle as it is, and
    `whole_session` those with the mean of all trials, which no live service knows.
    """

    source: str
    classes: tuple[str, ...]
    probs: NDArray[np.float64]
    scores: Scores | None
    n_trained_on: int
    scored_in_s: float
    is_in_order: bool = True
    adapted: Adapted | None = None
    unadapted: Scores | None = None
    whole_session: Scores | None = None

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
            lines += [
                scores.describe(),
                "true classes in rows, decoded in columns:",
                *describe_confusion(scores.confusion, self.classes),
            ]
            if not self.n_trained_on:
                n_of_class = [sum(row) for row in scores.confusion]
                lines.append(f"chance {describe_chance(*against_chance(scores.n_correct, n_of_class))}")
        if self.adapted is not None:
            order = "recording" if self.is_in_order else "the file, because that of recording is not known"
            lines.append(
                f"each trial was decoded with the state that those before it left, in the order of {order}: "
                f"{self.adapted.describe()}"
            )
        if self.unadapted is not None:
            lines.append(f"without adaptation: {self.unadapted.describe()}")
        if self.whole_session is not None:
            lines.append(f"re-centred by the whole session, later trials too: {self.whole_session.describe()}")
        lines.append(
            f"scored {counted(n, 'trial')} in {scored_in_s:.2f} s ({1000 * scored_in_s / n:.1f} ms each), after loading"
        )
        return "\n".join(lines)


def evaluate_trials(decoder: Decoder, epochs: Epochs, *, clock: Callable[[], float] = time.perf_counter) -> Evaluation:
    """Decode every trial, after matching channels and classes by name and resampling to the bundle's rate.

    Of longer trials, the bundle's window relative to the event is decoded.

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
    length_ms = 1000 * manifest.n_window / manifest.sfreq_hz
    if round(length_ms * epochs.sfreq_hz / 1000) < epochs.n_samples:
        epochs = epochs.crop(manifest.window_end_ms - length_ms, manifest.window_end_ms)
    at_rate = resample_epochs(epochs, sfreq_hz=manifest.sfreq_hz)
    if at_rate.n_samples != manifest.n_window:
        raise DataError(
            f"{epochs.source}: trials of {at_rate.n_samples} samples at {at_rate.sfreq_hz:g} Hz; "
            f"the bundle takes windows of {manifest.n_window}."
        )
    started_s = clock()
    probs = _decode_in_order(decoder, at_rate.x_uv)
    scored_in_s = clock() - started_s
    evaluation = Evaluation(
        source=epochs.source,
        classes=manifest.classes,
        probs=probs,
        scores=None if epochs.labels is None else score(epochs.labels, probs),
        n_trained_on=manifest.training.count_known(epochs.trial_ids),
        scored_in_s=scored_in_s,
        is_in_order=epochs.is_in_order,
    )
    if not isinstance(decoder, AdaptingDecoder):
        return evaluation
    evaluation = replace(evaluation, adapted=decoder.adapted)
    if epochs.labels is None:
        return evaluation
    return replace(
        evaluation,
        unadapted=score(epochs.labels, decoder.exact().decode(at_rate.x_uv)),
        whole_session=score(epochs.labels, _decode_by_whole_session(decoder, at_rate.x_uv)),
    )


def _decode_in_order(decoder: Decoder, x_uv: NDArray[np.float32]) -> NDArray[np.float64]:
    """Decode trials; one that adapts moves its state by each trial after it was decoded, as it does live."""
    if not isinstance(decoder, AdaptingDecoder):
        return decoder.decode(x_uv)
    probs = []
    for window_uv in x_uv:
        probs.append(decoder.decode(window_uv))
        decoder.update(window_uv)
    return np.stack(probs)  # (n_trials, n_classes)


def _decode_by_whole_session(decoder: AdaptingDecoder, x_uv: NDArray[np.float32]) -> NDArray[np.float64]:
    """Decode trials with the Riemannian mean of all of them, and leave that as the state."""
    covariances = [decoder.covariances(window_uv) for window_uv in x_uv]  # for each trial, one for each mean
    for mean, own in zip(decoder.means, zip(*covariances, strict=True), strict=True):
        mean.restore(riemannian_mean(np.stack(own)), n_windows=len(x_uv))
    return decoder.decode(x_uv)


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
