"""What `pretap compare --json` and `pretap sweep --json` write, and how it is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pretap.errors import DataError
from pretap.files import write_whole, writing

__all__ = [
    "Chosen",
    "Comparison",
    "CurvePoint",
    "Difference",
    "Figures",
    "Fold",
    "Outcome",
    "Permutations",
    "Setting",
    "Sweep",
    "Trial",
    "Trials",
    "read_results",
    "write_results",
]


class Trials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trials that everything was fitted and scored on; `labels` (n_trials,) are indices into `classes`."""

    source: str
    subject: str
    sha256: str
    n_trials: int
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    sfreq_hz: float
    labels: tuple[int, ...]


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How was split and with which code: what somebody needs to do it again.

    Attributes
    ----------
    protocol
        In words, for a caption.
    blockwise
        Whether trials were held out in contiguous blocks of time (then the blocks are the same in every repeat).
    seed
        Of the folds; the networks of repeat r start from ``seed + r``.
    code
        Version and sha256 of the sources that a fit depends on.
    """

    protocol: str
    folds: int
    repeats: int
    blockwise: bool
    seed: int
    code: str
    versions: dict[str, str]
    created: str


class Fold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trials that were held out of one fit, by index, and the seed of its network."""

    repeat: int
    seed: int
    score_on: tuple[int, ...]


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of out-of-fold probabilities: means over the repeats.

    Attributes
    ----------
    accuracies
        One for each repeat; `accuracy` is their mean, `accuracy_sd` their standard deviation (0 for one repeat).
    accuracy_ci95
        Wilson's interval, n = the number of trials (repeats are no new trials).
    ece, ece_p
        Calibration error in ten bins of equal mass, and the p-value of the simulation: how often a perfectly calibrated
        decoder shows an error as large.
    slope, intercept
        Of the label's logistic regression on the logit: 1 and 0 where calibrated, a slope below 1 is overconfident.
        With more than two classes the slope is the best inverse temperature, without an intercept. None where the
        classes do not overlap.
    """

    accuracy: float
    accuracy_sd: float
    accuracy_ci95: tuple[float, float]
    accuracies: tuple[float, ...]
    nll: float
    ece: float
    ece_p: float
    slope: float | None
    intercept: float | None
    kappa: float
    auc: float

    def accuracy_words(self) -> str:
        """Give the mean over the repeats, and their spread where there is one to speak of."""
        spread = f" ± {self.accuracy_sd:.3f}" if len(self.accuracies) > 1 else ""
        return f"{self.accuracy:.3f}{spread}"


class CurvePoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One point of a learning curve: the mean number of trials fitted on, accuracy, and Wilson's interval."""

    n_trials: int
    accuracy: float
    accuracy_ci95: tuple[float, float]


class Permutations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Accuracies of the same recipe on permuted labels, one repeat each, and the p-value of the true one."""

    accuracies: tuple[float, ...]
    p: float


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of one configuration.

    Attributes
    ----------
    figures, raw
        Of the calibrated probabilities (temperature fitted across the folds), and of those that the networks gave.
    fit_s
        Median seconds of one fit.
    forward_only
        Whether the decoder's state can be advanced sample by sample (one-step cost live).
    probs, raw_probs
        (n_repeats, n_trials, n_classes), out of fold, calibrated and not.
    losses
        (n_fits, n_epochs), the loss on the training trials of each fold; empty for kinds in closed form.
    """

    name: str
    file: str
    kind: str
    config: dict[str, Any]
    figures: Figures
    raw: Figures
    n_parameters: int
    fit_s: float
    forward_only: bool
    probs: tuple[tuple[tuple[float, ...], ...], ...]
    raw_probs: tuple[tuple[tuple[float, ...], ...], ...]
    permutations: Permutations | None = None
    learning_curve: tuple[CurvePoint, ...] = ()
    losses: tuple[tuple[float, ...], ...] = ()


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One configuration minus the first: accuracy and NLL, 95 % interval and p of the corrected resampled t-test.

    Nadeau and Bengio, Machine Learning 52 (2003); over the folds of all repeats. Blocks of time are the same in every
    repeat: each counts once, with the mean over the repeats.
    """

    name: str
    against: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    accuracy_p: float
    nll: float
    nll_ci95: tuple[float, float]
    nll_p: float


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="compare", tag_field="what"):
    """The whole result of `pretap compare`; `outcomes` in the order of the command line."""

    trials: Trials
    setting: Setting
    folds: tuple[Fold, ...]
    outcomes: tuple[Outcome, ...]
    differences: tuple[Difference, ...]
    format_version: int = 1


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One set of values that was tried, and its calibrated NLL over the inner folds.

    Without one either training diverged, or `fault` says why these values cannot be built together.
    """

    values: dict[str, Any]
    nll: float | None
    fault: str = ""


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the inner folds of one outer fold chose; `accuracy` and `nll` on the fold's held-out trials."""

    repeat: int
    fold: int
    values: dict[str, Any]
    inner_nll: float
    temperature: float
    accuracy: float
    nll: float


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sweep", tag_field="what"):
    """The whole result of `pretap sweep`.

    Attributes
    ----------
    nested
        Figures of the nested cross-validation: an estimate of search and fit together. None with ``--outer-folds 0``.
    chosen
        One for each outer fold.
    tried
        The trials of the study on all the data; `values` are the best of them, `nll` theirs: a choice, no estimate.
    """

    trials: Trials
    setting: Setting
    space: dict[str, Any]
    nested: Figures | None
    chosen: tuple[Chosen, ...]
    probs: tuple[tuple[tuple[float, ...], ...], ...]
    tried: tuple[Trial, ...]
    values: dict[str, Any]
    nll: float
    config: dict[str, Any]
    format_version: int = 1


def write_results(results: Comparison | Sweep, path: Path) -> None:
    """Write the file at once or not at all."""
    with writing(path):
        write_whole(path, msgspec.json.encode(results, order="deterministic") + b"\n")


def read_results(path: Path) -> Comparison | Sweep:
    """Read what `pretap compare --json` or `pretap sweep --json` wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Comparison | Sweep)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from None
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: not the results of this version's `pretap compare` or `sweep`: {error}.") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: expected the JSON of `pretap compare` or `pretap sweep`: {error}.") from None
