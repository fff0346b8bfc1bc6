"""``pretap latency``: the time from a sample to a decision, to a page, and to the light of a photodiode."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from pretap.bundle.shipped import BEST
from pretap.completion import complete_bundle
from pretap.errors import CheckFailedError, UsageError
from pretap.files import check_writable, write_json
from pretap.options import FILE, json_option, port_option, xdf_stream_option
from pretap_realtime.console.stopping import Stop, stop_on_signals
from pretap_realtime.monitor.command import open_browser
from pretap_realtime.send.network.address import listen

if TYPE_CHECKING:
    from socket import socket

    from pretap_realtime.latency.measure import Measurement
    from pretap_realtime.latency.passages import Latencies

_SECONDS: Final = 20.0
_PAGE = {"page", "port", "browser", "seconds", "json_file"}
_OPTIONS: Final = {  # that each way of measuring takes
    "a loopback": _PAGE | {"bundle", "hop_ms", "n_packet"},
    "--service": _PAGE | {"service", "query"},
    "--flash": _PAGE - {"page"} | {"service", "query", "flash"},
    "--analyse": {"analyse", "bundle", "channel", "xdf_stream", "markers", "on", "off", "figure", "out", "json_file"},
}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_bundle, required=False)
@click.option("--service", metavar="NAME", help="Measure the running service of this name (its markers.name).")
@click.option("--query", default="type=EEG", metavar="QUERY", help="Its EEG stream: a name, or key=value,...")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    help="Length of the measurement.  [default: 20; --flash: until Ctrl-C]",
)
@click.option("--hop-ms", type=click.FloatRange(1, 60_000), default=50.0, help="Time between decisions in a loopback.")
@click.option(
    "--packet",
    "n_packet",
    type=click.IntRange(1, 10_000),
    help="Samples per packet of the amplifier in a loopback.  [default: 10 ms]",
)
@click.option("--page", is_flag=True, help="Show the decisions on a page too, and measure when it draws them.")
@click.option("--flash", is_flag=True, help="Show a square that flips at decisions, and send markers.")
@port_option
@click.option("--browser/--no-browser", default=True, help="Open a browser with --page and --flash.")
@click.option("--analyse", type=FILE, metavar="FILE.xdf", help="Compare markers with a photodiode in a recording.")
@click.option("--channel", metavar="NAME", help="Channel of the photodiode.")
@xdf_stream_option
@click.option("--markers", metavar="NAME_OR_ID", help="Marker stream in the recording.  [default: all]")
@click.option("--on", metavar="PATTERN", help="Markers at which the light goes on.  [default: flash/on]")
@click.option("--off", metavar="PATTERN", help="Markers at which the light goes off.  [default: flash/off]")
@click.option("--figure", type=FILE, help="Draw the delays into this file (.svg, .png or .pdf).")
@click.option("--out", type=FILE, help="Write cue.offset_ms for BUNDLE into this new file, for serve --config.")
@json_option("Write the figures to this file.")
@click.pass_context
def latency(
    ctx: click.Context,
    *,
    bundle: Path | None,
    service: str | None,
    query: str,
    seconds: float | None,
    hop_ms: float,
    n_packet: int | None,
    page: bool,
    flash: bool,
    port: int,
    browser: bool,
    analyse: Path | None,
    channel: str | None,
    xdf_stream: str | None,
    markers: str | None,
    on: str | None,
    off: str | None,
    figure: Path | None,
    out: Path | None,
    json_file: Path | None,
) -> None:
    """Measure the time from a sample to its decision, or to the light that a photodiode sees.

    Without --service, --flash and --analyse it measures a loopback on this machine: a synthetic amplifier, `pretap
    serve` with BUNDLE (default: ensemble-1000hz) and a reader, each in a process of its own, connected by LSL.
    Of a service that decides at cues, the time from the last sample of a window to its cue is included.

    \b
      pretap latency                        a loopback
      pretap latency --service pretap       a running service
      pretap latency --flash                a square for a photodiode, until Ctrl-C
      pretap latency --analyse rec.xdf --channel DIODE
    """  # noqa: D301 - click reads the backspace
    _refuse_unused(ctx)
    if analyse is not None:
        if channel is None:
            raise UsageError("--analyse needs the --channel of the photodiode, such as --channel DIODE.")
        _check_files(bundle, out=out, figure=figure)
        from pretap_realtime.latency import diode

        found = diode.analyse(
            analyse, channel=channel, stream=xdf_stream, markers=markers, on=on, off=off, bundle=bundle
        )
        click.echo(str(found))
        if json_file is not None:
            write_json(json_file, found)
        if out is not None:
            diode.write_offset(found, out)
            click.echo(f"wrote {out}")
        if figure is not None:
            diode.draw(found, figure)
            click.echo(f"wrote {figure}")
        return
    stop = stop_on_signals()
    listener = listen("127.0.0.1", port) if page or flash else None  # a taken port is found before anything starts
    if service is not None or flash:
        running = _running(service or "", query, stop=stop)
    else:
        from pretap_realtime.latency.loopback import loopback

        running = loopback(bundle or Path(BEST), hop_ms=hop_ms, n_packet=n_packet, stop=stop)
    with running as measurement:
        if listener is not None:
            length_s = seconds or (math.inf if flash else _SECONDS)
            result = _measure_on_page(measurement, length_s, flash=flash, listener=listener, browser=browser, stop=stop)
        else:
            result = measurement.run(seconds or _SECONDS)
    if result is None:
        click.echo("Stopped before the first decision.", err=True)
        return
    click.echo(str(result))
    if json_file is not None:
        write_json(json_file, result)
    if result.n_impossible:
        raise CheckFailedError(
            f"{result.n_impossible} of {result.n_decisions} decisions were sent before their last sample was taken, or "
            "received before they were sent: expected clocks that agree within 1 ms. Run `pretap doctor` on each "
            "computer, and check the clock of the amplifier's program."
        )


def _refuse_unused(ctx: click.Context) -> None:
    """Refuse options that the chosen way of measuring does not use."""
    way = next((f"--{name}" for name in ("analyse", "flash", "service") if ctx.params[name]), "a loopback")
    for option in ctx.command.params:
        name = option.name or ""
        is_given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_given and name not in _OPTIONS[way]:
            used_by = ", ".join(other for other, names in _OPTIONS.items() if name in names)
            raise UsageError(f"{option.opts[0]} is for {used_by}, not for {way}. Leave it out.")


def _check_files(bundle: Path | None, *, out: Path | None, figure: Path | None) -> None:
    if out is not None and bundle is None:
        raise UsageError("--out needs the BUNDLE whose cues the offset is for: pretap latency BUNDLE --analyse ...")
    if out is not None and out.exists():
        raise UsageError(f"{out} already exists: expected the name of a new file. Move it, or choose another name.")
    check_writable(out, figure)


@contextlib.contextmanager
def _running(service: str, query: str, *, stop: Stop) -> Iterator[Measurement]:
    from pretap_realtime.latency.measure import Measurement
    from pretap_realtime.lsl.query import parse_query

    yield Measurement(service, parse_query(query), stop=stop)


def _measure_on_page(
    measurement: Measurement, seconds: float, *, flash: bool, listener: socket, browser: bool, stop: Stop
) -> Latencies | None:
    """Measure while the page is open, from the moment on when it opens."""
    from pretap_realtime.latency.flash import STREAM, Flasher, label_on
    from pretap_realtime.latency.page import Page

    page = Page(say=lambda text: click.echo(text, err=True))
    flasher = Flasher(page) if flash else None
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    click.echo(f"Open {url} on this computer; the measurement starts then.", err=True)
    if flasher is not None:
        click.echo(f"Markers are on {STREAM}: start `pretap record` now. Press Ctrl-C to stop.", err=True)
    if browser:
        open_browser(url)

    def work() -> Latencies | None:
        while not page.is_open.wait(0.2):
            if stop.is_set():
                return None
        return measurement.run(seconds, on_decision=label_on(page) if flasher is None else flasher.on_decision)

    result = page.run(work, listener=listener)
    if flasher is not None:
        click.echo(f"{flasher.n_flips} flips")
        flasher.close()
    return result
