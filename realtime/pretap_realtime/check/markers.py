"""``pretap markers``: lists the marker texts of a recording, or of a live stream, with their counts."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pretap.errors import NoStreamError, StreamLostError, StreamRefusedError
from pretap.files import existing_file, write_json
from pretap.options import json_option
from pretap.spelling import counted
from pretap.terminal import plain
from pretap_realtime.console.stopping import stop_on_signals

if TYPE_CHECKING:
    from pretap.recordings.marker_counts import MarkerCounts
    from pretap_realtime.lsl.description import StreamInfo

_WAIT_S = 0.2
_NAMING = {"name", "source_id", "uid"}  # keys of a query for one stream
_SUFFIXES = (".xdf", ".xdfz", ".gz", ".fif", ".edf", ".bdf", ".gdf", ".vhdr", ".set", ".cnt", ".txt")


@click.command()
@click.argument("source", metavar="FILE|STREAM")
@click.option(
    "--seconds", type=click.FloatRange(0.1, 1e5), default=10.0, help="How long to listen to a live marker stream."
)
@json_option("Write the counts to this file.")
def markers(*, source: str, seconds: float, json_file: Path | None) -> None:
    """List the texts of the markers in FILE, or on a live LSL STREAM, with their counts.

    The texts are the ones to write under [events] in a recipe. Each marker stream of an XDF file is listed on its own.
    STREAM is a name, or a query such as type=Markers; Ctrl-C ends the listening early. The messages of pretap itself
    are left out, unless STREAM names them.
    """
    if _names_a_file(source):
        from pretap.recordings.marker_counts import read_marker_counts

        found = read_marker_counts(Path(source))
    else:
        found = _listen(source, seconds)
    if json_file is not None:
        write_json(json_file, {"source": source, "streams": found})
    for each in found:
        identity = f" (id {each.id})" if each.id else ""
        click.echo(plain(f"{each.name}{identity}: {counted(each.n_markers, 'marker')}"))
        for text, n in each.counts.items():
            click.echo(plain(f"  {n:>6}  {text!r}"))
    if not found:
        click.echo(f"{source} has no marker streams.")


def _names_a_file(source: str) -> bool:
    from pretap.recordings.bids import is_bids

    if existing_file(source) or is_bids(source):
        return True
    return "=" not in source and (os.sep in source or source.lower().endswith(_SUFFIXES))


def _listen(source: str, seconds: float) -> list[MarkerCounts]:
    """Count the markers of all live streams that answer the query."""
    stop = stop_on_signals()
    from pretap.recordings.events import is_marker_stream
    from pretap.recordings.marker_counts import count_texts
    from pretap_realtime.lsl.inlets import MarkerInlet
    from pretap_realtime.lsl.library import ConnectionLostError, local_clock
    from pretap_realtime.lsl.query import parse_query
    from pretap_realtime.lsl.resolver import GATHER_S, StreamResolver
    from pretap_realtime.send.service_outlets import own_source_ids

    query = parse_query(source)
    everything = StreamResolver().streams(gather_s=GATHER_S, sleep=stop.wait)
    streams = [each for each in everything if each.matches(query)]
    if not query.keys() & _NAMING:
        own = own_source_ids(everything)
        left_out = [each for each in streams if each.source_id in own]
        streams = [each for each in streams if each.source_id not in own]
        if left_out:
            click.echo(f"left out, because pretap sends them: {_names(left_out)}", err=True)
    if not streams:
        raise NoStreamError(f"No stream {source!r}, and no such file. `pretap streams` lists the streams there are.")
    others = [s for s in streams if not is_marker_stream(format=s.format, type=s.type, sfreq_hz=s.sfreq_hz)]
    if others:
        raise StreamRefusedError(f"{others[0]} is not a stream of markers. Ask for one by its name, or type=Markers.")
    texts: dict[str, Counter[str]] = {each.uid: Counter() for each in streams}
    with ExitStack() as stack:
        inlets = []
        for each in streams:
            inlet = MarkerInlet(each)
            stack.callback(inlet.close)
            try:
                inlet.start()
            except ConnectionLostError as error:
                raise StreamLostError(f"{each}: {error}.") from None
            inlets.append(inlet)
        click.echo(f"listening to {_names(streams)} for {seconds:g} s", err=True)
        end_s = local_clock() + seconds
        while inlets and local_clock() < end_s and not stop.is_set():
            for inlet in list(inlets):
                try:
                    for cue in inlet.pull(_WAIT_S / len(inlets)):
                        if cue.text not in texts[inlet.stream.uid]:
                            click.echo(plain(f"{inlet.stream.name}: {cue.text!r}"), err=True)
                        texts[inlet.stream.uid][cue.text] += 1
                except ConnectionLostError:
                    click.echo(f"{_names([inlet.stream])} has ended", err=True)
                    inlets.remove(inlet)
    return [count_texts(each.name, each.source_id, texts[each.uid].elements()) for each in streams]


def _names(streams: list[StreamInfo]) -> str:
    return ", ".join(plain(each.name) for each in streams)
