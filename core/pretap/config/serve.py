"""What `pretap serve` reads from its TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from pretap.config.reading import Label, Milliseconds, Positive, Text, convert, read_toml
from pretap.errors import UsageError

__all__ = [
    "ENGINE_NAMES",
    "CueConfig",
    "DecodeConfig",
    "MarkersConfig",
    "OutputsConfig",
    "PolicyConfig",
    "QualityConfig",
    "ServeConfig",
    "StreamConfig",
    "load_decoders",
]

_Seconds = Annotated[float, Meta(ge=0)]
_Duration = Annotated[float, Meta(ge=0, le=60_000)]  # in ms
_Probability = Annotated[float, Meta(ge=0, le=1)]
_HostPort = Annotated[str, Meta(pattern=r"^(([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.%]{2,64}\])?:[0-9]{1,5})?\Z")]
_Origin = Annotated[str, Meta(pattern=r"^(null|[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9._:\[\]-]{1,255})\Z")]


class StreamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which LSL stream is decoded, and what it does not say about itself.

    `query` is ``key=value`` pairs joined by commas (name, type, source_id, hostname), or just a name. `channels`,
    `unit` and `sfreq_hz` stand in for the stream's own description. `counter` is the channel in which the device counts
    its samples, `counter_wraps_at` the value that is 0 again (256 where it counts to 255; 0: it never starts again). Of
    the bundle's channels, `bad` ones are not used, and the share `max_interpolated` may be missing, bad or flat.
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

    query: Text = ""
    patterns: tuple[Text, ...] = ()
    offset_ms: Milliseconds | None = None
    votes: Annotated[int, Meta(ge=1, le=100)] = 1
    vote_step_ms: Annotated[float, Meta(gt=0, le=1000)] = 20.0


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From decisions to verdicts, see `pretap_realtime.decide.policy`; as it is, each decision's likeliest class.

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
    mains_hz: Annotated[tuple[Positive, ...], Meta(max_length=8)] = (50.0, 60.0)
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


def load_decoders(
    path: Path | None = None, overrides: Iterable[str] = (), values: Mapping[str, object] | None = None
) -> list[tuple[str | None, ServeConfig]]:
    """Read the decoders that `pretap serve` runs: for each, the bundle if the file names one, and the configuration.

    A file without ``[[decoders]]`` is one decoder. Otherwise, each decoder has the file's common tables; its own tables
    override these key by key. `overrides` and `values` apply to every decoder, as in `load_config`.

    Raises
    ------
    UsageError
        As `load_config`, with the path (``$.decoders[1].stream``), or if the outlets of two would have the same name.
    """
    table = read_toml(path)
    if "decoders" not in table:
        return [(None, convert(table, ServeConfig, path=path, overrides=overrides, values=values))]
    convert(table, _ServeFile, path=path)  # before they are merged: this way an error says in which of them it is
    overrides = list(overrides)
    decoders = []
    for own in table.pop("decoders"):
        bundle = own.pop("bundle", None)
        merged = {key: table.get(key, {}) | own.get(key, {}) for key in (*table, *own)}
        decoders.append((bundle, convert(merged, ServeConfig, path=path, overrides=overrides, values=values)))
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
