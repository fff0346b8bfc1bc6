"""Whether a stream fits a bundle, and which of its channels are used. Pure: it sees descriptions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.bundle.manifest import Manifest
from pretap.config.serve import StreamConfig
from pretap.errors import StreamRefusedError, UsageError
from pretap.signal.channels import MISSING, electrode_names, match_channels, microvolts_per
from pretap.signal.interpolation import can_interpolate, max_interpolated

_RATE_TOLERANCE = 0.01
_MAX_UP, _MAX_DOWN = 10.0, 256.0  # 100 Hz to 1000 Hz; 16 kHz to 100 Hz


@dataclass(frozen=True)
class Description:
    """The full description of a stream; `labels` and `units` are empty if it has none."""

    name: str
    hostname: str
    format: str
    n_channels: int
    sfreq_hz: float
    labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    subject: str = ""
    speed: float = 1.0
    source_id: str = ""
    service: str = ""  # of an outlet of `pretap serve`: how it decides, as JSON


def printable(text: str, *, limit: int = 80) -> str:
    """Make a text that came from the network safe for a terminal and a log: no control characters, not too long."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def changes(before: Description, after: Description) -> str:
    """Return how a stream that returned differs from the one that was lost; empty if it does not."""
    facts = [
        ("source_id", before.source_id, after.source_id),
        ("host", before.hostname, after.hostname),
        ("format", before.format, after.format),
        ("rate", f"{before.sfreq_hz:g} Hz", f"{after.sfreq_hz:g} Hz"),
        ("channels", str(before.n_channels), str(after.n_channels)),
        ("unit", _listed(before.units), _listed(after.units)),
        ("subject", before.subject, after.subject),
    ]
    told = [f"{what} {printable(one)!r}, now {printable(other)!r}" for what, one, other in facts if one != other]
    if before.labels != after.labels:
        same = sorted(before.labels) == sorted(after.labels)
        told.append("the channels are in another order" if same else "the channels have other names")
    return f"not as before: {'; '.join(told)}" if told else ""


def _listed(texts: tuple[str, ...]) -> str:
    return ", ".join(sorted(set(texts)))


@dataclass(frozen=True)
class Mapping:
    """How the channels of a stream become those of a bundle.

    Attributes
    ----------
    order, factors
        For each channel of the bundle the index of the stream's channel and the factor to microvolts. A missing channel
        has the index `pretap.signal.channels.MISSING` and the factor 0.
    labels
        Labels of the stream's channels.
    sfreq_hz
        The stream's rate.
    counter, cue_channel
        The stream's channels in which the device counts its samples and in which it sends trigger codes, if the
        configuration names them.
    """

    order: tuple[int, ...]
    factors: tuple[float, ...]
    labels: tuple[str, ...]
    sfreq_hz: float
    counter: int | None = None
    cue_channel: int | None = None

    @property
    def missing(self) -> tuple[int, ...]:
        """The channels of the bundle that the stream lacks."""
        return tuple(k for k, i in enumerate(self.order) if i == MISSING)


def same_rate(one_hz: float, other_hz: float) -> bool:
    """Whether two nominal rates are within 1 %, so that nothing is resampled."""
    return abs(one_hz - other_hz) <= _RATE_TOLERANCE * other_hz


def check_stream(
    found: Description,
    manifest: Manifest,
    config: StreamConfig,
    *,
    interpolation: NDArray[np.float64] | None = None,
    cue_channel: str = "",
) -> Mapping:
    """Check format, rate, channels and unit.

    With the bundle's `interpolation` a few channels may be missing (``stream.max_interpolated``). `cue_channel` is the
    label of the trigger channel, if one is used.

    Raises
    ------
    StreamRefusedError
        If the stream does not fit; the message says what was expected, what was found and what to do.
    UsageError
        If `config.bad` names an electrode that the bundle does not have.
    """
    stream = f"Stream {printable(found.name)!r}"
    if found.format in ("string", "undefined"):
        raise StreamRefusedError(f"{stream} carries {found.format} values: expected numbers. Choose another stream.")
    sfreq_hz = _rate(found, manifest, config, stream)
    labels = config.channels or found.labels
    if not labels:
        raise StreamRefusedError(
            f"{stream} does not name its {found.n_channels} channels. Name them in the configuration, in the order of "
            'the amplifier: [stream] channels = ["Fz", "C3", ...].'
        )
    if len(labels) != found.n_channels:
        whose = "The configuration" if config.channels else "Its description"
        raise StreamRefusedError(
            f"{stream} has {found.n_channels} channels. {whose} names {len(labels)}. Name every channel, in order."
        )
    order = _order(manifest, tuple(printable(label) for label in labels), config, interpolation, stream)
    factors = []
    for i in order:
        if i == MISSING:
            factors.append(0.0)
            continue
        unit = config.unit or (found.units[i] if i < len(found.units) else "")
        if not unit:
            raise StreamRefusedError(
                f"{stream} does not say the unit of channel {printable(labels[i])}. Say it in the configuration: "
                '[stream] unit = "uV".'
            )
        factors.append(microvolts_per(printable(unit), stream=stream))
    return Mapping(
        order,
        tuple(factors),
        tuple(labels),
        sfreq_hz,
        counter=_extra(labels, config.counter, "its counter (stream.counter)", stream),
        cue_channel=_extra(labels, cue_channel, "the one with the cues (cue.channel)", stream),
    )


