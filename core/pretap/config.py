"""Configuration: TOML files read into frozen structs, unknown keys refused with their path."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from pretap.errors import UsageError
from pretap.networks import Network

__all__ = [
    "ENGINE_NAMES",
    "CueConfig",
    "DecodeConfig",
    "EvaluationConfig",
    "FitConfig",
    "MarkersConfig",
    "OutputsConfig",
    "PolicyConfig",
    "QualityConfig",
    "ScalingConfig",
    "ServeConfig",
    "SignalConfig",
    "StreamConfig",
    "TrainConfig",
    "TrialsConfig",
    "find_config",
    "load_config",
    "load_decoders",
]

_Positive = Annotated[float, Meta(gt=0, le=1e6)]
_Seconds = Annotated[float, Meta(ge=0)]
_Milliseconds = Annotated[float, Meta(ge=-60_000, le=60_000)]
_Duration = Annotated[float, Meta(ge=0, le=60_000)]  # in ms
_Probability = Annotated[float, Meta(ge=0, le=1)]
_Text = Annotated[str, Meta(max_length=256)]
_Beta = Annotated[float, Meta(ge=0, lt=1)]
_Label = Annotated[str, Meta(min_length=1, max_length=64)]
_HostPort = Annotated[str, Meta(pattern=r"^(([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.%]{2,64}\])?:[0-9]{1,5})?\Z")]
_Origin = Annotated[str, Meta(pattern=r"^(null|[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9._:\[\]-]{1,255})\Z")]


class SignalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signal a decoder takes. Data at another rate are resampled to `sfreq_hz`; without it, their rate is kept."""

    sfreq_hz: _Positive | None = None


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

    window_ms: tuple[_Milliseconds, _Milliseconds] = (-630.0, -130.0)
    channels: tuple[_Label, ...] = ()
    exclude: tuple[_Label, ...] = ()
    reject_uv: Annotated[float, Meta(ge=0, le=1e6)] = 200.0
    flat_uv: Annotated[float, Meta(ge=0, le=1e6)] = 0.5


class ScalingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`pretap.scaling.Scaling` in milliseconds, so that one file serves every rate.

    `decimate_to_hz` is the rate to which the window is brought after the reference, or the next above it of which the
    data's is a whole multiple: by a causal FIR filter of about `fir_ms` that passes up to `pass_hz`, `delay_ms` late,
    and stops from `stop_hz`, best near each of `mains_hz`. Near the window's start, from `start_ms` on, shorter filters
    stand in.
    """

    reference: Literal["none", "average"] = "none"
    baseline_ms: Annotated[float, Meta(ge=0, le=1e5)] = 0.0
    block_ms: Annotated[float, Meta(ge=0, le=1e5)] = 0.0
    divide_uv: _Positive = 200.0
    decimate_to_hz: _Positive | None = None
    pass_hz: _Positive = 30.0
    stop_hz: _Positive = 48.0
    mains_hz: Annotated[tuple[_Positive, ...], Meta(max_length=8)] = (50.0, 60.0)
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
    learning_rate: _Positive = 1e-3
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
    its events (see `pretap.events`): ``left = ["tap/left", "S  1"]``.
    """

    network: Network
    signal: SignalConfig = SignalConfig()
    events: dict[_Label, tuple[_Text, ...]] = {}
    trials: TrialsConfig = TrialsConfig()
    scaling: ScalingConfig = ScalingConfig()
    fit: FitConfig = FitConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


class StreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which LSL stream is decoded, and what it does not say about itself.

    `query` is ``key=value`` pairs joined by commas (name, type, source_id, hostname), or just a name. `channels`,
    `unit` and `sfreq_hz` stand in for the stream's own description. `counter` is the channel in which the device counts
    its samples, `counter_wraps_at` the value that is 0 again (256 where it counts to 255; 0: it never starts again). Of
    the bundle's channels, `bad` ones are not used, and the share `max_interpolated` may be missing, bad or flat.
    """

    query: _Text = "type=EEG"
    channels: tuple[_Label, ...] = ()
    unit: _Text = ""
    sfreq_hz: _Positive | None = None
    counter: Annotated[str, Meta(max_length=64)] = ""
    counter_wraps_at: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    bad: tuple[_Label, ...] = ()
    max_interpolated: Annotated[float, Meta(ge=0, le=0.5)] = 0.15
    wait_s: _Seconds = 30.0
    reconnect_s: _Seconds = 600.0


EngineName = Literal["auto", "compiled", "numpy", "torch"]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)


class DecodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often is decoded, and by which engine: ``auto`` takes the fastest that is here.

    With `bundle_sha256` no other bundle than the one with this sha256 is decoded with; `pretap inspect` shows it.
    """

    hop_ms: Annotated[float, Meta(gt=0, le=60_000)] = 50.0
    engine: EngineName = "auto"
    bundle_sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""


class CueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cue-locked decoding: on when `query` names a marker stream.

    A decision is made once for each marker that fits one of `patterns` (shell-style: ``*`` and ``?``), for the window
    that ends `offset_ms` from it. By default these are the events that the bundle was trained on. With `votes` more
    than 1 the decision is the mean of so many windows' probabilities: the others end `vote_step_ms` earlier each.
    """

    query: _Text = ""
    patterns: tuple[_Text, ...] = ()
    offset_ms: _Milliseconds | None = None
    votes: Annotated[int, Meta(ge=1, le=100)] = 1
    vote_step_ms: Annotated[float, Meta(gt=0, le=1000)] = 20.0


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From decisions to verdicts, see `pretap_realtime.policy`; as it is, each decision's likeliest class.

    Attributes
    ----------
    evidence, memory_ms
        Decisions are taken one by one (``latest``), averaged (``average``) or added up in log-probabilities
        (``accumulate``): one that is `memory_ms` old weighs 1/e.
    threshold, release
        The evidence, as a probability, that a class needs, else the verdict is ``none``; once given, it stays until its
        evidence falls below `release` (without it: `threshold`). A threshold of 0 always names the likeliest.
    dwell_ms
        For so long a class must have reached the threshold before it is given.
    refractory_ms
        For so long after a class was given no other one is, nor the same one anew.
    """

    evidence: Literal["latest", "average", "accumulate"] = "latest"
    memory_ms: _Duration = 0.0
    threshold: _Probability = 0.0
    release: _Probability | None = None
    dwell_ms: _Duration = 0.0
    refractory_ms: _Duration = 0.0

    def __post_init__(self) -> None:
        if self.release is not None and self.release > self.threshold:
            raise ValueError(
                f"release = {self.release:g} lies above threshold = {self.threshold:g}: expected at most that, or a "
                "class would be let go as it is given"
            )
        if (self.memory_ms > 0) != (self.evidence != "latest"):
            raise ValueError(
                f'evidence = "{self.evidence}" with memory_ms = {self.memory_ms:g}: expected "latest" with 0, or '
                '"average" or "accumulate" with the milliseconds after which a decision weighs 1/e'
            )

    @property
    def has_memory(self) -> bool:
        """Whether a verdict depends on more than its own decision."""
        spans_ms = (self.memory_ms, self.dwell_ms, self.refractory_ms)
        return any(spans_ms) or self.release not in (None, self.threshold)


class QualityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is made of a bad signal.

    Attributes
    ----------
    policy
        ``flag`` says it and goes on; ``mask`` replaces bad electrodes by their neighbours, as flat ones are; ``hold``
        gives no verdict while it lasts. What is wrong with the whole stream holds under ``mask`` too.
    mains_hz, mains_share
        An electrode is dominated by mains where one of these frequencies has this share of its variance; an empty list
        looks for none.
    off_scale
        An electrode is off scale where it is larger or smaller by this factor than the training's, all others taken
        into account.
    rate_percent
        The rate has drifted where the stamps are further from the nominal rate than this.
    cap
        Whether the labels are compared with the training's: a swapped cap.
    """

    policy: Literal["flag", "mask", "hold"] = "flag"
    mains_hz: Annotated[tuple[_Positive, ...], Meta(max_length=8)] = (50.0, 60.0)
    mains_share: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    off_scale: Annotated[float, Meta(ge=2, le=1e6)] = 8.0
    rate_percent: Annotated[float, Meta(ge=0.01, le=100)] = 0.5
    cap: bool = True


class MarkersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streams that go out: `name` is the common prefix of their names and source_ids."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")] = "pretap"
    format: Literal["json", "label"] = "json"


class OutputsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the messages go beside the LSL streams; empty: nowhere. Addresses are ``host:port``; ``:port`` is loopback.

    Attributes
    ----------
    websocket, websocket_origins
        Listen here; web pages of these origins may connect, and programs.
    osc, udp
        Send datagrams there.
    """

    websocket: _HostPort = ""
    websocket_origins: Annotated[tuple[_Origin, ...], Meta(max_length=64)] = (
        "http://127.0.0.1:8000",
        "http://localhost:8000",
    )
    osc: _HostPort = ""
    udp: _HostPort = ""

    def __post_init__(self) -> None:
        for key in ("websocket", "osc", "udp"):
            _, colon, port = getattr(self, key).rpartition(":")
            if colon and not 0 < int(port) <= 65535 and not (key == "websocket" and int(port) == 0):
                raise ValueError(f"{key} has port {port}: expected 1 to 65535 (0 lets the system choose, to listen on)")


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `pretap serve` takes from a file."""

    stream: StreamConfig = StreamConfig()
    decode: DecodeConfig = DecodeConfig()
    cue: CueConfig = CueConfig()
    policy: PolicyConfig = PolicyConfig()
    quality: QualityConfig = QualityConfig()
    markers: MarkersConfig = MarkersConfig()
    outputs: OutputsConfig = OutputsConfig()

    def __post_init__(self) -> None:
        if self.cue.query and self.policy.has_memory:
            raise ValueError(
                f'cue.query = "{self.cue.query}" decides once per cue, each for itself: of [policy] only threshold '
                "applies, and evidence, memory_ms, release, dwell_ms and refractory_ms must be left out"
            )


class _DecoderTable(ServeConfig, frozen=True, forbid_unknown_fields=True):
    """One of the ``[[decoders]]``: its bundle, and what it lays over the file's common tables."""

    bundle: Annotated[str, Meta(min_length=1)] | None = None


