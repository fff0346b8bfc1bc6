"""``pretap serve``."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pretap.bundle.shipped import BEST, find_bundle
from pretap.config.serve import ServeConfig, load_decoders
from pretap.errors import NoStreamError, OutletFrozenError, UsageError
from pretap.options import FILE, FOLDER, engine_option, set_option
from pretap.terminal import plain
from pretap_realtime.console.stopping import Stop, StopSignal, stop_at_eof, stop_on_signals
from pretap_realtime.console.writer import ConsoleWriter

if TYPE_CHECKING:
    from pretap.decoder.decoder import Decoder
    from pretap_realtime.send.log_sink import LogSink
    from pretap_realtime.send.network import OutputSink
    from pretap_realtime.serve.connection import Connector, LslConnection
    from pretap_realtime.serve.handover import Handover
    from pretap_realtime.serve.session_folder import SessionFolder
    from pretap_realtime.serve.several import Job, Say

__all__ = ["serve"]

_LIST_S = 1.0  # several outlets on one machine may answer only after 0.6 s (liblsl #282)
# Of BLAS, before numpy loads it: after a large product its other threads would spin for a while, on a core that the
# session may need.
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


_ARGUMENTS = "pretap.serve.arguments"


class _ServeCommand(click.Command):
    """A command that keeps its arguments as they were given: under --supervise the worker gets the same."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


@click.command(cls=_ServeCommand)
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--config", type=FILE, help="TOML file with the settings of the service, such as configs/serve.toml.")
@click.option(
    "--query",
    metavar="QUERY",
    help="EEG stream to decode: a name, or key=value,... with the keys name, type, source_id, hostname and uid.  "
    "[default: type=EEG]",
)
@click.option("--cue-query", metavar="QUERY", help="Marker stream with cues: decide once per cue, not at every hop.")
@click.option("--hop-ms", type=float, help="Time between two decisions.  [default: 50]")
@engine_option
@click.option("--log", "log_file", type=FILE, help="Append every message to this file as a line of JSON.")
@click.option("--record", "folder", type=FOLDER, help="Record the session into this new folder.")
@click.option(
    "--wait-s", type=float, help="Exit with code 3 if no stream appears in this time; inf waits forever.  [default: 30]"
)
@click.option(
    "--reconnect-s", type=float, help="Exit with code 5 if a lost stream stays away this long.  [default: 600]"
)
@set_option
@click.option(
    "--supervise",
    is_flag=True,
    help="Restart the service when it crashes. Sequence numbers, log and recording continue.",
)
@click.option("--supervised", type=FILE, hidden=True, help="Handover file of a supervised worker.")
@click.option("--dry-run", is_flag=True, help="Find and check the stream, print the channel mapping, and exit.")
def serve(
    bundle: Path | None,
    *,
    config: Path | None,
    log_file: Path | None,
    folder: Path | None,
    dry_run: bool,
    supervise: bool,
    supervised: Path | None,
    **flags: Any,
) -> int:
    """Decode a live LSL stream with BUNDLE and publish the decisions on LSL outlets until Ctrl-C.

    BUNDLE is a file that `pretap train` wrote, or the name of a shipped bundle; the default is ensemble-1000hz. Use
    ensemble-100hz for a stream at 100 Hz. A stream at another rate than the bundle's is resampled, which delays each
    decision.

    To run several decoders in one process, list them as [[decoders]] in the configuration. If one of them fails, the
    others continue, and the first error sets the exit code.
    """
    if supervise and supervised is None:
        if dry_run:
            raise UsageError("--supervise and --dry-run: a dry run is not kept running. Leave out one.")
        return _supervise(click.get_current_context().meta[_ARGUMENTS])
    stop = stop_on_signals()  # first: Ctrl-C ends serve well from its first moment
    console = ConsoleWriter()
    code = 0
    try:
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        chosen = _chosen(config, **flags)
        jobs = _jobs(
            bundle,
            chosen,
            log_file=log_file,
            folder=folder,
            dry_run=dry_run,
            supervised=supervised,
            stop=stop,
            console=console,
        )
        if len(jobs) == 1:
            (job,) = jobs.values()
            job(console.show)
        else:
            from pretap_realtime.serve.several import run_each

            run_each(jobs, say=partial(_say, console), show=console.show)
    except OutletFrozenError as error:
        _say(console, f"Error: {error}")
        code = error.exit_code
    finally:
        all_is_said = console.close()
    if not all_is_said:
        os._exit(code)  # the interpreter's end would wait for the terminal
    _leave_where_threads_spin(code)
    return code


