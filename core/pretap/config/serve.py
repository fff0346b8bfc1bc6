"""The configuration of `pretap serve`. Its keys are those of the TOML file; `configs/serve.toml` explains them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from pretap.config.reading import Label, Milliseconds, Positive, Text, convert, read_toml
from pretap.errors import UsageError

_Seconds = Annotated[float, Meta(ge=0)]
_Duration = Annotated[float, Meta(ge=0, le=60_000)]  # in ms
_Probability = Annotated[float, Meta(ge=0, le=1)]
_HostPort = Annotated[str, Meta(pattern=r"^(([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.%]{2,64}\])?:[0-9]{1,5})?\Z")]
_Origin = Annotated[str, Meta(pattern=r"^(null|[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9._:\[\]-]{1,255})\Z")]


class StreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The LSL stream to decode, and properties that its own description lacks.

    Attributes
    ----------
    query
        Pairs ``key=value`` joined by commas (name, type, source_id, hostname), or just a name.
    channels, unit, sfreq_hz
        Replace the stream's own description.
    counter, counter_wraps_at
        The channel in which the device counts its samples, and the count at which it returns to 0: 256 if it counts to
        255, and 0 if it never does.
    bad
        Channels of the bundle that are not used.
    max_interpolated
        The share of the bundle's channels that may be missing, bad or flat.
    """

    query: Text = "type=EEG"
    channels: tuple[Label, ...] = ()
    unit: Text = ""
    sfreq_hz: Positive | None = None
    counter: Annotated[str, Meta(max_length=64)] = ""
    counter_wraps_at: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    bad: tuple[Label, ...] = ()
    max_interpolated: Annotated[float, Meta(ge=0, le=0.5)] = 0.15
    wait_s: _Seconds = 30.0
    reconnect_s: _Seconds = 600.0


EngineName = Literal["auto", "compiled", "numpy", "torch"]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)


class DecodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The time between decisions, and the engine; ``auto`` is the fastest one available.

    If `bundle_sha256` is set, a bundle with another sha256 is refused; `pretap inspect` shows the sha256.
    """

    hop_ms: Annotated[float, Meta(gt=0, le=60_000)] = 50.0
    engine: EngineName = "auto"
    bundle_sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")] = ""


class CueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cue-locked decoding; it is on if `query` names a marker stream, or `channel` a trigger channel of the EEG stream.

    Each marker, or code of the channel, that matches one of `patterns` (shell-style: ``*`` and ``?``) gives one
    decision, for the window that ends `offset_ms` after it. By default these are the events and the offset that the
    bundle was trained on. If `votes` is more than 1, the decision is the mean probability of that many windows, each
    ending `vote_step_ms` earlier.
    """

    query: Text = ""
    channel: Annotated[str, Meta(max_length=64)] = ""
    patterns: tuple[Text, ...] = ()
    offset_ms: Milliseconds | None = None
    votes: Annotated[int, Meta(ge=1, le=100)] = 1
    vote_step_ms: Annotated[float, Meta(gt=0, le=1000)] = 20.0

    def __post_init__(self) -> None:
        if self.query and self.channel:
            raise ValueError(
                f'query = "{self.query}" and channel = "{self.channel}" both name the source of the cues: leave out one'
            )

    @property
    def is_on(self) -> bool:
        """Whether decisions are made at cues."""
        return bool(self.query or self.channel)


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From decisions to verdicts, see `pretap_realtime.decide.policy`. By default: each decision's likeliest class.

    Attributes
    ----------
    evidence, memory_ms
        Each decision counts alone (``latest``), or decisions are averaged (``average``) or summed as log-probabilities
        (``accumulate``); one that is `memory_ms` old weighs 1/e.
    threshold, release
        The probability that the evidence for a class must reach, otherwise the verdict is ``none``. A class that was
        given stays until its evidence falls below `release` (by default `threshold`). With a threshold of 0 the verdict
        is always the likeliest class.
    dwell_ms
        How long a class must stay above the threshold before it is given.
    refractory_ms
        How long after a class was given neither another class nor the same one again is given.
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
                f"release = {self.release:g} lies above threshold = {self.threshold:g}: expected at most the "
                "threshold, otherwise a class would be released as soon as it is given"
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
    """How the service reacts to a bad signal, and when a signal counts as bad.

    Attributes
    ----------
    policy
        ``mask`` interpolates bad channels from their neighbours, like flat ones, as far as the bundle can. ``flag``
        reports them and goes on. ``hold`` gives no verdict while it lasts; ``mask`` does the same for faults of the
        whole stream.
    mains_hz, mains_share
        A channel is dominated by mains if one of these frequencies has this share of its variance, and it is larger
        than in the training and than the others'. Without frequencies there is no check.
    off_scale
        A channel is off scale if its amplitude, relative to that of all others, differs by this factor from the
        training's.
    rate_percent
        The rate has drifted if the timestamps deviate from the nominal rate by more than this.
    cap
        Whether the signal is checked for channels whose labels were swapped since training.
    """

    policy: Literal["mask", "flag", "hold"] = "mask"
    mains_hz: Annotated[tuple[Positive, ...], Meta(max_length=8)] = (50.0, 60.0)
    mains_share: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    off_scale: Annotated[float, Meta(ge=2, le=1e6)] = 8.0
    rate_percent: Annotated[float, Meta(ge=0.01, le=100)] = 0.5
    cap: bool = True