class _ServeFile(ServeConfig, frozen=True, forbid_unknown_fields=True):
    decoders: Annotated[tuple[_DecoderTable, ...], Meta(min_length=1)] | None = None


Config = TypeVar("Config", bound=msgspec.Struct)


def load_config(kind: type[Config], path: Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML file (or none: the defaults) into `kind`, then apply ``a.b=value`` overrides.

    Raises
    ------
    UsageError
        With the path of the key that is unknown, of the wrong type or out of range.
    """
    return _convert(_read(path), kind, path=path, overrides=overrides)


def load_decoders(path: Path | None = None, overrides: Iterable[str] = ()) -> list[tuple[str | None, ServeConfig]]:
    """Read what `pretap serve` is to run: for each decoder the bundle, where the file names one, and the configuration.

    A file without ``[[decoders]]`` is one decoder. With them, each has the file's common tables, its own laid over
    these key by key, and then the overrides.

    Raises
    ------
    UsageError
        As `load_config`, with the path (``$.decoders[1].stream``), or where the outlets of two would have one name.
    """
    table = _read(path)
    if "decoders" not in table:
        return [(None, _convert(table, ServeConfig, path=path, overrides=overrides))]
    _convert(table, _ServeFile, path=path)  # before they are merged: this way an error says in which of them it is
    overrides = list(overrides)
    decoders = []
    for own in table.pop("decoders"):
        bundle = own.pop("bundle", None)
        merged = {key: table.get(key, {}) | own.get(key, {}) for key in (*table, *own)}
        decoders.append((bundle, _convert(merged, ServeConfig, path=path, overrides=overrides)))
    _refuse_twins([config.markers.name for _, config in decoders], path)
    return decoders


def _refuse_twins(names: list[str], path: Path | None) -> None:
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        twin = first.setdefault(name.casefold(), i)  # 'Anna' and 'anna' would be one file for some file systems
        if twin != i:
            raise UsageError(
                f"{path}: decoders[{twin}] and decoders[{i}] both send as markers.name = {name!r}: their outlets would "
                "be twins. Give each a name of its own; upper and lower case count as one."
            )


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # bad TOML or UTF-8, numbers of 5000 digits, 1000 open brackets
        raise UsageError(f"{path} is not valid TOML: {error}.") from None


def _convert(table: dict[str, Any], kind: type[Config], *, path: Path | None, overrides: Iterable[str] = ()) -> Config:
    for override in overrides:
        _override(table, override)
    try:
        return msgspec.convert(table, kind, strict=True)
    except msgspec.ValidationError as error:
        where = "configuration" if path is None else str(path)
        raise UsageError(f"{where}: {error}") from None


def find_config(name: str) -> Path:
    """Find a configuration: a path, or the name of one that is shipped (``default``, ``tutorial``)."""
    path = Path(name)
    with contextlib.suppress(OSError):  # a name too long for a file is an unknown name
        if path.exists() and not path.is_dir():
            return path
    package = Path(__file__).parent
    homes = (package / "configs", package.parents[1] / "configs")  # the wheel's copy; the checkout
    shipped = [file for home in homes if home.is_dir() for file in sorted(home.glob("*.toml"))]
    for file in shipped:
        if name in (file.stem, file.name):
            return file
    names = ", ".join(file.stem for file in shipped)
    raise UsageError(f"No configuration {name!r}: expected a TOML file, or one of the shipped names: {names}.")


def _override(table: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {text!r}: expected key.subkey=value, such as fit.max_epochs=30.")
    if any("\ud800" <= character <= "\udfff" for character in raw):  # how Python shows what argv holds else
        raise UsageError(f"--set {text!r}: not valid UTF-8.")
    try:
        parsed = tomllib.loads(f"value = {raw}")
        value = parsed["value"] if len(parsed) == 1 else raw  # a second line is no second key
    except (ValueError, RecursionError):
        value = raw  # a bare word is a string: --set scaling.reference=average
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {text!r}: {part!r} is a value, not a table.")
    table[parts[-1]] = value
