"""``pretap serve``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pretap.config import ENGINE_NAMES, ServeConfig, load_config
from pretap.errors import NoStreamError, UsageError
from pretap.shipped import BEST, find_bundle
from pretap_realtime.stopping import Stop, stop_on_signals

if TYPE_CHECKING:
    from pretap_realtime.session_folder import SessionFolder

__all__ = ["serve"]


@click.command(short_help="Decode a live LSL stream.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--config", type=click.Path(path_type=Path), help="TOML, see configs/serve.toml.")
@click.option("--stream", help="The EEG stream: a name, or key=value,... (name, type, source_id, hostname, uid).")
@click.option("--cue-stream", help="Decide once per cue of this marker stream, instead of at every hop.")
@click.option("--hop-ms", type=float, help="Time between decisions; default 50.")
@click.option("--engine", type=click.Choice(ENGINE_NAMES), help="What computes; default auto, the fastest there is.")
@click.option("--log", "log_file", type=click.Path(path_type=Path, dir_okay=False), help="Append each message here.")
@click.option("--record", "folder", type=click.Path(path_type=Path), help="Record the session into this new folder.")
@click.option("--wait-s", type=float, help="Give up (exit 3) when no stream came in this time; default 30, inf waits.")
@click.option("--reconnect-s", type=float, help="Give up (exit 5) when a lost stream stays away; default 600.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override one key of the configuration.")
@click.option("--dry-run", is_flag=True, help="Find and check the stream, print the channel mapping, and stop.")
def serve(
    bundle: Path | None, *, config: Path | None, log_file: Path | None, folder: Path | None, dry_run: bool, **flags: Any
) -> None:
    """Decode a live LSL stream with BUNDLE and publish on LSL outlets until Ctrl-C.

    BUNDLE is a file that `pretap train` wrote, or the name of a shipped one; without it, ensemble-1000hz. Name
    ensemble-100hz for a stream of 100 Hz: another rate than the bundle's is resampled, which delays each decision.
    """
    stop = stop_on_signals()  # first: Ctrl-C ends serve well from its first moment
    settings = _settings(config, **flags)
    if dry_run and folder is not None:
        raise UsageError("--record and --dry-run: a dry run decides nothing that could be recorded. Leave out one.")
    from pretap.bundle import load
    from pretap.inspection import in_a_line
    from pretap_realtime.connection import Connector

    if bundle is None:
        _say(f"no BUNDLE named: {BEST}, the default, made for most amplifiers; at 100 Hz name ensemble-100hz")
    bundle = find_bundle(bundle or BEST)
    decoder = load(bundle, engine=settings.decode.engine)
    _say(f"bundle {bundle}: {in_a_line(decoder.manifest)}")
    connector = Connector(decoder, settings, say=_say)
    try:
        if dry_run:
            _dry_run(connector, decoder, settings, stop)
        else:
            session = None if folder is None else _session(folder, settings, bundle=bundle, sha256=decoder.sha256)
            log_files = [each for each in (log_file, session and session.decisions) if each]
            _serve(decoder, connector, settings, log_files=log_files, session=session, stop=stop)
    except NoStreamError as error:
        raise NoStreamError(f"{error} {_whats_there(settings)}") from None


def _serve(
    decoder: Any,
    connector: Any,
    settings: ServeConfig,
    *,
    log_files: Sequence[Path],
    session: SessionFolder | None,
    stop: Stop,
) -> None:
    from pretap_realtime.cues import bundle_cues
    from pretap_realtime.lsl import local_clock
    from pretap_realtime.pipeline import CueLocked, FreeRunning, Mode, Pipeline
    from pretap_realtime.publisher import Publisher, Sink
    from pretap_realtime.service import Service, Timing
    from pretap_realtime.sinks import LogSink, OutletSink

    manifest = decoder.manifest
    hop = hop_samples(settings.decode.hop_ms, manifest.sfreq_hz)
    mode: Mode = FreeRunning(decoder, hop=hop)
    if settings.cue.query:
        patterns, offset_s = bundle_cues(manifest)
        if settings.cue.offset_ms is not None:
            offset_s = settings.cue.offset_ms / 1000
        mode = CueLocked(decoder, offset_s=offset_s, patterns=settings.cue.patterns or patterns)
    outlets = OutletSink(
        settings.markers.name, classes=manifest.classes, format=settings.markers.format, sha256=decoder.sha256
    )
    sinks: list[Sink] = [outlets, *(LogSink(log_file) for log_file in log_files)]
    _say(f"engine {mode.words}")
    publisher = Publisher(sinks, classes=manifest.classes, clock=local_clock)
    service = Service(
        decoder,
        Pipeline(decoder, mode, max_interpolated=settings.stream.max_interpolated),
        publisher,
        connect=connector,
        timing=Timing(wait_s=settings.stream.wait_s, reconnect_s=settings.stream.reconnect_s),
        threshold=settings.policy.threshold,
        clock=local_clock,
        stop=stop,
        say=_say,
    )
    try:
        if session is not None:
            session.start(settings, stop=stop)
        service.run()
    finally:
        if not publisher.close(timeout_s=0.3):
            _say("an outlet hangs: its last messages were not sent")
        if session is not None:
            session.close()  # while the outlets are there: what is unread of an outlet that goes is lost
        click.echo(service.summary())


def _session(folder: Path, settings: ServeConfig, *, bundle: Path, sha256: str) -> SessionFolder:
    from pretap_realtime.session_folder import SessionFolder

    session = SessionFolder(folder, say=_say)
    session.describe(settings, bundle=bundle, sha256=sha256)
    return session


def _dry_run(connector: Any, decoder: Any, settings: ServeConfig, stop: Stop) -> None:
    from pretap_realtime.contract import describe_mapping
    from pretap_realtime.lsl import local_clock
    from pretap_realtime.pipeline import make_resampler

    deadline_s = local_clock() + settings.stream.wait_s
    while not stop.is_set():
        connection = connector(lambda: None)
        if connection is not None:
            resampler = make_resampler(connection.mapping.sfreq_hz, decoder.manifest)
            delay_s = 0.0 if resampler is None else resampler.delay_s
            click.echo(describe_mapping(connection.mapping, decoder.manifest, delay_s=delay_s))
            connection.close()
            return
        if local_clock() > deadline_s:
            raise NoStreamError(f"No stream answered within {settings.stream.wait_s:g} s.")


def hop_samples(hop_ms: float, sfreq_hz: float) -> int:
    """Turn the hop into samples; it must be at least one."""
    hop = round(hop_ms * sfreq_hz / 1000)
    if hop < 1:
        raise UsageError(f"decode.hop_ms = {hop_ms:g} is less than one sample at {sfreq_hz:g} Hz.")
    return hop


def _settings(
    config: Path | None,
    *,
    stream: str | None,
    cue_stream: str | None,
    hop_ms: float | None,
    engine: str | None,
    wait_s: float | None,
    reconnect_s: float | None,
    overrides: tuple[str, ...],
) -> ServeConfig:
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
    settings = load_config(ServeConfig, config, [*overrides, *given])
    if any(math.isnan(value) for value in (settings.decode.hop_ms, settings.stream.wait_s)):
        raise UsageError("A duration is NaN: expected a number of milliseconds or seconds.")
    return settings


def _say(line: str) -> None:
    click.echo(line, err=True)


def _whats_there(settings: ServeConfig) -> str:
    from pretap_realtime.lsl import find

    asked = f"Asked for {settings.stream.query!r}" + (f" and {settings.cue.query!r}" if settings.cue.query else "")
    seen = find(wait_s=0.5)
    if not seen:
        return f"{asked}; there is no stream on the network. Is the amplifier's LSL app running? See `pretap doctor`."
    return f"{asked}; on the network are:\n  " + "\n  ".join(str(f) for f in seen)