def _jobs(
    bundle: Path | None,
    chosen: Sequence[tuple[str | None, ServeConfig]],
    *,
    log_file: Path | None,
    folder: Path | None,
    dry_run: bool,
    supervised: Path | None,
    stop: StopSignal,
    console: ConsoleWriter,
) -> dict[str, Job]:
    """Load and open what each decoder needs; gives by its name what serves."""
    handover = None
    if supervised is not None:
        from pretap_realtime.serve.handover import Handover

        handover = Handover(supervised)
        stop_at_eof(stop)
    if dry_run and folder is not None:
        raise UsageError("--record and --dry-run: a dry run decides nothing that could be recorded. Leave out one.")
    is_one = len(chosen) == 1
    plans = [
        _plan(
            name or bundle,
            settings,
            say=partial(_say, console) if is_one else partial(_say_as, console, settings.markers.name),
        )
        for name, settings in chosen
    ]
    jobs: dict[str, Job] = {}
    for k, plan in enumerate(plans):
        if dry_run:
            job: Job = partial(_dry_run, plan, stop)
        else:
            part = f"part-{handover.n_restarts + 1}" if handover is not None and handover.n_restarts else ""
            sinks, session = _outputs(plan, log_file=log_file, folder=folder, is_one=is_one, part=part)
            place = None if handover is None else _Place(handover, k)
            job = partial(_serve, plan, sinks, session, stop, place=place)
        jobs[plan.name] = partial(_list_where_none_came, job, plan.settings)
    return jobs


def _leave_where_threads_spin(code: int) -> None:
    """End the process, where the interpreter's end would take seconds since threads of liblsl spin beside it."""
    if "pretap_realtime.send.runaway_threads" not in sys.modules:
        return
    from pretap_realtime.send import runaway_threads as spinning

    if spinning.are_there():
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        spinning.leave(code)


def _supervise(arguments: Sequence[str]) -> int:
    if os.name == "posix":  # in place of this process: the supervisor needs only the standard library
        os.execv(sys.executable, [sys.executable, "-m", "pretap_realtime.serve.supervisor", *arguments])  # noqa: S606
    from pretap_realtime.serve.supervisor import main

    return main(arguments)


@dataclass(frozen=True)
class _Place:
    """The place of a decoder in what a worker leaves to the next."""

    handover: Handover
    k: int


@dataclass(frozen=True, eq=False)
class _Plan:
    """A decoder that was loaded, and what it is to serve."""

    settings: ServeConfig
    bundle: Path
    decoder: Decoder
    connector: Connector
    hop: int
    say: Say

    @property
    def name(self) -> str:
        return self.settings.markers.name


