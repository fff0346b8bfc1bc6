"""Every command finds the streams that a plain search of two seconds finds, whatever the configuration of LSL."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.discovery_net import Host, Net, why_impossible
from real_lsl import Child, until

NAMES = ["cap", "cap-markers", "other"]
PORTS = "[ports]\nMulticastPort = 17000\nBasePort = 17001\nPortRange = {n}"
SCOPE = "[multicast]\nResolveScope = {}"
SESSION = "[lab]\nSessionID = {}"
PEERS = "[lab]\nKnownPeers = {{{}}}"
TUNING = "[tuning]\n{}"


@dataclass(frozen=True)
class Case:
    """A configuration of the decoder's computer; the outlets are on `away`'s, if that is another one."""

    here: str = ""
    away: str | None = None
    networks: tuple[str, ...] = ("10.77.1.1",)  # addresses of the decoder's computer
    found: tuple[str, ...] = tuple(NAMES)
    has_router: bool = False


def both(config: str, **more) -> Case:
    return Case(config, config, **more)


def on_one(config: str) -> Case:
    return Case(config)


def long(name: str, case: Case):
    return pytest.param(case, id=name, marks=pytest.mark.long)


MACHINE = SCOPE.format("machine")
ROUTED = {"networks": ("10.77.2.1",), "has_router": True}
CASES = [
    pytest.param(on_one(""), id="default"),
    pytest.param(on_one(MACHINE), id="machine scope"),
    pytest.param(on_one(f"{MACHINE}\n" + TUNING.format("MulticastMinRTT = 1.2")), id="machine scope, slow tuning"),
    pytest.param(Case(PEERS.format("10.77.1.2"), "", **ROUTED), id="a known peer behind a router"),
    *(long(f"{scope} scope", on_one(SCOPE.format(scope))) for scope in ("link", "site", "organization", "global")),
    long("without IPv6", on_one("[ports]\nIPv6 = disable")),
    long("without IPv6, machine scope", on_one("[ports]\nIPv6 = disable\n" + MACHINE)),
    long("IPv6 only", on_one("[ports]\nIPv6 = force")),
    long("other ports", on_one(PORTS.format(n=32))),
    long("other ports, machine scope", on_one(PORTS.format(n=32) + "\n" + MACHINE)),
    long("fewer ports than outlets", on_one(PORTS.format(n=4))),
    long("another port than the outlets'", Case("[ports]\nMulticastPort = 17000\nBasePort = 17001", "", found=())),
    long("another session than the outlets'", Case(SESSION.format("one"), SESSION.format("two"), found=())),
    long("the same session", both(SESSION.format("one"))),
    long("a peer that does not exist", on_one(PEERS.format("10.77.1.99"))),
    long("this computer as peer", on_one(f"{MACHINE}\n" + PEERS.format("127.0.0.1"))),
    long("one address", on_one("[multicast]\nAddressesOverride = {224.0.0.183}")),
    long("quick tuning", on_one(f"{MACHINE}\n" + TUNING.format("MulticastMinRTT = 0.1\nUnicastMinRTT = 0.1"))),
    long("seldom repeated", on_one(f"{MACHINE}\n" + TUNING.format("ContinuousResolveInterval = 60"))),
    long("short patience", on_one(f"{MACHINE}\n" + TUNING.format("MulticastMaxRTT = 0.6\nUnicastMaxRTT = 0.6"))),
    long("another computer", Case("", "")),
    long("another computer, link scope", both(SCOPE.format("link"))),
    long("another computer, machine scope", Case(MACHINE, "", found=())),
    long("another computer, machine scope, a peer", Case(f"{MACHINE}\n" + PEERS.format("10.77.1.2"), "")),
    long("another computer, slow tuning", both(TUNING.format("MulticastMinRTT = 1.2\nUnicastMinRTT = 2"))),
    long("behind a router", Case("", "", found=(), **ROUTED)),
    long("two interfaces", Case("", "", networks=("10.77.1.1", "10.77.3.1"))),
    long("two interfaces, the outlets at the second", Case("", "", networks=("10.77.3.1", "10.77.1.1"))),
]


@pytest.fixture
def net(tmp_path) -> Iterator[Net]:
    if why := why_impossible():
        pytest.skip(why)
    net = Net(tmp_path)
    try:
        yield net
    finally:
        net.close()


@pytest.fixture
def bundle(tmp_path, make_decoder) -> Path:
    make_decoder(path=tmp_path / "random.safetensors")
    return tmp_path / "random.safetensors"


def open_hosts(net: Net, case: Case) -> tuple[Host, Host]:
    """Return the decoder's computer and that of the outlets."""
    gateway = "10.77.{}.254" if case.has_router else ""
    if case.has_router:
        net.router("10.77.1.254", "10.77.2.254")
    decoder = net.host("decoder", *case.networks, config=case.here, gateway=gateway.format(2))
    if case.away is None:
        return decoder, decoder
    return decoder, net.host("amp", "10.77.1.2", config=case.away, gateway=gateway.format(1))


