"""``pretap doctor``: checks whether this machine is ready for a session."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import secrets
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from pretap import __version__
from pretap.errors import CheckFailedError, MissingPackageError, UsageError
from pretap.files import write_json
from pretap.options import json_option
from pretap.terminal import plain, say

_N_ECHO = 50
_FIND_S = 3.0  # for our own stream, on one machine
_MAX_LISTED = 8  # streams
_SIOCGIFADDR = 0x8915  # ioctl: the address of an interface


@dataclass(frozen=True)
class _Check:
    name: str
    ok: bool
    found: str
    advice: str = ""
    is_warning: bool = False


@click.command()
@json_option("Write the checks to this file.")
@click.option(
    "--network",
    is_flag=True,
    help="Look at the network instead: computers, interfaces, clocks and streams, and the lsl_api.cfg that would help.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="ADDRESS",
    help="With --network: a computer that should have streams. Can be repeated.",
)
def doctor(*, json_file: Path | None, network: bool, peers: tuple[str, ...]) -> None:
    """Check this machine: Python, packages, liblsl, its configuration, the network, the clock and the engines.

    In a lab of several computers, run `pretap doctor --network --peer 192.168.7.2` on each.
    """
    if peers and not network:
        raise UsageError("--peer: expected together with --network.")
    if network:
        _look_around(peers, json_file)
        return
    steps = (_python, _packages, _liblsl, _configuration, _network, _round_trip, _streams, _clock, _engines)
    checks = [_guarded(check) for check in steps]
    if json_file is not None:
        write_json(json_file, checks)
    for check in checks:
        state = "FAIL" if not check.ok else "WARN" if check.is_warning else "ok  "
        say(plain(f"{state}  {check.name:<13} {check.found}"))
        for line in check.advice.splitlines():
            click.echo(plain(f"      {'':<13} {line}"))
    failed = [check.name for check in checks if not check.ok]
    if failed:
        raise CheckFailedError(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}.")


def _look_around(peers: tuple[str, ...], json_file: Path | None) -> None:
    from pretap_realtime.check.lab_network import look_around

    report = look_around(_addresses(), peers)
    if json_file is not None:
        write_json(json_file, report)
    for line in report.lines:
        click.echo(plain(line))
    if report.config:
        click.echo("\nThese lines in lsl_api.cfg on this computer would help (docs/lab.md says where it belongs):\n")
        click.echo(report.config)
    if report.problems:
        raise CheckFailedError(" ".join(plain(problem) for problem in report.problems))


def _guarded(check: Callable[[], _Check]) -> _Check:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever is broken is reported
        found = str(error) if isinstance(error, MissingPackageError) else f"{type(error).__name__}: {error}"
        return _Check(check.__name__.strip("_"), ok=False, found=found)


def _python() -> _Check:
    ok = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} on {platform.platform()}, pretap {__version__}"
    return _Check("python", ok, found, "" if ok else "pretap needs Python 3.11 or newer.")


def _packages() -> _Check:
    offline = {"torch": "torch", "skorch": "skorch", "scikit-learn": "sklearn", "scipy": "scipy", "mne": "mne"}
    missing = [name for name, module in offline.items() if importlib.util.find_spec(module) is None]
    live = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "pylsl", "msgspec"))
    advice = f"to train, also install {', '.join(missing)}: pip install 'pretap[offline]'" if missing else ""
    return _Check("packages", ok=True, found=live, advice=advice)


def _liblsl() -> _Check:
    from pretap_realtime.lsl.library import library_version

    version = library_version()
    ok = version >= 116
    found = f"{version // 100}.{version % 100}"
    foreign = os.environ.get("PYLSL_LIB")
    if foreign and ok:
        advice = (
            f"PYLSL_LIB = {foreign}: this program's code runs in every pretap command, instead of the liblsl that came "
            "with pylsl.\nUnless you set it yourself: unset PYLSL_LIB"
        )
        return _Check("liblsl", ok, found, advice, is_warning=True)
    return _Check("liblsl", ok, found, "" if ok else "Update it: pip install -U pylsl")


def _configuration() -> _Check:
    from pretap_realtime.lsl.api_config import find_configuration, notes, settings

    file = find_configuration()
    if file is None:
        return _Check("configuration", ok=True, found="none (no lsl_api.cfg): LSL uses its defaults")
    given = settings(file.read_text(encoding="utf-8", errors="replace"))
    why = " (LSLAPICFG)" if os.environ.get("LSLAPICFG") == str(file) else ""
    advice = "\n".join(notes(given)) or "nothing in it changes which streams are seen"
    return _Check("configuration", ok=True, found=f"{file.resolve()}{why}", advice=advice, is_warning=True)


def _network() -> _Check:
    """List the addresses at which streams of this machine can be reached: liblsl listens on all its interfaces."""
    open_to = _addresses()
    if not open_to:
        return _Check(
            "network", ok=True, found="loopback only: no other computer can reach LSL streams of this machine"
        )
    listed = ", ".join(f"{interface} {address}" for interface, address in open_to)
    advice = (
        "LSL streams of this machine answer there, to anyone who can reach it, without a password.\n"
        "docs/security.md has the firewall rules and a way to run without a network."
    )
    return _Check("network", ok=True, found=listed, advice=advice, is_warning=True)


def _addresses() -> list[tuple[str, str]]:
    """Return the name and IPv4 address of each interface but loopback ones, if the system lists them (Linux).

    Otherwise return the one address that a packet to the network would carry, if any.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return _default_route()
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has none, or this is not Linux
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                found.append((name, address))
    return found or _default_route()