def _plan(bundle: str | Path | None, settings: ServeConfig, *, say: Say) -> _Plan:
    from pretap_realtime.serve.connection import Connector, StreamSearches

    searches = StreamSearches.start(settings)  # streams answer while the bundle is loaded
    from pretap.bundle.file import load
    from pretap.bundle.inspect import in_a_line
    from pretap_realtime.decide.modes import hop_samples
    from pretap_realtime.signal.quality import check_policy

    if bundle is None:
        say(f"no BUNDLE named: {BEST}, the default, made for most amplifiers; at 100 Hz name ensemble-100hz")
    file = find_bundle(bundle or BEST)
    decoder = load(file, engine=settings.decode.engine, sha256=settings.decode.bundle_sha256)
    say(f"bundle {file}: {in_a_line(decoder.manifest)}")
    check_policy(settings.quality, decoder)
    if decoder.statistics is None:
        say(
            "this bundle does not know the training's signal: electrodes off scale, a wrong unit and a swapped cap go "
            "unseen; train it again"
        )
    hop = hop_samples(settings.decode.hop_ms, decoder.manifest.sfreq_hz)
    return _Plan(settings, file, decoder, Connector(decoder, settings, searches=searches, say=say), hop, say)


def _outputs(
    plan: _Plan, *, log_file: Path | None, folder: Path | None, is_one: bool, part: str
) -> tuple[list[OutputSink | LogSink], SessionFolder | None]:
    """Open outputs, logs and the folder of a session; of several decoders each has its own, by its name.

    What is recorded after a restart goes into a folder `part` in that folder.
    """
    from pretap_realtime.send.log_sink import LogSink

    sinks: list[OutputSink | LogSink] = []
    session = None
    outputs = plan.settings.outputs
    if outputs.websocket or outputs.osc or outputs.udp:
        from pretap_realtime.send.network import open_outputs

        classes = plan.decoder.manifest.classes
        sinks.append(open_outputs(outputs, root=plan.name, classes=classes, say=plan.say))
    if log_file is not None:
        own = log_file if is_one else log_file.with_name(f"{log_file.stem}-{plan.name}{log_file.suffix}")
        sinks.append(LogSink(own, say=plan.say))
    if folder is not None:
        from pretap_realtime.serve.session_folder import SessionFolder

        if not is_one and not plan.name.strip("."):
            raise UsageError(f"--record: markers.name = {plan.name!r} cannot be the name of a folder. Choose another.")
        own = (folder if is_one else folder / plan.name) / part
        if part:
            plan.say(f"the recording goes on in {own}")
        session = SessionFolder(own, say=plan.say)
        session.describe(plan.settings, bundle=plan.bundle, sha256=plan.decoder.sha256)
        sinks.append(LogSink(session.decisions, say=plan.say))
    return sinks, session


def _serve(
    plan: _Plan,
    sinks: Sequence[OutputSink | LogSink],
    session: SessionFolder | None,
    stop: StopSignal,
    show: Say,
    *,
    place: _Place | None,
) -> None:
    from pretap_realtime.decide.cues import bundle_cues
    from pretap_realtime.decide.modes import FreeRunning, Mode, cue_locked
    from pretap_realtime.decide.pipeline import Pipeline
    from pretap_realtime.decide.policy import Policy
    from pretap_realtime.lsl.library import local_clock
    from pretap_realtime.send.outlet_sink import OutletSink
    from pretap_realtime.send.publisher import Publisher
    from pretap_realtime.serve.fast_path import FastPath, make_fast_path
    from pretap_realtime.serve.service import Service, Timing

    settings, decoder, manifest = plan.settings, plan.decoder, plan.decoder.manifest
    mode: Mode = FreeRunning(decoder, hop=plan.hop)
    if settings.cue.query:
        patterns, offset_s = bundle_cues(manifest)
        mode = cue_locked(decoder, settings.cue, patterns=settings.cue.patterns or patterns, offset_s=offset_s)
    markers = settings.markers
    outlets = OutletSink(markers.name, classes=manifest.classes, format=markers.format, sha256=decoder.sha256)
    plan.say(f"engine {mode.describe()}")
    publisher = Publisher(
        [outlets, *sinks],
        classes=manifest.classes,
        clock=local_clock,
        say=plan.say,
        first_seq=0 if place is None else place.handover.seq(place.k),
        keep_seq=None if place is None else place.handover.keep_seq(place.k),
    )
    pipeline = Pipeline(
        decoder,
        mode,
        max_interpolated=settings.stream.max_interpolated,
        counter_wraps_at=settings.stream.counter_wraps_at,
        quality=settings.quality,
    )

    def fast_path_of(connection: LslConnection) -> FastPath | None:
        hop_s = plan.hop / manifest.sfreq_hz
        return make_fast_path(connection.inlet, pipeline, outlets, watch=publisher.watch, hop_s=hop_s)

    service = Service(
        pipeline,
        publisher,
        connect=plan.connector,
        timing=Timing(wait_s=settings.stream.wait_s, reconnect_s=settings.stream.reconnect_s),
        policy=Policy(settings.policy, manifest),
        clock=local_clock,
        stop=stop,
        say=plan.say,
        make_fast_path=fast_path_of,
        restarted="" if place is None else place.handover.why,
    )
    try:
        if session is not None:
            session.start(settings, stop=stop)
        publisher.run(service.run())
    except OutletFrozenError:
        if place is not None:
            stop.set()  # the other decoders end too: a new process will have them all
        raise
    finally:
        if not publisher.close(timeout_s=0.3):
            plan.say("an outlet hangs: its last messages were not sent")
        if session is not None:
            session.close()  # while the outlets are there: what is unread of an outlet that goes is lost
        for sink in sinks:
            sink.close()
        outlets.close()  # where other decoders go on, these would stay, and be silent
        show(str(service.summary()))


