"""Assembly: loads the decoders of `pretap serve`, and builds and runs a service for each. Used by `serve.command`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pretap.bundle.file import load
from pretap.bundle.shipped import BEST, find_bundle
from pretap.config.serve import ServeConfig
from pretap.decoder.adapting import AdaptingDecoder
from pretap.decoder.decoder import Decoder
from pretap.errors import NoStreamError, OutletFrozenError, UsageError
from pretap.spelling import did_you_mean
from pretap_realtime.console.stopping import Stop, StopSignal
from pretap_realtime.console.writer import ConsoleWriter
from pretap_realtime.decide.accuracy import Tally
from pretap_realtime.decide.cues import bundle_cues
from pretap_realtime.decide.modes import CueLocked, FreeRunning, Mode, cue_locked, describe_hop, hop_samples
from pretap_realtime.decide.pipeline import Pipeline, make_resampler
from pretap_realtime.decide.policy import Policy
from pretap_realtime.lsl.description import StreamInfo, list_streams
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.query import parse_query
from pretap_realtime.lsl.resolver import GATHER_S, StreamResolver
from pretap_realtime.send.leader import Leader
from pretap_realtime.send.log_sink import LogSink
from pretap_realtime.send.messages import ServiceDescription
from pretap_realtime.send.outlet_group import OutletGroup, source_ids
from pretap_realtime.send.outlet_sink import OutletSink
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.serve import adaptation
from pretap_realtime.serve.connection import Connector, LslConnection, StreamSearch, start_searches
from pretap_realtime.serve.fast_path import FastPath, make_fast_path
from pretap_realtime.serve.handover import Handover
from pretap_realtime.serve.service import Service
from pretap_realtime.serve.session_folder import SessionFolder
from pretap_realtime.serve.several import Job, Say, run_each
from pretap_realtime.serve.states import HandedOverTally
from pretap_realtime.serve.status import StatusSink
from pretap_realtime.signal.compatibility import describe_mapping
from pretap_realtime.signal.quality import masking_limits

if TYPE_CHECKING:
    from pretap_realtime.send.network.network_sink import NetworkSink


@dataclass(frozen=True)
class Destinations:
    """The places besides the LSL outlets to which messages go.

    Attributes
    ----------
    log_file
        Log of the messages, if any.
    folder
        Folder for the recording of the session, if any.
    adapt_state
        File that keeps the state of decoders that adapt, if any.
    handover
        Under ``--supervise``, the file through which a worker continues the previous one's work.
    """

    log_file: Path | None
    folder: Path | None
    adapt_state: Path | None
    handover: Handover | None


@dataclass(frozen=True, eq=False)
class _LoadedDecoder:
    """A decoder with its settings."""

    settings: ServeConfig
    bundle: Path
    decoder: Decoder
    adapt_state: Path | None
    connector: Connector
    hop: int  # samples
    say: Say
    show_status: Callable[[Sequence[str]], None]

    @property
    def name(self) -> str:
        return self.settings.markers.name


def run_decoders(
    decoders: Sequence[tuple[str | Path | None, ServeConfig]],
    destinations: Destinations | None,
    *,
    stop: StopSignal,
    console: ConsoleWriter,
) -> None:
    """Load every decoder, then run their services until they end.

    Parameters
    ----------
    decoders
        A bundle, or None for the default one, and settings for each.
    destinations
        None for a dry run, which connects to the stream, shows the channel mapping and ends.
    """
    is_single = len(decoders) == 1
    own = {source_id for _, settings in decoders for source_id in source_ids(settings.markers.name)}
    # The searches run while the bundles load.
    searches = [start_searches(settings, own=own, sleep=stop.wait) for _, settings in decoders]
    loaded = []
    for (bundle, settings), own_searches in zip(decoders, searches, strict=True):
        name = "" if is_single else settings.markers.name
        say = _make_say(console, prefix=name and f"{name}: ")
        show_status = partial(console.status, name)
        state = None if destinations is None else _own(destinations.adapt_state, name)
        loaded.append(_load(bundle, settings, own_searches, adapt_state=state, say=say, show_status=show_status))
    jobs: dict[str, Job] = {}
    for k, each in enumerate(loaded):
        if destinations is None:
            job: Job = partial(_run_dry, each, stop=stop)
        else:
            sinks, session = _open_sinks(each, destinations, is_single=is_single)
            handover = destinations.handover
            job = partial(_run_service, each, k, sinks=sinks, session=session, handover=handover, stop=stop)
        jobs[each.name] = partial(_run_with_listing, job, settings=each.settings, stop=stop)
    if is_single:
        jobs[loaded[0].name](console.show)
    else:
        run_each(jobs, say=_make_say(console), show=console.show)


def _make_say(console: ConsoleWriter, *, prefix: str = "") -> Say:
    return lambda line: console.say(prefix + line)


def _load(
    bundle: str | Path | None,
    settings: ServeConfig,
    searches: list[StreamSearch],
    *,
    adapt_state: Path | None,
    say: Say,
    show_status: Callable[[Sequence[str]], None],
) -> _LoadedDecoder:
    if bundle is None:
        say(
            f"no BUNDLE given: using the default, {BEST}, which fits most amplifiers; for a stream at 100 Hz, use "
            "ensemble-100hz"
        )
    file = find_bundle(bundle or BEST)
    decoder = load(file, engine=settings.decode.engine, sha256=settings.decode.bundle_sha256)
    say(f"bundle {file}: {decoder.manifest.describe()}")
    limits = masking_limits(settings.quality, decoder)
    if limits:
        say(limits)
    if decoder.statistics is None:
        say(
            "the bundle has no statistics of its training signal, so electrodes out of range, a wrong unit and a "
            "swapped cap cannot be detected; train it again"
        )
    decoder = adaptation.start(decoder, settings.adapt, adapt_state, say=say)
    hop = hop_samples(settings.decode.hop_ms, decoder.manifest.sfreq_hz)
    connector = Connector(decoder, settings, searches=searches, say=say)
    return _LoadedDecoder(settings, file, decoder, adapt_state, connector, hop, say, show_status)


def _own(file: Path | None, name: str) -> Path | None:
    """Return the file of one of several decoders, named after its markers; of a single one `file` itself."""
    return file if file is None or not name else file.with_name(f"{file.stem}-{name}{file.suffix}")


# -- sinks and recording -------------------------------------------------------------------------------------------


def _open_sinks(
    loaded: _LoadedDecoder, destinations: Destinations, *, is_single: bool
) -> tuple[list[NetworkSink | LogSink], SessionFolder | None]:
    """Open the network outputs, the logs and the session folder of a decoder.

    With several decoders, each has its own log and folder, named after its markers.
    """
    sinks: list[NetworkSink | LogSink] = []
    outputs, log_file = loaded.settings.outputs, destinations.log_file
    if outputs.websocket or outputs.osc or outputs.udp:
        from pretap_realtime.send.network.network_sink import open_outputs

        sinks.append(open_outputs(outputs, root=loaded.name, say=loaded.say))
    if log_file is not None:
        own = _own(log_file, "" if is_single else loaded.name)
        assert own is not None
        sinks.append(LogSink(own, say=loaded.say))
    if destinations.folder is None:
        return sinks, None
    session = _open_session(loaded, destinations.folder, handover=destinations.handover, is_single=is_single)
    sinks.append(LogSink(session.decisions, say=loaded.say))
    return sinks, session


def _open_session(loaded: _LoadedDecoder, folder: Path, *, handover: Handover | None, is_single: bool) -> SessionFolder:
    """Open the session folder; a restarted worker records into a new folder inside it."""
    if not is_single:
        if not loaded.name.strip("."):
            raise UsageError(
                f"--record: markers.name = {loaded.name!r} cannot be the name of a folder. Choose another name."
            )
        folder /= loaded.name
    if handover is not None and handover.n_restarts:
        folder /= f"part-{handover.n_restarts + 1}"
        loaded.say(f"the recording continues in {folder}")
    session = SessionFolder(folder, say=loaded.say)
    session.write_settings(loaded.settings, bundle=loaded.bundle, sha256=loaded.decoder.sha256)
    if isinstance(loaded.decoder, AdaptingDecoder):
        loaded.decoder.write_state(folder / adaptation.SESSION_STATE)
    return session


# -- the service ---------------------------------------------------------------------------------------------------


def _run_service(
    loaded: _LoadedDecoder,
    k: int,
    show: Say,
    *,
    sinks: Sequence[NetworkSink | LogSink],
    session: SessionFolder | None,
    handover: Handover | None,
    stop: StopSignal,
) -> None:
    """Serve decoder k until it is stopped, loses its stream or its outlets freeze too often; then show the summary."""
    markers, manifest = loaded.settings.markers, loaded.decoder.manifest
    mode = _make_mode(loaded)
    outlets = OutletSink(
        markers.name,
        classes=manifest.classes,
        format=markers.format,
        sha256=loaded.decoder.sha256,
        service=_describe_service(loaded, mode),
    )
    status = StatusSink(loaded.show_status, clock=local_clock)
    publisher = Publisher(
        [*sinks, status],
        outlets=outlets,
        clock=local_clock,
        say=loaded.say,
        seqs=None if handover is None else handover.sequence_numbers(k),
    )
    leader = Leader(publisher)
    restarted, tally = "", Tally()
    if handover is not None:
        restarted, tally = handover.why, HandedOverTally(handover.counts(k))
    service = _make_service(loaded, mode, leader, publisher, outlets.group, stop=stop, restarted=restarted, tally=tally)
    try:
        if session is not None:
            session.start(loaded.settings, stop=stop)
        leader.run(service.run())
    except OutletFrozenError:
        if handover is not None:
            stop.set()  # the other decoders end too: a new process will run all of them
        raise
    finally:
        if not leader.close(timeout_s=0.3):
            loaded.say("an outlet hangs: its last messages were not sent")
        if session is not None:
            session.close()  # before the outlets: the recorder would lose the unread messages of a closed outlet
        for sink in sinks:
            sink.close()
        outlets.group.close()  # if other decoders continue, these outlets would remain, and be silent
        status.close()
        adaptation.finish(loaded.decoder, loaded.adapt_state, say=loaded.say)
        show(str(service.summary()))


def _make_service(
    loaded: _LoadedDecoder,
    mode: Mode,
    leader: Leader,
    publisher: Publisher,
    outlets: OutletGroup,
    *,
    stop: StopSignal,
    restarted: str,
    tally: Tally,
) -> Service:
    settings, manifest = loaded.settings, loaded.decoder.manifest
    every = "" if settings.cue.is_on else f"; every {describe_hop(settings.decode.hop_ms, manifest.sfreq_hz)}"
    loaded.say(f"engine {mode.describe()}{every}")
    pipeline = Pipeline(
        loaded.decoder,
        mode,
        max_interpolated=settings.stream.max_interpolated,
        counter_wraps_at=settings.stream.counter_wraps_at,
        quality=settings.quality,
    )

    def fast_path_of(connection: LslConnection) -> FastPath | None:
        hop_s = loaded.hop / manifest.sfreq_hz
        return make_fast_path(connection.inlet, pipeline, outlets, sending_clock=leader.sending_clock, hop_s=hop_s)

    return Service(
        pipeline,
        publisher,
        connect=loaded.connector,
        stream=settings.stream,
        policy=Policy(settings.policy, manifest),
        clock=local_clock,
        stop=stop,
        say=loaded.say,
        make_fast_path=fast_path_of,
        restarted=restarted,
        tally=tally,
    )


def _make_mode(loaded: _LoadedDecoder) -> Mode:
    cue = loaded.settings.cue
    if not cue.is_on:
        return FreeRunning(loaded.decoder, hop=loaded.hop)
    patterns, offset_s = bundle_cues(loaded.decoder.manifest)
    return cue_locked(loaded.decoder, cue, patterns=cue.patterns or patterns, offset_s=offset_s)


def _describe_service(loaded: _LoadedDecoder, mode: Mode) -> ServiceDescription:
    manifest, cue = loaded.decoder.manifest, loaded.settings.cue
    return ServiceDescription(
        events=manifest.training.config.events,
        offset_ms=1000 * mode.offset_s if isinstance(mode, CueLocked) else manifest.window_end_ms,
        is_cued=cue.is_on,
        cue_query=cue.query,
        bundle=loaded.bundle.stem,
        subject=manifest.training.subject,
        data=manifest.training.data,
        channels=manifest.channels,
    )


def _run_dry(loaded: _LoadedDecoder, show: Say, *, stop: Stop) -> None:
    """Connect to the stream, show the channel mapping, and end."""
    wait_s, manifest = loaded.settings.stream.wait_s, loaded.decoder.manifest
    deadline_s = local_clock() + wait_s
    while not stop.is_set():
        connection = loaded.connector(lambda: None)
        if connection is not None:
            resampler = make_resampler(connection.mapping.sfreq_hz, manifest)
            delay_s = 0.0 if resampler is None else resampler.delay_s
            show(describe_mapping(connection.mapping, manifest, delay_s=delay_s))
            connection.close()
            return
        if local_clock() > deadline_s:
            raise NoStreamError(f"No stream answered within {wait_s:g} s.")


def _suggestion(queries: Sequence[str], found: Sequence[StreamInfo]) -> str:
    """Suggest the stream whose name is like one that was asked for."""
    asked = [name for query in queries if query and (name := parse_query(query).get("name"))]
    names = [stream.name for stream in found]
    return "".join(did_you_mean(name, names) for name in asked if name not in names).strip()


def _run_with_listing(job: Job, show: Say, *, settings: ServeConfig, stop: Stop) -> None:
    """Run a job; if it finds no stream, add the streams on the network to the error."""
    try:
        job(show)
    except NoStreamError as error:
        query, cue_query = settings.stream.query, settings.cue.query
        asked = f"Asked for {query!r}" + (f" and {cue_query!r}" if cue_query else "")
        found = StreamResolver().streams(gather_s=GATHER_S, sleep=stop.wait)
        if found:
            listed = f"on the network are:\n  {list_streams(found)}\n{_suggestion([query, cue_query], found)}".rstrip()
        else:
            listed = "there is no stream on the network. Is the amplifier's LSL app running? See `pretap doctor`."
        raise NoStreamError(f"{error} {asked}; {listed}") from None
