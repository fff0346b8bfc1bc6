"""XDF files that tests record, and the streams for them."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pyxdf

from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.record import xdf_writer


def load(path: Path, **options) -> dict[str, dict]:
    """Return the streams of a file by name, with the timestamps that were sent."""
    streams, _ = pyxdf.load_xdf(path, **({"dejitter_timestamps": False, "synchronize_clocks": False} | options))
    return {stream["info"]["name"][0]: stream for stream in streams}


def n_saved(path: Path) -> dict[str, int]:
    """Return the number of samples of each stream in a file that is being written."""
    return {name: len(stream["time_stamps"]) for name, stream in load(path).items()} if path.exists() else {}


def markers() -> Outlet:
    name = f"cues-{secrets.token_hex(4)}"
    outlet = Outlet(name, "Markers", labels=["marker"], format="string")
    outlet.name = name
    return outlet


def counted(n, n_channels=4, first=0):
    """Samples whose value is their index."""
    return np.repeat(np.arange(first, first + n, dtype=np.float32)[:, None], n_channels, axis=1)


def write_streams(path: Path, *streams: dict) -> Path:
    """Write a file by hand, with one chunk of samples for each stream.

    A stream has a `name`, a `kind`, a `format`, `t_s` (n,) and `values` (n, n_channels), and it may have a rate
    `sfreq_hz`, `channels` as pairs of label and type, and `more` in its description.
    """
    file = xdf_writer.XdfFile(path)
    for number, stream in enumerate(streams, start=1):
        values = np.array(
            stream["values"],
            object if stream["format"] == "string" else {"double64": "float64"}.get(stream["format"], stream["format"]),
        )
        values = values.reshape(len(stream["t_s"]), -1 if len(stream["t_s"]) else 1)
        channels = "".join(
            f"<channel><label>{label}</label><unit>uV</unit><type>{kind}</type></channel>"
            for label, kind in stream.get("channels", ())
        )
        xml = (
            f"<info><name>{stream['name']}</name><type>{stream['kind']}</type>"
            f"<channel_count>{values.shape[1]}</channel_count><source_id>id-{stream['name']}</source_id>"
            f"<channel_format>{stream['format']}</channel_format>"
            f"<nominal_srate>{stream.get('sfreq_hz', 0)}</nominal_srate>"
            f"<desc><channels>{channels}</channels>{stream.get('more', '')}</desc></info>"
        )
        file.write([xdf_writer.stream_header(number, xml)])
        file.write([xdf_writer.samples(number, values, np.array(stream["t_s"], float))])
    file.close()
    return path
