"""``pretap serve``: the command line, exit codes and supervision. The service itself is built in `serve.assembly`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pretap.completion import complete_bundle
from pretap.config.serve import ServeConfig, load_decoders
from pretap.errors import OutletFrozenError, UsageError
from pretap.files import check_writable
from pretap.options import FILE, FOLDER, adapt_option, engine_option, quiet_option, set_option
from pretap_realtime.console.stopping import stop_at_eof, stop_on_signals
from pretap_realtime.console.writer import ConsoleWriter
from pretap_realtime.send import runaway_threads
from pretap_realtime.serve.handover import Handover

# For BLAS, before numpy is imported: after a large product, its other threads would spin for a while on a core that the
# session may need.
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ARGUMENTS = "pretap.serve.arguments"
_KEYS = {  # of the configuration, by option
    "query": "stream.query",
    "cue_query": "cue.query",
    "cue_channel": "cue.channel",
    "hop_ms": "decode.hop_ms",
    "engine": "decode.engine",
    "adapt": "adapt.method",
    "wait_s": "stream.wait_s",
    "reconnect_s": "stream.reconnect_s",
}


class _ServeCommand(click.Command):
    """A command that stores its arguments, because under --supervise the worker gets the same ones."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


@click.command(cls=_ServeCommand)
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_bundle, required=False)
@click.option("--config", type=FILE, help="TOML file with the settings of the service, such as configs/serve.toml.")
@click.option(
    "--query",
    metavar="QUERY",
    help="EEG stream to decode: a name, or key=value,... with the keys name, type, source_id, hostname and uid.  "
    "[default: type=EEG]",
)
@click.option("--cue-query", metavar="QUERY", help="Marker stream with cues: decide once per cue, not at every hop.")
@click.option(
    "--cue-channel",
    metavar="LABEL",
    help="Trigger channel of the EEG stream: decide once per change of its code, not at every hop.",
)
@click.option("--hop-ms", type=float, help="Time between two decisions.  [default: 50]")
@engine_option
@adapt_option
@click.option(
    "--adapt-state",
    type=FILE,
    metavar="FILE",
    help="Continue from the adaptation in this file, if it exists, and write it there at the end.",
)
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
    help="Restart the service when it crashes. Sequence numbers, tally, log and recording continue.",
)
@click.option("--supervised", type=FILE, hidden=True, help="Handover file of a supervised worker.")
@quiet_option
@click.option("--dry-run", is_flag=True, help="Find and check the stream, print the channel mapping, and exit.")
def serve(
    bundle: Path | None,
    *,
    config: Path | None,
    adapt_state: Path | None,
    log_file: Path | None,
    folder: Path | None,
    quiet: bool,
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
    if dry_run and supervise:
        raise UsageError("--supervise and --dry-run: a dry run is not restarted. Leave out one.")
    if dry_run and folder is not None:
        raise UsageError("--record and --dry-run: a dry run decides nothing that could be recorded. Leave out one.")
    if supervise and supervised is None:
        return _supervise(click.get_current_context().meta[_ARGUMENTS])
    stop = stop_on_signals()  # first of all, so that Ctrl-C ends serve cleanly from the start
    if supervised is not None:
        stop_at_eof(stop)
    console = ConsoleWriter(is_quiet=quiet)
    code = 0
    try:
        decoders = _read_decoders(bundle, config, **flags)
        if adapt_state is not None and not any(settings.adapt.is_on for _, settings in decoders):
            raise UsageError("--adapt-state keeps the state of an adaptation: give --adapt recentre too.")
        check_writable(adapt_state)
        for name in _THREAD_VARIABLES:
            os.environ.setdefault(name, "1")
        from pretap_realtime.serve.assembly import Destinations, run_decoders

        handover = None if supervised is None else Handover(supervised)
        destinations = None
        if not dry_run:
            destinations = Destinations(log_file, folder, adapt_state=adapt_state, handover=handover)
        run_decoders(decoders, destinations, stop=stop, console=console)
    except OutletFrozenError as error:  # caught here because the normal exit would wait for threads that spin
        console.say(f"Error: {error}")
        code = error.exit_code
    finally:
        is_written = console.close()
    if not is_written:
        os._exit(code)  # a normal exit would wait for the terminal
    runaway_threads.exit_process_if_any(code)
    return code


def _supervise(arguments: Sequence[str]) -> int:
    if os.name == "posix":  # replace this process: the supervisor needs only the standard library
        os.execv(sys.executable, [sys.executable, "-m", "pretap_realtime.serve.supervisor", *arguments])  # noqa: S606
    from pretap_realtime.serve.supervisor import main

    return main(arguments)


def _read_decoders(
    bundle: Path | None,
    config: Path | None,
    *,
    overrides: tuple[str, ...],
    **options: Any,
) -> list[tuple[str | Path | None, ServeConfig]]:
    """Return bundle and settings of each decoder in the file, or of the default one, with the values of the options."""
    flags = {_KEYS[name]: value for name, value in options.items()}
    decoders = load_decoders(config, overrides, flags)
    if any(math.isnan(value) for _, each in decoders for value in (each.decode.hop_ms, each.stream.wait_s)):
        raise UsageError("A duration is NaN: expected a number of milliseconds or seconds.")
    named = [name for name in ("query", "cue_query") if options[name] is not None]
    if len(decoders) > 1 and named:
        flag, key = f"--{named[0].replace('_', '-')}", _KEYS[named[0]]
        raise UsageError(
            f"{flag} names the stream of one decoder, and {config} has {len(decoders)}. Write {key} into its "
            f"[[decoders]], or give all of them one stream with --set {key}=..."
        )
    return [(name or bundle, settings) for name, settings in decoders]
