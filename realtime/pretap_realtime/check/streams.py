"""``pretap streams``: lists the streams on the network."""

from __future__ import annotations

from pathlib import Path

import click

from pretap.errors import StreamRefusedError
from pretap.files import write_json
from pretap.options import json_option

_FACTS = ("name", "type", "source_id", "hostname", "uid", "format", "n_channels", "sfreq_hz")


@click.command()
@json_option("Write the list to this file.")
@click.option("--wait-s", type=click.FloatRange(0.05, 60), default=2.0, help="Time to wait for streams.")
def streams(*, json_file: Path | None, wait_s: float) -> None:
    """List the LSL streams on the network with their channels and units."""
    from pretap_realtime.lsl.description import StreamInfo, describe
    from pretap_realtime.lsl.library import ConnectionLostError
    from pretap_realtime.lsl.resolver import StreamResolver
    from pretap_realtime.signal.compatibility import Description, printable

    rows: list[tuple[StreamInfo, Description | str]] = []
    for stream in StreamResolver().streams(gather_s=wait_s):
        try:
            rows.append((stream, describe(stream)))
        except ConnectionLostError:
            rows.append((stream, "did not send its description"))
        except StreamRefusedError as error:
            rows.append((stream, str(error)))
    if json_file is not None:
        listed = [
            {key: getattr(f, key) for key in _FACTS}
            | {key: getattr(d, key) if isinstance(d, Description) else None for key in ("labels", "units")}
            for f, d in rows
        ]
        write_json(json_file, listed)
    if not rows:
        click.echo(f"No streams within {wait_s:g} s. Is the amplifier's LSL app running? See `pretap doctor`.")
    for f, d in rows:
        click.echo(f"{f}")
        if isinstance(d, str):
            click.echo(f"    {d}")
        elif d.labels:
            units = " ".join(sorted({printable(unit) for unit in d.units if unit})) or "no unit"
            click.echo(f"    {' '.join(printable(label, limit=20) for label in d.labels[:64])} [{units}]")
