"""Progress of a recording: a table on a terminal, otherwise a line every ten seconds. Used by ``pretap record``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from pretap_realtime.console.status_line import clock_time
from pretap_realtime.lsl.library import local_clock

if TYPE_CHECKING:
    from pretap_realtime.record.recorder import Recorder

_LINE_EVERY_S: Final = 10.0
_TABLE_EVERY_S: Final = 1.0


class Progress:
    """Prints to standard error."""

    def __init__(self) -> None:
        self.live: Any = None  # enter it while the recording runs
        self._next_s = 0.0
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live(console=Console(stderr=True), auto_refresh=False, redirect_stdout=False)

    def say(self, line: str) -> None:
        if self.live is not None:
            self.live.console.print(line, markup=False, highlight=False)
        else:
            click.echo(line, err=True)

    def show(self, recorder: Recorder) -> None:
        """Show the state of the recording, at most once a second on a terminal."""
        now_s = local_clock()
        if recorder.started_s is None or now_s < self._next_s:
            return
        so_far = f"{clock_time(now_s - recorder.started_s)}  {recorder.n_bytes / 1e6:.1f} MB"
        is_first = self._next_s == 0
        self._next_s = now_s + (_LINE_EVERY_S if self.live is None else _TABLE_EVERY_S)
        if self.live is not None:
            self.live.update(_table(recorder, so_far), refresh=True)
        elif not is_first:
            click.echo("; ".join([so_far, *map(str, recorder.tracks)]), err=True)


def _table(recorder: Recorder, title: str) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None)
    for column in ("stream", "channels", "samples", "lost"):
        table.add_column(column, justify="left" if column == "stream" else "right")
    for track in recorder.tracks:
        lost = str(track.n_lost) if track.counts_losses else "-"
        style = "" if lost in "-0" else "red"
        channels = f"{track.identity.n_channels} x {track.identity.format}"
        table.add_row(Text(track.name), channels, str(track.n_samples), Text(lost, style=style))
    return table