def _dry_run(plan: _Plan, stop: Stop, show: Say) -> None:
    from pretap_realtime.decide.pipeline import make_resampler
    from pretap_realtime.lsl.library import local_clock
    from pretap_realtime.signal.compatibility import describe_mapping

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


def _chosen(
    config: Path | None,
    *,
    query: str | None,
    cue_query: str | None,
    hop_ms: float | None,
    engine: str | None,
    wait_s: float | None,
    reconnect_s: float | None,
    overrides: tuple[str, ...],
) -> list[tuple[str | None, ServeConfig]]:
    """Read the decoders of the file, or the default one, with the values of the options."""
    flags = {
        "stream.query": query,
        "cue.query": cue_query,
        "decode.hop_ms": hop_ms,
        "decode.engine": engine,
        "stream.wait_s": wait_s,
        "stream.reconnect_s": reconnect_s,
    }
    chosen = load_decoders(config, overrides, flags)
    if any(math.isnan(value) for _, each in chosen for value in (each.decode.hop_ms, each.stream.wait_s)):
        raise UsageError("A duration is NaN: expected a number of milliseconds or seconds.")
    if len(chosen) > 1 and (query is not None or cue_query is not None):
        flag, key = ("--query", "stream.query") if query is not None else ("--cue-query", "cue.query")
        raise UsageError(
            f"{flag} names the stream of one decoder, and {config} has {len(chosen)}. Write {key} into its "
            f"[[decoders]], or give all of them one stream with --set {key}=..."
        )
    return chosen


def _say(console: ConsoleWriter, line: str) -> None:
    console.say(plain(line))


def _say_as(console: ConsoleWriter, name: str, line: str) -> None:
    _say(console, f"{name}: {line}")


def _list_where_none_came(job: Job, settings: ServeConfig, show: Say) -> None:
    try:
        job(show)
    except NoStreamError as error:
        raise NoStreamError(f"{error} {_whats_there(settings)}") from None


def _whats_there(settings: ServeConfig) -> str:
    from pretap_realtime.lsl.description import list_streams
    from pretap_realtime.lsl.resolver import StreamResolver

    asked = f"Asked for {settings.stream.query!r}" + (f" and {settings.cue.query!r}" if settings.cue.query else "")
    seen = StreamResolver().streams(gather_s=_LIST_S)
    if not seen:
        return f"{asked}; there is no stream on the network. Is the amplifier's LSL app running? See `pretap doctor`."
    return f"{asked}; on the network are:\n  {list_streams(seen)}"
