"""The manifest of a bundle: its signal, network, scaling, training and measured accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pretap.config.train import TrainConfig
from pretap.networks import Network
from pretap.networks.kind import mean_of
from pretap.signal.scaling import Scaling
from pretap.spelling import counted

FORMAT_VERSION = 4
TRIAL_DIGITS = 16  # stored of each trial's sha256: 6 kB for 316 trials; p = 3e-8 that two of a million collide

_Probability = Annotated[float, Meta(ge=0, le=1)]
_Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Trial = Annotated[str, Meta(pattern=f"^[0-9a-f]{{{TRIAL_DIGITS}}}$")]
_Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The measured accuracy of the recipe, and how it was measured.

    The figures are those of models trained by the same recipe on parts of the data, never those of the stored weights
    on the trials they were trained on.

    Attributes
    ----------
    chance, p_chance
        The share of the most frequent class, and the probability of this or a higher accuracy at that rate (one-sided
        exact binomial test).
    learning_curve
        (trials trained on, accuracy) for parts of the data.
    pooling
        A sentence on what own trials alone give on the same folds, if others were pooled with them.
    outlook
        A sentence on the accuracy to expect from twice as many trials.
    verdict
        A sentence on whether going live makes sense.
    confusion
        Decisions of all repeats, with the true class in rows and the decoded one in columns.
    findings
        Sentences on what the decoder reads (eyes, muscles or the hand), and on why it decodes badly if it does.
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
    pooling: str = ""
    confusion: tuple[tuple[int, ...], ...] = ()
    findings: tuple[str, ...] = ()

    def describe_accuracy(self) -> str:
        """Return the accuracy with its interval, and the other scores."""
        low, high = self.accuracy_ci95
        return (
            f"{self.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}), kappa {self.kappa:.2f}, NLL {self.nll:.3f}"
        )


def describe_chance(chance: float, p_chance: float) -> str:
    """Return the chance level of an accuracy, and the p-value against it."""
    p = f"p = {p_chance:.2g}" if p_chance >= 1e-4 else "p < 0.0001"
    return f"{chance:.3f}, the share of the commonest class; {p} (one-sided exact binomial test)"


class CandidateScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How good a candidate was when the network was chosen: cross-validated, but not nested, so the best is too good.

    `n_chosen` counts the held-out folds of the nested cross-validation for which it was chosen.
    """

    name: str
    nll: float
    accuracy: _Probability
    n_chosen: int


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session of somebody, or of another day, whose trials helped to fit."""

    data: str
    subject: str
    n_trials: int


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data, seed and configuration that the weights were trained with.

    `trial_sha256` holds the first `TRIAL_DIGITS` digits of each trial's hash. `n_trials` counts the own trials, and
    `others` are the sessions that were pooled with them; the hashes are of all. `candidates` are those that the network
    was chosen among, best first, and `refused` says why others could not be fitted; both are empty without a choice.
    """

    data: str
    subject: str
    n_trials: int
    data_sha256: _Sha256
    trial_sha256: tuple[_Trial, ...]
    resampled_from_hz: float | None
    seed: int
    config: TrainConfig
    candidates: tuple[CandidateScore, ...] = ()
    refused: dict[str, str] = {}
    others: tuple[Source, ...] = ()

    def count_known(self, trial_ids: Iterable[str]) -> int:
        """Count the trials, given by their sha256, that were trained on."""
        known = set(self.trial_sha256)
        return sum(trial[:TRIAL_DIGITS] in known for trial in trial_ids)


class Streaming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cost of a decision. It follows from the rest of the manifest and is stored for readers other than pretap.

    Attributes
    ----------
    forward_only
        Whether the state of the network can be advanced sample by sample.
    n_window
        Samples of the window.
    n_parameters
        Parameters of all members, fitted or designed.
    multiply_adds
        Multiply-adds of the scaling and all members.
    """

    forward_only: bool
    n_window: int
    n_parameters: int
    multiply_adds: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The manifest of a bundle, stored as sorted JSON under the metadata key ``pretap``.

    Attributes
    ----------
    sfreq_hz, n_window
        The rate in hertz and the length in samples of the decoder's window.
    window_end_ms
        The end of the training windows relative to the event, in milliseconds.
    self_test_tolerance
        How far an engine's probabilities may be from the float64 reference on the two probe windows: 1e-6, or ten
        times the error of torch float32 if the weights make the network more sensitive than that.
    interpolates
        Whether the bundle has the tensor ``channels.interpolation``, see `pretap.signal.interpolation`.
    has_statistics
        Whether the bundle has the tensors of `pretap.signal.statistics`.
    n_members
        The number of networks whose logits are averaged. If it is more than one, the tensors of each are named
        ``members.{i}.<name>``. The networks of an average have their own, see `pretap.networks.average`.
    temperature
        Divides the averaged logits before the softmax (Guo et al., ICML 2017).
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
        """Time steps of the network's input."""
        return self.scaling.n_steps(self.n_window)

    @property
    def removes_offsets(self) -> bool:
        """Whether a constant offset of a channel does not change the decision."""
        return self.scaling.removes_offsets or self.network.removes_offsets

    @property
    def streaming(self) -> Streaming:
        """The cost of a decision."""
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

    def describe(self) -> str:
        """Describe the bundle in one line."""
        accuracy = "accuracy not measured"
        if self.metrics is not None:
            accuracy = f"cross-validated accuracy {self.metrics.accuracy:.3f}"
        return (
            f"{self.describe_network()}; {self.n_window} samples at {self.sfreq_hz:g} Hz; trained on "
            f"{counted(self.training.n_trials, 'trial')} of {' '.join(self.training.data.split())[:200]}; {accuracy}"
        )

    def describe_network(self) -> str:
        """Describe the kind, size and number of the networks."""
        return mean_of(self.n_members, self.network.describe(n_classes=len(self.classes)))
