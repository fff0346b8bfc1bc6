"""Results of `pretap compare` and `pretap sweep`: their JSON files, and the chosen recipe as TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pretap.errors import DataError
from pretap.files import write_text, write_whole, writing


class Trials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trials of the cross-validation; `labels` (n_trials,) are indices into `classes`."""

    source: str
    subject: str
    sha256: str
    n_trials: int
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    sfreq_hz: float
    labels: tuple[int, ...]


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protocol and the code, for repeating the computation.

    Attributes
    ----------
    protocol
        A description for a caption.
    blockwise
        Whether trials were held out in contiguous blocks of time (the blocks are then the same in every repeat).
    seed
        The seed of the folds; the networks of repeat r start from ``seed + r``.
    code
        Version and sha256 of the source code that a fit depends on.
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
    """The indices of the trials held out of one fit, and the seed of its network."""

    repeat: int
    seed: int
    score_on: tuple[int, ...]


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores of out-of-fold probabilities: means over the repeats.

    Attributes
    ----------
    accuracies
        The accuracy of each repeat; `accuracy` is their mean, `accuracy_sd` their standard deviation (0 for one).
    accuracy_ci95
        Wilson's interval with n = the number of trials, because repeats are not new trials.
    ece, ece_p
        Calibration error in ten bins of equal mass, and its p-value: how often a simulated, perfectly calibrated
        decoder has an error as large.
    slope, intercept
        The logistic regression of the label on the logit: 1 and 0 if calibrated, a slope below 1 if overconfident. With
        more than two classes, the slope is the best inverse temperature, without an intercept. None if the classes do
        not overlap.
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

    def describe_accuracy(self) -> str:
        """Return the mean accuracy, with the standard deviation if there are several repeats."""
        spread = f" ± {self.accuracy_sd:.3f}" if len(self.accuracies) > 1 else ""
        return f"{self.accuracy:.3f}{spread}"


class CurvePoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One point of a learning curve: mean number of training trials, accuracy, and Wilson's interval."""

    n_trials: int
    accuracy: float
    accuracy_ci95: tuple[float, float]


class Permutations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Accuracies of a recipe on permuted labels, one repeat each, and the p-value of its accuracy."""

    accuracies: tuple[float, ...]
    p: float


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result of one configuration.

    Attributes
    ----------
    figures, raw
        Summaries of the calibrated probabilities (temperatures fitted across the folds), and of the raw ones.
    fit_s
        Median duration of one fit in seconds.
    forward_only
        Whether the decoder's state can be advanced sample by sample, so that a live step costs one step.
    probs, raw_probs
        Calibrated and raw out-of-fold probabilities (n_repeats, n_trials, n_classes).
    losses
        Loss on the training trials of each fold (n_fits, n_epochs); empty for kinds in closed form.
    """

    name: str
    file: str
    kind: str
    config: dict[str, Any]
    figures: Summary
    raw: Summary
    n_parameters: int
    fit_s: float
    forward_only: bool
    probs: list[list[list[float]]]
    raw_probs: list[list[list[float]]]
    permutations: Permutations | None = None
    learning_curve: tuple[CurvePoint, ...] = ()
    losses: list[list[float]] = []


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One configuration minus the first: accuracy and NLL, 95 % interval and p of the corrected resampled t-test.

    Nadeau and Bengio, Machine Learning 52 (2003), over the folds of all repeats. Blocks of time are the same in every
    repeat, so each counts once, with the mean over the repeats.
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
    """The result of `pretap compare`, with `outcomes` in the order of the command line."""

    trials: Trials
    setting: Setting
    folds: tuple[Fold, ...]
    outcomes: tuple[Outcome, ...]
    differences: tuple[Difference, ...]
    format_version: int = 1

    @property
    def best_first(self) -> list[Outcome]:
        """The outcomes sorted by accuracy, the highest first."""
        return sorted(self.outcomes, key=lambda each: -each.figures.accuracy)


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One candidate of a sweep, and its calibrated NLL over the inner folds.

    `nll` is None if training diverged, or if the values cannot be built together for the reason in `fault`.
    """

    values: dict[str, Any]
    nll: float | None
    fault: str = ""


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The candidate chosen on the inner folds of one outer fold; `accuracy` and `nll` are on its held-out trials."""

    repeat: int
    fold: int
    values: dict[str, Any]
    inner_nll: float
    temperature: float
    accuracy: float
    nll: float


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sweep", tag_field="what"):
    """The result of `pretap sweep`.

    Attributes
    ----------
    nested
        Scores of the nested cross-validation: an estimate for search and fit together. None with ``--outer-folds 0``.
    chosen
        The choice of each outer fold.
    tried
        The candidates of the search on all data. `values` is the best of them; its `nll` is optimistic.
    """

    trials: Trials
    setting: Setting
    space: dict[str, Any]
    nested: Summary | None
    chosen: tuple[Chosen, ...]
    probs: list[list[list[float]]]
    tried: tuple[Trial, ...]
    values: dict[str, Any]
    nll: float
    config: dict[str, Any]
    format_version: int = 1


def write_results(results: Comparison | Sweep, path: Path) -> None:
    """Write results as JSON; the file exists whole or not at all."""
    with writing(path):
        write_whole(path, msgspec.json.encode(results) + b"\n")


def read_results(path: Path) -> Comparison | Sweep:
    """Read the JSON file of `pretap compare` or `pretap sweep`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Comparison | Sweep)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from None
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: not the results of this version's `pretap compare` or `sweep`: {error}.") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: expected the JSON of `pretap compare` or `pretap sweep`: {error}.") from None


def write_chosen(found: Sweep, path: Path) -> None:
    """Write the chosen configuration as TOML, with its origin and scores in a comment."""
    import tomli_w

    lines = [f"# Chosen by `pretap sweep` on {found.setting.created[:10]} from {found.trials.source},"]
    lines.append(f"# {found.setting.protocol}.")
    lines.append(f"# NLL on the inner folds: {found.nll:.3f}, optimistic because it is the best of {len(found.tried)}.")
    if found.nested is not None:
        lines.append(f"# Nested estimate: accuracy {found.nested.accuracy:.3f}, NLL {found.nested.nll:.3f}.")
    write_text(path, "\n".join(lines) + "\n\n" + tomli_w.dumps(_without_none(found.config)))


def _without_none(value: Any) -> Any:
    """Remove keys that are None, which TOML cannot express."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return value