def listed(said: str) -> list[str]:
    """Return the names of a list of streams, except the one that `doctor` opens itself."""
    return sorted(stream["name"] for stream in json.loads(said) if not stream["name"].startswith("pretap-doctor"))


def checked(said: str) -> str:
    """Return what `doctor` has found out about streams."""
    return next(check["found"] for check in json.loads(said) if check["name"] == "streams")


def ended(child: Child, code: int) -> str:
    assert child.wait() == code, child.said
    return child.said


@pytest.mark.parametrize("case", CASES)
def test_every_command_finds_what_a_plain_search_finds(case, net, bundle, tmp_path):
    host, away = open_hosts(net, case)
    away.open_outlets("cap:EEG", "cap-markers:Markers", "other:Other")
    until(lambda: host.search() == sorted(case.found), f"a plain search that finds {case.found}")

    wait_s = "60" if case.found else "3"
    wanted = () if case.found else ("--query", "name=cap")  # `doctor` has a stream, too
    query = ("--query", "name=cap", "--cue-query", "name=cap-markers")
    streams = host.pretap("streams", "--json", "-")
    serve = host.pretap("serve", str(bundle), *query, "--wait-s", wait_s, "--dry-run")
    record = host.pretap("record", str(tmp_path / "out.xdf"), *wanted, "--wait-s", wait_s)
    doctor = host.pretap("doctor", "--json", "-")
    monitor = host.pretap("monitor", "--port", "0")
    page = host.program("page", monitor.wait_for(r"http://\S+/"))

    assert listed(ended(streams, 0)) == sorted(case.found)
    assert doctor.wait() in (0, 8), doctor.said  # it may find fault with the network
    assert all(name in checked(doctor.said) for name in case.found)
    if case.found:
        assert "cues from 'cap-markers'" in ended(serve, 0)
        for name in case.found:
            record.wait_for(f"recording '{name}'")
        page.wait_for(re.escape('["cap", "cap-markers"]'))
    else:
        assert "No stream answered" in ended(serve, 3)
        assert "No stream answered" in ended(record, 3)


def test_two_streams_are_refused_though_only_one_of_them_hears_the_first_query(net, bundle):
    host = net.host("decoder", "10.77.1.1", config=MACHINE)
    host.open_outlets("cap:EEG", "spare:EEG")
    said = ended(host.pretap("serve", str(bundle)), 4)
    assert "2 streams answer to stream.query" in said
    assert "'cap'" in said
    assert "'spare'" in said


@pytest.mark.long
def test_a_stream_is_not_forgotten_before_it_is_asked_again(net):
    host = net.host("decoder", "10.77.1.1", config=f"{MACHINE}\n" + TUNING.format("ContinuousResolveInterval = 12"))
    host.open_outlets("cap:EEG", "other:EEG")
    watch = host.program("watch", "15")
    lines = [json.loads(line) for line in ended(watch, 0).splitlines()]
    assert lines[-1] == ["cap", "other"]
    assert all(set(line) <= set(following) for line, following in itertools.pairwise(lines))
