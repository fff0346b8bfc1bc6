"""Compares decoders of frontal, temporal and central channels: does a decoder read the eyes? Used by training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.advice import is_significant
from pretap.config.train import TrainConfig
from pretap.networks.closed_form import log_covariance, window_means
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.folds import splits
from pretap_offline.evaluate.metrics import against_chance
from pretap_offline.trials.hand_areas import central, frontal_and_temporal

_BAND_HZ = (8.0, 30.0)  # mu and beta, if the recipe has no band
_MUSCLE_HZ = (35.0, 45.0)  # above most of beta and below mains; muscles reach from 20 Hz to 300 Hz
_ORDER = 2
_N_MEANS = 5
_C = 10.0  # of the logistic regression; each view of a window has a mean square of 1
_MIN_CHANNELS = 2  # one is lost to the average reference
_UNCLEAR = 1.64  # standard errors: the one-sided 5 % limit

ALL, FRONTAL, CENTRAL, MUSCLES = "all", "frontal and temporal", "central", "35 to 45 Hz"


@dataclass(frozen=True, eq=False)
class Quick:
    """Out-of-fold results of one quick decoder: whether each trial was decoded right (n_epochs,), and the mean NLL."""

    right: NDArray[np.bool_]
    nll: float

    @property
    def accuracy(self) -> float:
        """The share of trials that were decoded right."""
        return float(self.right.mean())


def quick_decoders(
    epochs: Epochs, config: TrainConfig, *, seed: int, advance: Callable[[int], None] = lambda _: None
) -> dict[str, Quick]:
    """Decode the trials from all, from frontal and temporal and from central channels, and from the power of muscles.

    The folds are those of the first repeat of `config.evaluation`, and the quick decoder is the same for all channels:
    logistic regression on the log-covariance of the recipe's band and on means of the slow potential, after the average
    of these channels is subtracted. Muscles are looked for in the log-covariance of 35 to 45 Hz, if the rate allows. A
    set with fewer than two channels is left out. `advance` is called with the finished part of `quick_work`.
    """
    from threadpoolctl import threadpool_limits

    band_hz = getattr(config.network, "band_hz", _BAND_HZ)
    sets = {ALL: epochs.channels, FRONTAL: frontal_and_temporal(epochs.channels), CENTRAL: central(epochs.channels)}
    views = {name: (channels, band_hz, True) for name, channels in sets.items()} | {
        MUSCLES: (epochs.channels, _MUSCLE_HZ, False)
    }
    folds = splits(epochs, replace(config.evaluation, repeats=1), seed=seed)
    found = {}
    for name, (channels, wanted_hz, has_slow) in views.items():
        fits_rate = 2 * wanted_hz[1] < epochs.sfreq_hz
        if (has_slow or fits_rate) and (name == ALL or len(channels) >= _MIN_CHANNELS):
            picked = [epochs.channels.index(channel) for channel in channels]
            with threadpool_limits(1):  # the matrices are small: more threads only wait for each other
                features = _features(
                    epochs.x_uv[:, :, picked],
                    band_hz=wanted_hz if fits_rate else None,
                    has_slow=has_slow,
                    sfreq_hz=epochs.sfreq_hz,
                )
                found[name] = _decode(features, epochs, folds)
        advance(len(epochs))
    return found


def quick_work(epochs: Epochs) -> int:
    """Return the work of `quick_decoders` in the unit of `pretap_offline.fit.fitting.fit_work`."""
    return 4 * len(epochs)


def describe_sources(found: dict[str, Quick], labels: NDArray[np.int64], *, is_above_chance: bool) -> tuple[str, ...]:
    """Return sentences that compare the channels near eyes and jaw with those over the hand areas.

    A decoder of the hand is carried by central channels, and volume conduction leaves less of it in frontal ones. If
    frontal channels are above chance and central ones are not better by 1.64 standard errors (paired over trials), eyes
    or muscles may contribute. If frontal ones are better by more than one standard error, or the power at 35 to 45 Hz
    is, a warning says so. Without a decoder above chance (`is_above_chance`) there is nothing to explain.
    """
    if FRONTAL not in found or CENTRAL not in found:
        lacking = " and ".join(name for name in (FRONTAL, CENTRAL) if name not in found)
        return (
            f"Not checked for eyes and muscles: fewer than {_MIN_CHANNELS} {lacking} channels have a known electrode.",
        )
    near, over = found[FRONTAL], found[CENTRAL]
    gain, error = _paired(near, over)
    text = f"Frontal and temporal channels alone give {near.accuracy:.2f}, central ones {over.accuracy:.2f}"
    if not is_above_chance:
        return (f"{text}.",)
    sentences = []
    if not _is_above_chance(near, labels) or gain < -_UNCLEAR * error:
        sentences.append(f"{text}: no sign that eyes or muscles are decoded.")
    elif gain <= error:
        sentences.append(f"{text}: eyes or muscles may contribute. Look at the patterns before you trust this decoder.")
    else:
        sentences.append(
            f"WARNING: {text}: this decoder probably reads eye movements or muscles, not the hand. Look at the "
            "patterns, keep the eyes on one point during the task, or leave out frontal and temporal channels "
            "(trials.exclude)."
        )
    if MUSCLES in found and _is_above_chance(found[MUSCLES], labels):
        gain, error = _paired(found[MUSCLES], over)
        if gain > error:
            sentences.append(
                f"WARNING: The power at {MUSCLES} gives {found[MUSCLES].accuracy:.2f}, central channels "
                f"{over.accuracy:.2f}: this decoder probably reads muscles. Relax jaw, neck and the other arm, and "
                "leave out temporal channels (trials.exclude)."
            )
    return tuple(sentences)


def _paired(one: Quick, other: Quick) -> tuple[float, float]:
    """Return the difference of two accuracies and its standard error over trials."""
    difference = one.right.astype(np.float64) - other.right
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _is_above_chance(quick: Quick, labels: NDArray[np.int64]) -> bool:
    _, p = against_chance(int(quick.right.sum()), np.bincount(labels).tolist())
    return is_significant(p)


# -- the quick decoder ---------------------------------------------------------------------------------------------


def _features(
    x_uv: NDArray[np.float32], *, band_hz: tuple[float, float] | None, has_slow: bool, sfreq_hz: float
) -> list[NDArray[np.float64]]:
    """Compute the views of windows (n_epochs, n_samples, n_channels), each (n_epochs, n_features)."""
    from scipy.signal import butter, sosfilt

    rows = []
    sections = None if band_hz is None else butter(_ORDER, band_hz, "bandpass", fs=sfreq_hz, output="sos")
    for window in x_uv:  # one by one, because a copy of all in double precision may not fit in memory
        x = window.astype(np.float64)
        x -= x.mean(axis=0)
        if x.shape[1] > 1:
            x -= x.mean(axis=1, keepdims=True)
        views = [window_means(x, min(_N_MEANS, len(x)))] if has_slow else []
        if sections is not None:
            views.append(log_covariance(sosfilt(sections, x - x[0], axis=0)))
        rows.append(views)
    return [np.stack(view) for view in zip(*rows, strict=True)]


def _decode(features: list[NDArray[np.float64]], epochs: Epochs, folds: list[Any]) -> Quick:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    labels = epochs.labels
    assert labels is not None
    probs = np.zeros((len(epochs), len(epochs.classes)))
    for fold in folds:
        fitted = [StandardScaler().fit(view[fold.fit_on]) for view in features]
        x = np.hstack([s.transform(view) / np.sqrt(view.shape[1]) for s, view in zip(fitted, features, strict=True)])
        model = LogisticRegression(C=_C, max_iter=1000).fit(x[fold.fit_on], labels[fold.fit_on])
        probs[np.ix_(fold.score_on, model.classes_)] = model.predict_proba(x[fold.score_on])
    own = probs[np.arange(len(labels)), labels]
    return Quick(probs.argmax(axis=1) == labels, float(-np.log(np.maximum(own, 1e-9)).mean()))
