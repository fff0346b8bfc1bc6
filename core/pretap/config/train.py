"""The configuration of `pretap train`, also stored in each bundle. Its keys are those of the TOML file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pretap.config.reading import Label, Milliseconds, Positive, Text
from pretap.config.recording import RecordingConfig
from pretap.networks import LrpErdLstmSpec, Network, SingleNetwork

_BEFORE_A_TAP_MS = (-630.0, -130.0)  # as in the competition
_Beta = Annotated[float, Meta(ge=0, lt=1)]


class SignalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signal that a decoder reads. Data are resampled to `sfreq_hz`; without it they keep their rate."""

    sfreq_hz: Positive | None = None


class TrialsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How trials are cut out of continuous recordings. `TrainConfig.events` names the events.

    Attributes
    ----------
    window_ms
        Where a trial starts and ends, relative to its event: ``[-630, -130]`` ends 130 ms before a tap, and is the
        window of recordings without this key. Trials that are cut already are cropped to it, or kept whole without it.
    channels, exclude
        The channels to use (by default all EEG channels) and those to leave out, by name or electrode.
    reject_uv
        A trial is dropped if the peak-to-peak amplitude of a channel, after the reference and a linear detrend, is
        above this or far above what is usual for the channel in its file. 0 turns both checks off.
    flat_uv
        A trial is dropped if the peak-to-peak amplitude of a channel is below this, after a linear detrend; 0: never.
    """

    window_ms: tuple[Milliseconds, Milliseconds] | None = None
    channels: tuple[Label, ...] = ()
    exclude: tuple[Label, ...] = ()
    reject_uv: Annotated[float, Meta(ge=0, le=1e6)] = 1000.0
    flat_uv: Annotated[float, Meta(ge=0, le=1e6)] = 0.5

    @property
    def window(self) -> tuple[float, float]:
        """The window around the events of recordings, in milliseconds."""
        return self.window_ms or _BEFORE_A_TAP_MS


class ScalingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`pretap.signal.scaling.Scaling` in milliseconds, so that one file works at every rate.

    After the reference, the window is decimated to `decimate_to_hz`, or to the next higher rate of which the data's
    rate is a whole multiple. A causal FIR filter of about `fir_ms` passes up to `pass_hz` with a delay of `delay_ms`,
    and stops from `stop_hz` on, best near each of `mains_hz`. From `start_ms` to `fir_ms` after the window's start,
    shorter filters are used.
    """

    reference: Literal["none", "average"] = "none"
    baseline_ms: Annotated[float, Meta(ge=0, le=1e5)] = 0.0
    block_ms: Annotated[float, Meta(ge=0, le=1e5)] = 0.0
    divide_uv: Positive = 200.0
    decimate_to_hz: Positive | None = None
    pass_hz: Positive = 30.0
    stop_hz: Positive = 48.0
    mains_hz: Annotated[tuple[Positive, ...], Meta(max_length=8)] = (50.0, 60.0)
    fir_ms: Annotated[float, Meta(gt=0, le=1e5)] = 59.0
    delay_ms: Annotated[float, Meta(ge=0, le=1e5)] = 15.0
    start_ms: Annotated[float, Meta(gt=0, le=1e5)] = 30.0


class FitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the network is fitted.

    Attributes
    ----------
    members
        How many networks are fitted, each from its own seed; their logits are averaged.
    calibrate
        Whether the logits are divided by a temperature that is fitted to the predictions of the cross-validation.
        Without cross-validation they are not.
    schedule
        ``cosine`` raises the learning rate over the first tenth of the batches and lowers it to 0 over the rest.
    mirror
        The probability that a training window is mirrored: left and right electrodes and the two classes are swapped.
    drop_electrodes
        The share of the training windows in which one electrode, drawn at random, is interpolated from the others, as
        the live service replaces a bad one. Electrodes whose position is unknown are never drawn. Kinds without
        training epochs get such windows as copies beside all others.
    """

    optimizer: Literal["nadam", "adamw"] = "nadam"
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.0
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    max_epochs: Annotated[int, Meta(ge=1, le=100_000)] = 15
    betas: tuple[_Beta, _Beta] = (0.9, 0.999)
    schedule: Literal["constant", "cosine"] = "constant"
    mirror: Annotated[float, Meta(ge=0, le=1)] = 0.0
    drop_electrodes: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    members: Annotated[int, Meta(ge=1, le=64)] = 1
    calibrate: bool = True


class EvaluationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cross-validation that `pretap train` reports; `folds = 0` skips it.

    `split` is ``blocks`` (contiguous in time, never shuffled), ``stratified`` (random), or ``auto``: blocks if the
    order of recording is known. Repeats of blocks differ only in the seed of the network. With `learning_curve`,
    training is repeated on 25, 50 and 75 % of each fold's trials, to estimate the gain from more trials.
    """

    folds: Annotated[int, Meta(ge=0, le=1000)] = 5
    repeats: Annotated[int, Meta(ge=1, le=1000)] = 1
    split: Literal["auto", "stratified", "blocks"] = "auto"
    learning_curve: bool = False

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ValueError("folds = 1 leaves nothing to fit on: expected at least 2, or 0 for no cross-validation")


class CandidateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several networks to choose among, with its own settings of [fit]."""

    network: SingleNetwork
    fit: FitConfig = FitConfig()


class SearchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The choice of a window, and of averages, besides that of a network; see `TrainConfig.candidates`.

    Attributes
    ----------
    window
        Whether the window is chosen as well, among `window_ms`.
    window_ms
        The windows to look at. The trials are cut so that they contain all of them.
    average
        Whether averages of two candidates are candidates too.
    """

    window: bool = False
    window_ms: tuple[tuple[Milliseconds, Milliseconds], ...] = ()
    average: bool = True


_NO_NETWORK = LrpErdLstmSpec()  # this very object stands for a recipe without [network]


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration of `pretap train`.

    `events` lists the classes of continuous recordings, in order, each with the markers or annotations that are its
    events: ``left = ["tap/left", "S  1"]``, see `pretap.recordings.events`. With `candidates`, `network` and `fit` have
    no effect: both are chosen among them by cross-validation, see `pretap_offline.evaluate.selection`.
    """

    network: Network = _NO_NETWORK
    candidates: dict[Label, CandidateConfig] = {}
    search: SearchConfig = SearchConfig()
    signal: SignalConfig = SignalConfig()
    recording: RecordingConfig = RecordingConfig()
    events: dict[Label, tuple[Text, ...]] = {}
    trials: TrialsConfig = TrialsConfig()
    scaling: ScalingConfig = ScalingConfig()
    fit: FitConfig = FitConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self) -> None:
        if self.network is _NO_NETWORK and not self.candidates:
            raise ValueError("expected [network], or [candidates] to choose among")
        if self.candidates and (self.evaluation.repeats > 1 or self.evaluation.learning_curve):
            raise ValueError(
                "evaluation.repeats and evaluation.learning_curve are for one network: leave them out, or leave out "
                "[candidates]"
            )

    @property
    def kind(self) -> str:
        """The kind of the network, or ``choice`` if it is chosen among candidates."""
        return "choice" if self.candidates else str(self.network.__struct_config__.tag)
