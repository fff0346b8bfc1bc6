"""Does a stream fit a bundle? Pure: it looks at descriptions only."""

from __future__ import annotations

from dataclasses import dataclass

from pretap.channels import match_channels, microvolts_per
from pretap.config import StreamConfig
from pretap.errors import StreamRefusedError
from pretap.manifest import Manifest

__all__ = ["Description", "Mapping", "check_stream", "describe_mapping", "printable"]

_RATE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Description:
    """What a stream says about itself in full; `labels` and `units` are empty where it says nothing."""

    name: str
    hostname: str
    format: str
    n_channels: int
    sfreq_hz: float
    labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    subject: str = ""
    speed: float = 1.0


def printable(text: str, *, limit: int = 80) -> str:
    """Make a text that came from the network safe for a terminal and a log: no control characters, not too long."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


@dataclass(frozen=True)
class Mapping:
    """For each channel of the bundle: which channel of the stream it is, and what makes it microvolts."""

    order: tuple[int, ...]
    factors: tuple[float, ...]
    labels: tuple[str, ...]


def check_stream(found: Description, manifest: Manifest, config: StreamConfig) -> Mapping:
    """Check format, rate, channels and unit.

    Raises
    ------
    StreamRefusedError
        With what was expected, what came and what to do.
    """
    stream = f"Stream {printable(found.name)!r}"
    if found.format in ("string", "undefined"):
        raise StreamRefusedError(f"{stream} carries {found.format} values: expected numbers. Choose another stream.")
    if abs(found.sfreq_hz - manifest.sfreq_hz) > _RATE_TOLERANCE * manifest.sfreq_hz:
        rate = f"{found.sfreq_hz:g} Hz" if found.sfreq_hz else "no fixed rate"
        raise StreamRefusedError(
            f"{stream} has {rate}: expected {manifest.sfreq_hz:g} Hz within 1 %. Set the amplifier to that rate, or "
            f"train for this one (--set signal.sfreq_hz={found.sfreq_hz:g})."
        )
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
    order = match_channels(manifest.channels, [printable(label) for label in labels], stream=stream)
    factors = []
    for i in order:
        unit = config.unit or (found.units[i] if i < len(found.units) else "")
        if not unit:
            raise StreamRefusedError(
                f"{stream} does not say the unit of channel {printable(labels[i])}. Say it in the configuration: "
                '[stream] unit = "uV".'
            )
        factors.append(microvolts_per(printable(unit), stream=stream))
    return Mapping(tuple(order), tuple(factors), tuple(labels))


def describe_mapping(mapping: Mapping, manifest: Manifest) -> str:
    """Show which channel of the stream becomes which channel of the bundle."""
    rows = [
        f"  {name:<6} <- channel {i + 1:>3} {printable(mapping.labels[i])!r} x {factor:g} uV"
        for name, i, factor in zip(manifest.channels, mapping.order, mapping.factors, strict=True)
    ]
    return "\n".join(rows)