def _default_route() -> list[tuple[str, str]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("192.0.2.1", 9))  # sends nothing; no machine has this address (RFC 5737)
            address = any_socket.getsockname()[0]
        except OSError:
            return []
    return [] if address.startswith("127.") else [("network", address)]


def _round_trip() -> _Check:
    from pretap_realtime.lsl.inlets import Inlet
    from pretap_realtime.lsl.library import local_clock
    from pretap_realtime.lsl.outlet import Outlet
    from pretap_realtime.lsl.resolver import StreamResolver

    name = f"pretap-doctor-{secrets.token_hex(4)}"
    outlet = Outlet(name, "pretap-doctor", labels=["x"], format="float32")
    found = StreamResolver({"name": name}).wait(_FIND_S)
    if not found:
        advice = "A firewall or a VPN may block multicast; see LSL's network troubleshooting page."
        said = f"our own stream was not found within {_FIND_S:g} s"
        return _Check("round trip", ok=False, found=said, advice=advice)
    inlet = Inlet(found[0])
    inlet.open(order=[0], factors=[1.0])
    latencies_ms = []
    for n in range(_N_ECHO):
        sent_s = local_clock()
        outlet.push_sample([float(n)], sent_s)
        chunk = inlet.pull(1.0)
        if chunk is None or chunk.x_uv[0, 0] != n or chunk.t_s[0] != sent_s:
            return _Check("round trip", ok=False, found=f"sample {n} of {_N_ECHO} did not come back as it was sent")
        latencies_ms.append(1000 * (local_clock() - sent_s))
    median_ms = float(np.median(latencies_ms))
    return _Check("round trip", ok=True, found=f"stream found, {_N_ECHO} samples echoed, median {median_ms:.2f} ms")


def _streams() -> _Check:
    from pretap_realtime.lsl.resolver import GATHER_S, StreamResolver
    from pretap_realtime.signal.compatibility import printable

    names = [printable(stream.name, limit=40) for stream in StreamResolver().streams(gather_s=GATHER_S)]
    if not names:
        return _Check("streams", ok=True, found=f"none on the network within {GATHER_S:g} s")
    listed = names[:_MAX_LISTED] + (["..."] if len(names) > _MAX_LISTED else [])
    return _Check("streams", ok=True, found=f"{len(names)} on the network: {', '.join(listed)}")


def _clock() -> _Check:
    from pretap_realtime.lsl.library import local_clock

    steps_s = np.diff([local_clock() for _ in range(10_000)])
    ok = bool((steps_s >= 0).all())
    resolution_us = 1e6 * float(steps_s[steps_s > 0].min()) if (steps_s > 0).any() else float("inf")
    found = f"monotonic, resolution {resolution_us:.2f} us" if ok else "the LSL clock runs backwards"
    return _Check("clock", ok, found)


def _engines() -> _Check:
    from pretap.bundle.inspect import engine_errors
    from pretap.decoder.compiled import active_variant, why_not_compiled

    active = active_variant()
    compiled = f"compiled ({active})" if active else "no compiled engine"
    advice = f"decisions are made in numpy: {why_not_compiled()}" if not active else ""
    errors = engine_errors()
    listed = ", ".join(f"{engine} within {error:.1e}" for engine, error in errors.items())
    ok = all(error <= 1e-6 for error in errors.values())
    return _Check("engines", ok, f"{compiled}; from float64: {listed}", advice)
