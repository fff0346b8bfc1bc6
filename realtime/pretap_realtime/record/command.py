"""``pretap record``: records LSL streams of any kind to an XDF file."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import click

from pretap.errors import UsageError
from pretap.files import check_writable
from pretap.options import FILE
from pretap_realtime.console.stopping import stop_at_eof, stop_on_signals


@click.command()
@click.argument("out", type=FILE, metavar="OUT.xdf")
@click.option(
    "--query",
    "queries",
    multiple=True,
    metavar="QUERY",
    help="Streams to record: a name, or key=value,... Can be repeated.  [default: all streams]",
)
@click.option(
    "--wait-s",
    type=click.FloatRange(0),
    default=30.0,
    help="Exit with code 3 if no stream appears in this time; inf waits forever.",
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after this time.  [default: at Ctrl-C]")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True, help="Stop when the parent process ends.")
def record(
    out: Path, *, queries: tuple[str, ...], wait_s: float, seconds: float | None, force: bool, until_stdin_closes: bool
) -> None:
    """Record LSL streams of any kind into OUT.xdf until Ctrl-C.

    Every stream that matches a --query is recorded as soon as it appears. A stream that disappears and returns is
    continued. Even if the recording is cut short, the file is readable up to the last second.
    """
    stop = stop_on_signals()  # before the slow imports: Ctrl-C must work from the start
    from pretap_realtime.lsl.query import parse_query
    from pretap_realtime.record.progress import Progress
    from pretap_realtime.record.recorder import Recorder

    if any(math.isnan(each) for each in (wait_s, seconds or 0.0)):
        raise UsageError("--seconds or --wait-s is NaN: expected a number of seconds.")
    parsed = [parse_query(query) for query in queries]
    _check_path(out, force=force)
    if until_stdin_closes:
        stop_at_eof(stop)
    progress = Progress()
    with progress.live or contextlib.nullcontext():
        recorder = Recorder(out, parsed, force=force, stop=stop, say=progress.say)
        recorder.run(wait_s=wait_s, seconds=seconds, progress=progress.show)
    if recorder.started_s is None:
        click.echo("Stopped before a stream appeared; nothing was written.", err=True)
        return
    tracks = recorder.tracks
    for track in tracks:
        click.echo(str(track), err=True)
    if any(track.counts_losses for track in tracks) and not any(track.has_markers for track in tracks):
        click.echo(
            "No markers were recorded, but training needs them. Does the task send markers? If the EEG stream has a "
            "trigger channel, name it with --cue-channel.",
            err=True,
        )
    click.echo(f"wrote {out} ({recorder.n_bytes / 1e6:.1f} MB)", err=True)


def _check_path(out: Path, *, force: bool) -> None:
    if out.suffix.lower() != ".xdf":
        raise UsageError(f"{out}: expected a name that ends in .xdf, the only supported format.")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is not a directory: create it first.")
    if out.exists() and not force:
        raise UsageError(f"{out} already exists: choose another name, or overwrite it with --force.")
    check_writable(out)
