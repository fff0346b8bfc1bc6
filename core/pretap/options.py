"""Options that several commands share, so that each has one name and one help text.

Used by the command modules; imports no numpy.
"""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from pretap.config.recording import from_options
from pretap.config.serve import ENGINE_NAMES
from pretap.files import check_writable

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
_JSON_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)

_Command = Callable[..., Any]

engine_option = click.option(
    "--engine", type=click.Choice(ENGINE_NAMES), help="Compute engine; auto is the fastest.  [default: auto]"
)
part_option = click.option(
    "--part", type=click.Choice(["train", "test"]), default="test", help="Part of the competition data to use."
)
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=8010, help="Port of the page; 0 picks a free one."
)
quiet_option = click.option(
    "--quiet",
    is_flag=True,
    help="Do not show the status: the last line of a terminal, or a line every 10 s in a file or pipe.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=C",
    help="Set key B of table A in the configuration to C. Can be repeated.",
)
_markers_option = click.option(
    "--markers",
    multiple=True,
    metavar="NAME_OR_ID",
    help="Name or id of the marker stream in an XDF file that has several. Can be repeated.",
)
_cue_channel_option = click.option(
    "--cue-channel", metavar="LABEL", help="Trigger channel whose codes are the events, instead of markers."
)
_unit_option = click.option(
    "--unit",
    metavar="UNIT",
    help="Unit of the recording's values (uV, mV, V or nV), instead of the one in the file.",
)
_eeg_option = click.option(
    "--eeg",
    multiple=True,
    metavar="LABEL",
    help="Channel that is EEG whatever the file says of it; * and ? as in a shell. Can be repeated.",
)
recordings_option = click.option(
    "--recording",
    "recordings",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Recording to cut trials from (XDF, FIF, EDF, BDF, GDF, BrainVision, EEGLAB, "
    "OpenBCI text, ...), or bids:ROOT?subject=01&task=rest, instead of --data. Can be repeated.",
)
trials_option = click.option(
    "--trials", metavar="A:B", help="Use only trials A to B - 1, counted from 0 like a Python slice."
)
xdf_stream_option = click.option(
    "--xdf-stream", metavar="NAME_OR_ID", help="Name or id of the EEG stream in an XDF file that has several."
)


def recording_options(command: _Command) -> _Command:
    """Add ``--markers``, ``--cue-channel``, ``--unit`` and ``--eeg``, which say how a recording is read, to a command.

    The command receives them as `reading`, a `RecordingConfig`.
    """

    @functools.wraps(command)
    def run(
        *args: Any,
        markers: tuple[str, ...],
        cue_channel: str | None,
        unit: str | None,
        eeg: tuple[str, ...],
        **more: Any,
    ) -> Any:
        reading = from_options(markers=markers, cue_channel=cue_channel, unit=unit, eeg=eeg)
        return command(*args, reading=reading, **more)

    return _markers_option(_cue_channel_option(_unit_option(_eeg_option(run))))


def json_option(help: str) -> Callable[[_Command], _Command]:  # noqa: A002 - click's own name
    """Add ``--json FILE`` to a command, which receives the file as `json_file`; ``-`` is standard output.

    For ``-`` the command receives a temporary file, which is then copied to standard output. The command's own report
    is suppressed, so that a script reads nothing but JSON.
    """
    option = click.option("--json", "json_file", type=_JSON_FILE, help=f"{help} Use - for standard output.")

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def run(*args: Any, json_file: Path | None, **options: Any) -> Any:
            if json_file != Path("-"):
                check_writable(json_file)
                result = command(*args, json_file=json_file, **options)
                if json_file is not None:
                    click.echo(f"wrote {json_file}")
                return result
            with tempfile.TemporaryDirectory(prefix="pretap-") as folder:
                file = Path(folder) / "output.json"
                try:
                    with redirect_stdout(io.StringIO()):
                        return command(*args, json_file=file, **options)
                finally:  # a failed check has a result too
                    if file.exists():
                        from pretap.terminal import json_text

                        click.echo(json_text(file.read_bytes()), nl=False)

        return option(run)

    return decorate
