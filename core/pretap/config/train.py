"""What `pretap train` reads from its TOML file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pretap.config.reading import Label, Milliseconds, Positive, Text
from pretap.networks import Network

__all__ = ["EvaluationConfig", "FitConfig", "ScalingConfig", "SignalConfig", "TrainConfig", "TrialsConfig"]

_Beta = Annotated[float, Meta(ge=0, lt=1)]


class SignalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signal a decoder takes. Data at another rate are resampled to `sfreq_hz`; without it, their rate is kept."""

    sfreq_hz: Positive | None = None


class TrialsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How trials are cut out of continuous recordings, see `TrainConfig.events`.

    Attributes
    ----------
    window_ms
        Where a trial starts and ends, relative to its event: ``[-630, -130]`` ends 130 ms before a tap.
    channels, exclude
        Take these channels only (all of EEG where empty), and leave these out; by name or electrode.
    reject_uv, flat_uv
        A trial is dropped where a channel's peak-to-peak amplitude exceeds the one or stays below the other; 0 drops
        none.
    """

    window_ms: tuple[Milliseconds, Milliseconds] = (-630.0, -130.0)
    channels: tuple[Label, ...] = ()
    exclude: tuple[Label, ...] = ()
    reject_uv: Annotated[float, Meta(ge=0, le=1e6)] = 200.0
    flat_uv: Annotated[float, Meta(ge=0, le=1e6)] = 0.5


class ScalingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`pretap.signal.scaling.Scaling` in milliseconds, so that one file serves every rate.

    `decimate_to_hz` is the rate to which the window is brought after the reference, or the next above it of which the
    data's is a whole multiple: by a causal FIR filter of about `fir_ms` that passes up to `pass_hz`, `delay_ms` late,
    and stops from `stop_hz`, best near each of `mains_hz`. Near the window's start, from `start_ms` on, shorter filters
    stand in.
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

    `members` networks are fitted, each from its own seed, and their logits averaged. `calibrate` divides the logits by
    a temperature that is fitted to the cross-validation's predictions; without cross-validation there is none.
    `schedule` ``cosine`` raises the learning rate over the first tenth of the batches and lets it fall to 0 over the
    others. With probability `mirror` a training window is mirrored: left and right electrodes are swapped, and so are
    the two classes.
    """

    optimizer: Literal["nadam", "adamw"] = "nadam"
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 0.0
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    max_epochs: Annotated[int, Meta(ge=1, le=100_000)] = 15
    betas: tuple[_Beta, _Beta] = (0.9, 0.999)
    schedule: Literal["constant", "cosine"] = "constant"
    mirror: Annotated[float, Meta(ge=0, le=1)] = 0.0
    members: Annotated[int, Meta(ge=1, le=64)] = 1
    calibrate: bool = True


class EvaluationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cross-validation that `pretap train` reports; `folds = 0` skips it.

    `split` is ``blocks`` (contiguous in time, never shuffled), ``stratified`` (random), or ``auto``: blocks where the
    trials stand in the order of recording. Blocks have no repeats that differ in more than the network's seed.
    `learning_curve` also trains on 25 and 50 and 75 % of each fold's trials, to say what more trials would give.
    """

    folds: Annotated[int, Meta(ge=0, le=1000)] = 5
    repeats: Annotated[int, Meta(ge=1, le=1000)] = 1
    split: Literal["auto", "stratified", "blocks"] = "auto"
    learning_curve: bool = False

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ValueError("folds = 1 leaves nothing to fit on: expected at least 2, or 0 for no cross-validation")


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `pretap train` takes from a file.

    `events` names the classes of continuous recordings, in order, and for each the markers or annotations that are
    its events (see `pretap.recordings.events`): ``left = ["tap/left", "S  1"]``.
    """

    network: Network
    signal: SignalConfig = SignalConfig()
    events: dict[Label, tuple[Text, ...]] = {}
    trials: TrialsConfig = TrialsConfig()
    scaling: ScalingConfig = ScalingConfig()
    fit: FitConfig = FitConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
