"""``pretap monitor``: serves a web page that shows a running service, and the feedback game."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys

import click

from pretap.errors import UsageError
from pretap.options import port_option
from pretap.terminal import say
from pretap_realtime.console.stopping import stop_on_signals


@click.command()
@click.option(
    "--service",
    metavar="NAME",
    help="Name of the service (its markers.name).  [default: the only service on the network]",
)
@click.option("--query", default="type=EEG", metavar="QUERY", help="EEG stream to show: a name, or key=value,...")
@click.option(
    "--cue-query",
    metavar="QUERY",
    help="Marker stream that tells the true class of each decision.  [default: the stream of the service's cues if it "
    "decides at cues, otherwise the only marker stream]",
)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on.")
@port_option
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Also accept browsers that reach this machine under this name or address. Can be repeated.",
)
@click.option("--browser/--no-browser", default=False, help="Open a browser.")
def monitor(
    *,
    service: str | None,
    query: str,
    cue_query: str | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    browser: bool,
) -> None:
    """Serve a page with the EEG, the decisions, the state and the latencies of a running `pretap serve`.

    The page is read-only. Only this machine can open it, unless --host says otherwise. There is no password.
    """
    stop = stop_on_signals()
    if any(not each or not set(each) <= _NAME_CHARACTERS for each in names):
        raise UsageError("--allow-host: expected a name or an address, without a port.")
    from pretap_realtime.lsl.query import parse_query
    from pretap_realtime.monitor.choice import Selection
    from pretap_realtime.monitor.follower import Follower
    from pretap_realtime.monitor.server import run
    from pretap_realtime.send.network.address import listen

    listener = listen(host, port)
    if hasattr(os, "nice"):  # the service has priority over the monitor
        os.nice(_NICE)
    markers = parse_query(cue_query) if cue_query else None
    follower = Follower(Selection(service or "", parse_query(query), markers), stop=stop)
    follower.start()
    port = listener.getsockname()[1]
    click.echo(f"The monitor is at http://127.0.0.1:{port}/", err=True)
    if not _is_loopback(host):
        known = ", ".join(f"http://{each}:{port}/" for each in names)
        say(
            f"WARNING: listening on {host}: anyone who can reach this port can read the EEG. "
            + (f"Other machines open {known}" if known else "Add --allow-host NAME, or other machines are refused."),
            err=True,
        )
    if browser:
        open_browser(f"http://127.0.0.1:{port}/")
    run(follower, listener=listener, names=names, stop=stop)


_NICE = 10
_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]")


def open_browser(url: str) -> None:
    """Open a browser if there is a screen; without one, a text browser would take over this terminal."""
    import webbrowser

    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(url)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
