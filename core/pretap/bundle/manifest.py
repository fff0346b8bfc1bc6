"""What a bundle says about itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pretap.config.train import TrainConfig
from pretap.networks import Network
from pretap.signal.scaling import Scaling

__all__ = ["FORMAT_VERSION", "TRIAL_DIGITS", "Manifest", "Metrics", "Streaming", "Training"]

FORMAT_VERSION = 4
TRIAL_DIGITS = 16  # of a trial's sha256 are stored: 6 kB for 316; two of a million alike: p = 3e-8

_Probability = Annotated[float, Meta(ge=0, le=1)]
_Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Trial = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{TRIAL_DIGITS}}}$")]
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
    balanced_accuracy: _Probability
    chance: _Probability
    p_chance: _Probability
    verdict: str
    learning_curve: tuple[tuple[int, _Probability], ...] = ()
    outlook: str = ""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the weights were made from.

    `trial_sha256` holds the first `TRIAL_DIGITS` digits of each trial's hash.
    """

    data: str
    subject: str
    n_trials: int
    data_sha256: _Sha256
    trial_sha256: tuple[_Trial, ...]
    resampled_from_hz: float | None
    seed: int
    config: TrainConfig

    def count_known(self, trial_ids: Iterable[str]) -> int:
        """Count the trials, given by their sha256, that were trained on."""
        known = set(self.trial_sha256)
        return sum(trial[:TRIAL_DIGITS] in known for trial in trial_ids)


class Streaming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a decision takes: `multiply_adds` for scaling and all members, over a window of `n_window` samples.

    `n_parameters` counts the numbers of all members, fitted or designed. It follows from the manifest; a bundle says it
    for those who read the file without pretap.

    `forward_only`: the network's state can be advanced sample by sample, so that one step could cost one step.
    """

    forward_only: bool
    n_window: int
    n_parameters: int
    multiply_adds: int


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
        Whether the tensor ``channels.interpolation`` is there, see `pretap.signal.interpolation`.
    has_statistics
        Whether the tensors of `pretap.signal.statistics` are there.
    n_members
        Networks of one kind whose logits are averaged. Of several, each one's tensors are ``members.{i}.<name>``.
    temperature
        The averaged logits are divided by it before the softmax (Guo et al., ICML 2017).
    """

    format_version: int
    classes: Annotated[tuple[_Name, ...], Meta(min_length=2, max_length=64)]
    channels: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=1024)]
    unit: Literal["microvolts"]
    sfreq_hz: Annotated[float, Meta(gt=0, le=1e6)]
    n_window: Annotated[int, Meta(ge=1, le=1_000_000)]
    window_end_ms: float
    scaling: Scaling
    network: Network
    training: Training
    metrics: Metrics | None
    self_test_tolerance: Annotated[float, Meta(gt=0, le=1e-2)]
    versions: dict[str, str]
    created: str
    interpolates: bool = False
    has_statistics: bool = False
    n_members: Annotated[int, Meta(ge=1, le=64)] = 1
    temperature: Annotated[float, Meta(ge=1e-3, le=1e3)] = 1.0

    @property
    def n_steps(self) -> int:
        """Time steps that the network sees of a window."""
        return self.scaling.n_steps(self.n_window)

    @property
    def removes_offsets(self) -> bool:
        """Whether a constant on an electrode changes nothing."""
        return self.scaling.removes_offsets or self.network.removes_offsets

    @property
    def streaming(self) -> Streaming:
        """What deciding costs."""
        n_channels, n_classes = len(self.channels), len(self.classes)
        network = self.network.multiply_adds(n_steps=self.n_steps, n_inputs=n_channels, n_classes=n_classes)
        layout = self.network.tensors(n_steps=self.n_steps, n_inputs=n_channels, n_classes=n_classes)
        scaling = self.scaling.multiply_adds(n_window=self.n_window, n_channels=n_channels)
        return Streaming(
            forward_only=self.network.forward_only,
            n_window=self.n_window,
            n_parameters=self.n_members * sum(math.prod(shape) for _, shape in layout.values()),
            multiply_adds=scaling + self.n_members * network,
        )
