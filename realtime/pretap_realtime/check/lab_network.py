"""``pretap doctor --network``: which computers, interfaces, clocks and streams are visible, and what would help."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pretap.errors import StreamRefusedError
from pretap_realtime.lsl.api_config import find_configuration, settings
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.direct_query import accepts_tcp, ask, search
from pretap_realtime.lsl.inlets import RawInlet
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.signal.compatibility import printable

_GATHER_S: Final = 2.5
_CLOCK_S: Final = 2.0
_MAX_STREAMS: Final = 32
_NEIGHBOURS = Path("/proc/net/arp")
_ONLY_DIRECTLY: Final = "answers if asked directly, but no search reaches it: multicast is blocked on the way"
_DROPS_UDP: Final = "has LSL streams, but does not answer over UDP: a firewall drops it"
_DROPS_ALL: Final = "has no LSL stream, is switched off, or a firewall drops everything"


@dataclass
class _Computer:
    """A computer, by the address at which it answered or was asked."""

    address: str
    hostname: str = ""
    streams: list[str] = field(default_factory=list)
    offset_s: float | None = None
    problem: str = ""


@dataclass
class NetworkReport:
    """Findings on the network; see `look_around`.

    Attributes
    ----------
    lines
        The report, line by line.
    config
        The lines of ``lsl_api.cfg`` that would help; empty if nothing would.
    problems
        What keeps streams from being found.
    """

    lines: list[str]
    config: str = ""
    problems: list[str] = field(default_factory=list)


def look_around(interfaces: Sequence[tuple[str, str]], peers: Sequence[str]) -> NetworkReport:
    """Search the network for streams, measure the clocks of their computers, and ask computers that stay silent.

    Parameters
    ----------
    interfaces
        Names and addresses of this computer's interfaces.
    peers
        Addresses or names of computers that should have streams. The configuration's KnownPeers and, on Linux, the
        neighbours that this computer has talked to lately are asked too.
    """
    file = find_configuration()
    given = settings(file.read_text(encoding="utf-8", errors="replace")) if file is not None else {}
    found = StreamResolver().streams(gather_s=_GATHER_S)
    own = [address for _, address in interfaces]
    known = [peer.strip() for peer in given.get("knownpeers", "").strip("{}").split(",") if peer.strip()]
    addresses = {each.uid: each.address for interface in own for each in search(interface, given)}
    answers = {each.uid: each for peer in _resolved([*peers, *known, *_neighbours()]) for each in ask(peer, given)}
    addresses |= {each.uid: each.address for each in answers.values()}
    computers: dict[str, _Computer] = {}
    for stream in found[:_MAX_STREAMS]:
        _add(computers, stream, addresses.get(stream.uid, "unknown address"))
    uids = {stream.uid for stream in found}
    unseen = [each for each in answers.values() if each.uid not in uids and each.address not in own]
    for each in unseen:
        computer = computers.setdefault(each.address, _Computer(each.address, problem=_ONLY_DIRECTLY))
        computer.streams.append(repr(printable(each.name)))
    silent = [peer for peer in _resolved(peers) if peer not in {*computers, *own}]
    for peer in silent:
        computers[peer] = _Computer(peer, problem=_DROPS_UDP if accepts_tcp(peer, given) else _DROPS_ALL)
    problems = [f"{each.address} {each.problem}." for each in computers.values() if each.problem]
    problems += [f"{peer} is not the name of a computer: check it, or give its address." for peer in _unknown(peers)]
    missing = sorted({each.address for each in unseen})
    lines = [f"this computer: {socket.gethostname()}, {_list_interfaces(interfaces)}"]
    for computer in computers.values():
        lines += _describe(computer, is_own=computer.address in [*own, "127.0.0.1"])
    if not found:
        lines.append("no stream answers a search. Is the amplifier's LSL app running?")
        if not peers:
            lines.append("Name the computers that should have streams to ask them directly: --peer ADDRESS")
    return NetworkReport(lines, _config(given, [*known, *missing]) if missing else "", problems)


def _add(computers: dict[str, _Computer], stream: StreamInfo, address: str) -> None:
    """Add a stream to its computer, whose clock is measured with the first one."""
    computer = computers.setdefault(address, _Computer(address, stream.hostname))
    computer.streams.append(str(stream))
    if computer.offset_s is None:
        computer.offset_s = _clock_offset_s(stream)


def _clock_offset_s(stream: StreamInfo) -> float | None:
    try:
        inlet = RawInlet(stream, buffer_s=1)
        end_s = time.monotonic() + _CLOCK_S
        while (offset_s := inlet.clock_offset_s()) is None and time.monotonic() < end_s:
            time.sleep(0.02)
    except (ConnectionLostError, StreamRefusedError, ValueError):
        return None
    return offset_s


def _resolved(peers: Iterable[str]) -> list[str]:
    """Return the addresses of computers, each once, without those whose names are unknown."""
    return list(dict.fromkeys(address for peer in peers if (address := _address(peer))))


def _unknown(peers: Iterable[str]) -> list[str]:
    return [printable(peer) for peer in peers if not _address(peer)]


def _address(peer: str) -> str:
    try:
        return socket.gethostbyname(peer)
    except OSError:
        return ""


def _neighbours() -> list[str]:
    """Return the addresses that this computer has talked to lately, if the system lists them (Linux)."""
    if not _NEIGHBOURS.exists():
        return []
    rows = [line.split() for line in _NEIGHBOURS.read_text().splitlines()[1:]]
    return [row[0] for row in rows if len(row) > 2 and int(row[2], 16) & 2]  # 2: its hardware address is known


def _list_interfaces(interfaces: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {address}" for name, address in interfaces) or "loopback only"


def _describe(computer: _Computer, *, is_own: bool) -> list[str]:
    offset_s = computer.offset_s
    if computer.problem:
        clock = computer.problem
    elif is_own:
        clock = "this computer"
    elif offset_s is None:
        clock = "its clock offset could not be measured within 2 s: a firewall may drop UDP"
    elif not offset_s:
        clock = "its clock is not distinguishable from this computer's"
    else:
        clock = f"its clock is {abs(offset_s):,.4f} s {'behind' if offset_s > 0 else 'ahead of'} this computer's"
    head = f"{', '.join(filter(None, (printable(computer.hostname), computer.address)))}: {clock}"
    return [head, *(f"    {stream}" for stream in computer.streams)]


def _config(given: Mapping[str, str], peers: Sequence[str]) -> str:
    session = f"SessionID = {given['sessionid']}\n" if "sessionid" in given else ""
    return f"[lab]\n{session}KnownPeers = {{{', '.join(peers)}}}\n"