def _extra(labels: Sequence[str], wanted: str, purpose: str, stream: str) -> int | None:
    """Return the index of a channel that is not EEG; None if none is wanted."""
    if not wanted:
        return None
    if labels.count(wanted) != 1:
        raise StreamRefusedError(
            f"{stream} has {labels.count(wanted)} channels {printable(wanted)!r}: expected one, {purpose}. It has "
            f"{', '.join(printable(label) for label in labels[:40])}."
        )
    return labels.index(wanted)


def _rate(found: Description, manifest: Manifest, config: StreamConfig, stream: str) -> float:
    sfreq_hz = config.sfreq_hz or found.sfreq_hz
    if not sfreq_hz:
        raise StreamRefusedError(
            f"{stream} has no fixed rate: expected one, such as {manifest.sfreq_hz:g} Hz. If the amplifier does have "
            "one, say it in the configuration: [stream] sfreq_hz = ..."
        )
    ratio = sfreq_hz / manifest.sfreq_hz
    if not 1 / _MAX_UP <= ratio <= _MAX_DOWN:
        raise StreamRefusedError(
            f"{stream} has {sfreq_hz:g} Hz: expected {manifest.sfreq_hz:g} Hz, or what can be resampled to it "
            f"({manifest.sfreq_hz / _MAX_UP:g} to {manifest.sfreq_hz * _MAX_DOWN:g} Hz). Set the amplifier to another "
            "rate, or train for this one."
        )
    return sfreq_hz


def _order(
    manifest: Manifest,
    labels: tuple[str, ...],
    config: StreamConfig,
    interpolation: NDArray[np.float64] | None,
    stream: str,
) -> tuple[int, ...]:
    """Find the bundle's channels in the stream; electrodes that are configured as bad count as missing."""
    wanted = manifest.channels
    replaceable: tuple[str, ...] = ()
    if interpolation is not None:
        replaceable = tuple(name for k, name in enumerate(wanted) if can_interpolate(interpolation, k))
    order = match_channels(wanted, labels, stream=stream, replaceable=replaceable)
    electrodes = electrode_names(wanted)
    for name, electrode in zip(config.bad, electrode_names(config.bad), strict=True):
        if electrode not in electrodes:
            raise UsageError(f"stream.bad: the bundle has no electrode {name!r}; it has {', '.join(wanted)}.")
        order[electrodes.index(electrode)] = MISSING
    gone = [name for name, i in zip(wanted, order, strict=True) if i == MISSING]
    n_max = max_interpolated(len(wanted), config.max_interpolated)
    stuck = [name for name in gone if name not in replaceable]
    if len(gone) > n_max or stuck:
        raise StreamRefusedError(
            f"{stream} lacks {len(gone)} of the {len(wanted)} channels of the bundle: {', '.join(gone)}. "
            f"At most {n_max} may be interpolated from their neighbours (stream.max_interpolated = "
            f"{config.max_interpolated:g}){f'; not possible for {chr(44).join(stuck)}' if stuck else ''}. It has "
            f"{', '.join(labels[:40])}. Check the montage, name the channels in the configuration ([stream] channels = "
            "[...]), or train without them."
        )
    return tuple(order)


def describe_mapping(mapping: Mapping, manifest: Manifest, *, delay_s: float) -> str:
    """Return which channel of the stream becomes which channel of the bundle, and whether it is resampled, as text."""
    rows = []
    for name, i, factor in zip(manifest.channels, mapping.order, mapping.factors, strict=True):
        if i == MISSING:
            rows.append(f"  {name:<6} <- missing: interpolated from its neighbours")
        else:
            rows.append(f"  {name:<6} <- channel {i + 1:>3} {printable(mapping.labels[i])!r} x {factor:g} uV")
    extra = {"counter": mapping.counter, "cues": mapping.cue_channel}
    rows += [
        f"  {name:<6} <- channel {i + 1:>3} {printable(mapping.labels[i])!r}"
        for name, i in extra.items()
        if i is not None
    ]
    used = {*mapping.order, *extra.values()}
    spare = [printable(label) for i, label in enumerate(mapping.labels) if i not in used]
    if spare:
        rows.append(f"  not used: {', '.join(spare)}")
    return "\n".join([*rows, f"  {describe_rate(mapping.sfreq_hz, manifest.sfreq_hz, delay_s=delay_s)}"])


def describe_rate(from_hz: float, to_hz: float, *, delay_s: float) -> str:
    """Return whether the stream is resampled, and by how much that delays a decision, as text."""
    if not delay_s:
        return f"{from_hz:g} Hz, as the bundle takes it"
    return (
        f"resampled from {from_hz:g} to {to_hz:g} Hz: every decision comes {1000 * delay_s:.1f} ms later; its "
        "timestamp stays that of its last sample"
    )
