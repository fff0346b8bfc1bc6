"""Programs that run on the hosts of `discovery_net`: outlets, searches for streams, and a reader of the page."""

from __future__ import annotations

import json
import sys
import threading

LABELS = ("C3", "Cz", "C4", "O1")


def open_outlets(*specs: str) -> None:
    """Open outlets ``NAME:TYPE`` until the process ends; those of type Markers are streams of text."""
    import pylsl

    outlets = []
    for spec in specs:
        name, kind = spec.split(":")
        is_text = kind == "Markers"
        n_channels, sfreq_hz, format_ = (1, 0.0, "string") if is_text else (len(LABELS), 100.0, "float32")
        info = pylsl.StreamInfo(name, kind, n_channels, sfreq_hz, format_, f"source of {name}")
        channels = info.desc().append_child("channels")
        for label in () if is_text else LABELS:
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", "microvolts")
        outlets.append(pylsl.StreamOutlet(info))
    print("open", flush=True)
    threading.Event().wait()


def search() -> None:
    """Print the names of the streams that a plain search of two seconds finds."""
    import pylsl

    print(json.dumps(sorted(stream.name() for stream in pylsl.resolve_streams(2.0))))


def watch(seconds: str) -> None:
    """Print the names of the streams that a `StreamResolver` lists, whenever they change."""
    from pretap_realtime.lsl.library import local_clock
    from pretap_realtime.lsl.resolver import StreamResolver

    resolver, before = StreamResolver(), None
    end_s = local_clock() + float(seconds)
    while local_clock() < end_s:
        if (names := [stream.name for stream in resolver.streams()]) != before:
            print(json.dumps(names), flush=True)
            before = names
        threading.Event().wait(0.02)


def read_page(url: str) -> None:
    """Print the names of the streams that a page of the monitor shows, whenever they change."""
    from websockets.sync.client import connect

    with connect(url.replace("http", "ws") + "live", origin=url.rstrip("/"), max_size=None) as page:
        for update in page:
            about = json.loads(update).get("about") if isinstance(update, str) else None
            if about:
                print(json.dumps([about["eeg"], *about["markers"]]), flush=True)


if __name__ == "__main__":
    {"outlets": open_outlets, "search": search, "watch": watch, "page": read_page}[sys.argv[1]](*sys.argv[2:])
