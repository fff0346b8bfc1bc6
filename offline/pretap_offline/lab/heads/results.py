"""Results of a comparison over heads: aggregates only, for its JSON file, its table and its page."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pretap.files import write_whole, writing
from pretap_offline.lab.heads.protocols import Protocol

_Interval = tuple[float, float]


class GroupFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group as it was read: its source, and for each head the trials, sessions, channels, classes and rate."""

    name: str
    source: str
    heads: dict[str, str]


class Verdicts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers of verdicts from the trials fitted on: go or no-go, right or wrong by the trials scored.

    A verdict is right if the accuracy on the trials scored is worth going live by the same rule
    (`pretap.bundle.advice.is_worthwhile`) after a go, and is not after a no-go.
    """

    go_right: int = 0
    go_wrong: int = 0
    no_go_right: int = 0
    no_go_wrong: int = 0

    @property
    def n(self) -> int:
        """The number of verdicts."""
        return self.go_right + self.go_wrong + self.no_go_right + self.no_go_wrong

    @property
    def n_right(self) -> int:
        """The number of right verdicts."""
        return self.go_right + self.no_go_right

    def __add__(self, other: Verdicts) -> Verdicts:
        return Verdicts(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))


class HeadScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The score of one recipe on one head by one protocol.

    Attributes
    ----------
    n_fitted, n_scored
        The mean number of trials of a fit, and the number of trials scored.
    accuracy_ci95
        Wilson's interval with n = `n_scored`.
    fit_s
        The median duration of a fit in seconds, with its cross-validation.
    error
        Why a fit failed; the scores are then 0 and the head is left out of the means of all recipes.
    """

    recipe: str
    group: str
    head: str
    protocol: Protocol
    n_fitted: float = 0.0
    n_scored: int = 0
    accuracy: float = 0.0
    accuracy_ci95: _Interval = (0.0, 1.0)
    nll: float = 0.0
    verdicts: Verdicts = Verdicts()
    fit_s: float = 0.0
    error: str = ""


class GroupScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mean of one recipe over the heads of a group, and its paired difference from the first recipe.

    Attributes
    ----------
    accuracy_ci95
        Wilson's interval with n = the trials scored of all heads. It leaves out that heads differ.
    accuracy_se, gain_se, nll_gain_se
        Standard errors over heads; None with one head.
    gain, nll_gain
        This recipe minus the first one, mean over heads; None if the first one was not fitted.
    """

    recipe: str
    group: str
    protocol: Protocol
    n_heads: int
    accuracy: float
    accuracy_ci95: _Interval
    accuracy_se: float | None
    nll: float
    gain: float | None
    gain_se: float | None
    nll_gain: float | None
    nll_gain_se: float | None
    verdicts: Verdicts


class HeadComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="heads", tag_field="what"):
    """The result of ``pretap compare --heads``: no trial, only aggregates. `recipes` are in the order given."""

    recipes: tuple[str, ...]
    groups: tuple[GroupFacts, ...]
    group_scores: tuple[GroupScore, ...]
    head_scores: tuple[HeadScore, ...]
    notes: tuple[str, ...]
    seed: int
    folds: int
    repeats: int
    code: str
    versions: dict[str, str]
    created: str
    format_version: int = 1


def write_heads(found: HeadComparison, path: Path) -> None:
    """Write the results as JSON; the file exists whole or not at all."""
    with writing(path):
        write_whole(path, msgspec.json.encode(found) + b"\n")
