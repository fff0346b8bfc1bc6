"""What a bundle says about itself."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pretap.config import TrainConfig
from pretap.networks import LstmSpec
from pretap.scaling import Scaling

__all__ = ["FORMAT_VERSION", "Manifest", "Metrics", "Training"]

FORMAT_VERSION = 2  # 2: may carry the interpolation of electrodes

_Probability = Annotated[float, Meta(ge=0, le=1)]
_Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How good the recipe was found to be, and how that was measured.

    The figures are of models trained by the same recipe on parts of the data, never of the shipped weights on the
    trials they were trained on.

    Attributes
    ----------
    chance, p_chance
        The share of the most frequent class, and how likely this accuracy or a higher one would be at that rate
        (one-sided exact binomial test).
    learning_curve
        (trials trained on, accuracy) for parts of the data; `outlook` says in words what twice as many would give.
    verdict
        Whether going live makes sense, in words.
    """

    protocol: str
    n_trials: int
    accuracy: _Probability
    accuracy_sd: float
    accuracy_ci95: tuple[_Probability, _Probability]
    kappa: float
    nll: float
    balanced_accuracy: _Probability | None = None
    chance: _Probability | None = None
    p_chance: _Probability | None = None
    verdict: str = ""
    learning_curve: tuple[tuple[int, _Probability], ...] = ()
    outlook: str = ""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the weights were made from."""

    data: str
    subject: str
    n_trials: int
    data_sha256: _Sha256
    trial_sha256: tuple[_Sha256, ...]
    resampled_from_hz: float | None
    seed: int
    config: TrainConfig


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The manifest of a bundle; stored as sorted JSON under the metadata key ``pretap``.

    Attributes
    ----------
    sfreq_hz, n_window
        The rate in hertz and the window in samples that the decoder takes.
    window_end_ms
        Where the training windows ended relative to the event, in milliseconds.
    self_test_tolerance
        How far an engine's probabilities may lie from the float64 reference on the two probe windows: 1e-6, or ten
        times the error of torch float32 where the weights make the network more sensitive than that.
    interpolates
        Whether the tensor ``channels.interpolation`` is there, see `pretap.interpolation`.
    """

    format_version: Annotated[int, Meta(ge=1)]
    classes: Annotated[tuple[_Name, ...], Meta(min_length=2, max_length=64)]
    channels: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=1024)]
    unit: Literal["microvolts"]
    sfreq_hz: Annotated[float, Meta(gt=0, le=1e6)]
    n_window: Annotated[int, Meta(ge=1, le=1_000_000)]
    window_end_ms: float
    scaling: Scaling
    network: LstmSpec
    training: Training
    metrics: Metrics | None
    self_test_tolerance: Annotated[float, Meta(gt=0, le=1e-2)]
    versions: dict[str, str]
    created: str
    interpolates: bool = False
