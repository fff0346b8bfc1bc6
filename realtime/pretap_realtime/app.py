"""``pretap serve``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

    outlets = OutletSink(
        settings.markers.name, classes=manifest.classes, format=settings.markers.format, sha256=decoder.sha256
    )
    sinks: list[Sink] = [outlets, *logs]
    plan.say(f"engine {mode.words}")
    publisher = Publisher(sinks, classes=manifest.classes, clock=local_clock)
    service = Service(
        decoder,
        Pipeline(decoder, mode, max_interpolated=settings.stream.max_interpolated),
        publisher,
        connect=plan.connector,
        timing=Timing(wait_s=settings.stream.wait_s, reconnect_s=settings.stream.reconnect_s),
        threshold=settings.policy.threshold,
        clock=local_clock,
        stop=stop,
        say=plan.say,
    )
    try:
        if session is not None:
            session.start(settings, stop=stop)
        service.run()
    finally:
        if not publisher.close(timeout_s=0.3):
            plan.say("an outlet hangs: its last messages were not sent")
        if session is not None:
            session.close()  # while the outlets are there: what is unread of an outlet that goes is lost
        sinks.clear()  # closes the outlets: where other decoders go on, these would stay, and be silent
        show(str(service.summary()))


def _dry_run(plan: _Plan, stop: Stop, show: Say) -> None:
    from pretap_realtime.contract import describe_mapping
    from pretap_realtime.lsl import local_clock
    from pretap_realtime.pipeline import make_resampler

    wait_s = plan.settings.stream.wait_s
    manifest = plan.decoder.manifest
    deadline_s = local_clock() + wait_s
    while not stop.is_set():
        connection = plan.connector(lambda: None)
        if connection is not None:
            resampler = make_resampler(connection.mapping.sfreq_hz, manifest)
            delay_s = 0.0 if resampler is None else resampler.delay_s
            show(describe_mapping(connection.mapping, manifest, delay_s=delay_s))
            connection.close()
            return
        if local_clock() > deadline_s:
            raise NoStreamError(f"No stream answered within {wait_s:g} s.")


def hop_samples(hop_ms: float, sfreq_hz: float) -> int:
    """Turn the hop into samples; it must be at least one."""
    hop = round(hop_ms * sfreq_hz / 1000)
    if hop < 1:
        raise UsageError(f"decode.hop_ms = {hop_ms:g} is less than one sample at {sfreq_hz:g} Hz.")
    return hop


def _chosen(
    config: Path | None,
    *,
    stream: str | None,
    cue_stream: str | None,
    hop_ms: float | None,
    engine: str | None,
    wait_s: float | None,
    reconnect_s: float | None,
    overrides: tuple[str, ...],
) -> list[tuple[str | None, ServeConfig]]:
    """Give the decoders of the file, or the one without it, with what the flags say."""
    flags = {
        "stream.query": stream,
        "cue.query": cue_stream,
        "decode.hop_ms": hop_ms,
        "decode.engine": engine,
        "stream.wait_s": wait_s,
        "stream.reconnect_s": reconnect_s,
    }
    # A JSON string is a TOML string: what the user typed is a value, whatever characters it holds.
    given = [
        f"{key}={msgspec.json.encode(value).decode() if isinstance(value, str) else value}"
        for key, value in flags.items()
        if value is not None
    ]
    chosen = load_decoders(config, [*overrides, *given])
    if any(math.isnan(value) for _, each in chosen for value in (each.decode.hop_ms, each.stream.wait_s)):
        raise UsageError("A duration is NaN: expected a number of milliseconds or seconds.")
    if len(chosen) > 1 and (stream is not None or cue_stream is not None):
        flag, key = ("--stream", "stream.query") if stream is not None else ("--cue-stream", "cue.query")
        raise UsageError(
            f"{flag} names the stream of one decoder, and {config} has {len(chosen)}. Write {key} into its "
            f"[[decoders]], or give all of them one stream with --set {key}=..."
        )
    return chosen


def _say(line: str) -> None:
    click.echo(line, err=True)


def _say_as(name: str, line: str) -> None:
    _say(f"{name}: {line}")


def _list_where_none_came(job: Job, settings: ServeConfig, show: Say) -> None:
    try:
        job(show)
    except NoStreamError as error:
        raise NoStreamError(f"{error} {_whats_there(settings)}") from None


def _whats_there(settings: ServeConfig) -> str:
    from pretap_realtime.lsl import find

    asked = f"Asked for {settings.stream.query!r}" + (f" and {settings.cue.query!r}" if settings.cue.query else "")
    seen = find(wait_s=_LIST_S)
    if not seen:
        return f"{asked}; there is no stream on the network. Is the amplifier's LSL app running? See `pretap doctor`."
    return f"{asked}; on the network are:\n  " + "\n  ".join(str(f) for f in seen)