AdaptMethod = Literal["off", "recentre"]
ADAPT_METHODS: tuple[str, ...] = get_args(AdaptMethod)


class AdaptConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the decoder follows the signal of a session, without labels.

    Attributes
    ----------
    method
        ``recentre`` moves the mean covariance of the session to that of the training, for kinds that decode one.
    n_start, n_max
        The weight of the training at the start, in windows, and the number of windows that the mean remembers.
    """

    method: AdaptMethod = "off"
    n_start: Annotated[int, Meta(ge=1, le=100_000)] = 5
    n_max: Annotated[int, Meta(ge=1, le=100_000)] = 200

    @property
    def is_on(self) -> bool:
        """Whether the decoder adapts."""
        return self.method != "off"


class MarkersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outgoing LSL streams; `name` is the common prefix of their names and source_ids."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")] = "pretap"
    format: Literal["json", "label"] = "json"


class OutputsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Outputs besides the LSL streams. Addresses are ``host:port``; ``:port`` is loopback; an empty one is off.

    Attributes
    ----------
    websocket, websocket_origins
        The address to listen on. Programs and web pages of these origins may connect.
    osc, udp
        The address to send datagrams to.
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
    """The whole configuration of one decoder of `pretap serve`."""

    stream: StreamConfig = StreamConfig()
    decode: DecodeConfig = DecodeConfig()
    cue: CueConfig = CueConfig()
    adapt: AdaptConfig = AdaptConfig()
    policy: PolicyConfig = PolicyConfig()
    quality: QualityConfig = QualityConfig()
    markers: MarkersConfig = MarkersConfig()
    outputs: OutputsConfig = OutputsConfig()

    def __post_init__(self) -> None:
        if self.cue.is_on and self.policy.has_memory:
            source = f'query = "{self.cue.query}"' if self.cue.query else f'channel = "{self.cue.channel}"'
            raise ValueError(
                f"cue.{source} decides once per cue, each on its own: of [policy] only threshold "
                "applies, and evidence, memory_ms, release, dwell_ms and refractory_ms must be left out"
            )


class _DecoderTable(ServeConfig, frozen=True, forbid_unknown_fields=True):
    """One of the ``[[decoders]]``: its bundle, and the keys that override the file's common tables."""

    bundle: Annotated[str, Meta(min_length=1)] | None = None


class _ServeFile(ServeConfig, frozen=True, forbid_unknown_fields=True):
    decoders: Annotated[tuple[_DecoderTable, ...], Meta(min_length=1)] | None = None


def load_decoders(
    path: Path | None = None, overrides: Iterable[str] = (), values: Mapping[str, object] | None = None
) -> list[tuple[str | None, ServeConfig]]:
    """Read the decoders that `pretap serve` runs: for each, the bundle if the file names one, and the configuration.

    A file without ``[[decoders]]`` is one decoder. Otherwise, each decoder has the file's common tables; its own tables
    override these key by key. `overrides` and `values` apply to every decoder, as in `load_config`.

    Raises
    ------
    UsageError
        As `load_config`, with the path (``$.decoders[1].stream``), or if two decoders have the same outlet name.
    """
    table = read_toml(path)
    if "decoders" not in table:
        return [(None, convert(table, ServeConfig, path=path, overrides=overrides, values=values))]
    convert(table, _ServeFile, path=path)  # before merging, so that an error names the decoder
    overrides = list(overrides)
    decoders = []
    for own in table.pop("decoders"):
        bundle = own.pop("bundle", None)
        merged = {key: table.get(key, {}) | own.get(key, {}) for key in (*table, *own)}
        decoders.append((bundle, convert(merged, ServeConfig, path=path, overrides=overrides, values=values)))
    _check_names([config.markers.name for _, config in decoders], path)
    return decoders


def _check_names(names: list[str], path: Path | None) -> None:
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        twin = first.setdefault(name.casefold(), i)  # to some file systems 'Anna' and 'anna' are one file
        if twin != i:
            raise UsageError(
                f"{path}: decoders[{twin}] and decoders[{i}] both have markers.name = {name!r}, but each "
                "needs a name of its own. Upper and lower case count as the same."
            )
