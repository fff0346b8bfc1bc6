"""Computers with clocks of their own, on one machine: network, host name and time namespaces. See docs/lab.md.

A host's LSL clock is this machine's plus `Host.clock_s`, so a test knows what every timestamp should be elsewhere.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from real_lsl import Child, local_clock

_CONFIG = """[ports]
IPv6 = disable
[multicast]
ResolveScope = link
[lab]
SessionID = {session}
KnownPeers = {{{peers}}}
[log]
level = -3
"""


def why_impossible() -> str:
    """Return why this machine cannot have such hosts; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network and time namespaces need root on Linux"
    missing = [name for name in ("ip", "unshare") if shutil.which(name) is None]
    if missing:
        return f"the lab needs the commands ip and unshare; missing: {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "-n", "-u", "-T", "--monotonic", "5000", "ip", "link"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else f"this kernel has no time namespaces: {tried.stderr.decode().strip()}"


def run(command: str) -> None:
    """Run a command, which must succeed."""
    subprocess.run(command.split(), check=True, capture_output=True)


@dataclass
class Host:
    """A computer of the lab.

    Attributes
    ----------
    clock_s
        By how much its clock is ahead of this machine's.
    config
        Its ``lsl_api.cfg``.
    """

    lab: Lab
    name: str
    hostname: str
    clock_s: int
    config: Path
    environment: dict[str, str] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    drift_ppm: float = 0.0
    drift_from_s: float = 0.0

    @property
    def namespace(self) -> str:
        return f"{self.lab.prefix}-{self.name}"

    def start(self, *command: str) -> Child:
        """Start a command on this computer; it ends with the lab."""
        clock = ["--monotonic", str(self.clock_s), "--boottime", str(self.clock_s)]
        rename = ["sh", "-c", 'hostname "$0"; exec "$@"', self.hostname]
        inside = ["ip", "netns", "exec", self.namespace, "unshare", "-u", "-T", *clock, *rename, *command]
        environment = os.environ | {"LSLAPICFG": str(self.config)} | self.environment
        child = Child(self.lab.folder, inside, env=environment)
        self.lab.children.append(child)
        return child

    def pretap(self, *arguments: str) -> Child:
        """Start ``pretap ARGUMENTS``."""
        return self.start(sys.executable, "-m", "pretap", *arguments)

    def python(self, script: Path, *arguments: str) -> Child:
        """Start a Python program."""
        return self.start(sys.executable, str(script), *arguments)

    def time_at(self, t_s: float) -> float:
        """Return the time on this host's clock at a time of this machine's LSL clock."""
        own_s = t_s + self.clock_s
        return own_s + (own_s - self.drift_from_s) * self.drift_ppm * 1e-6

    def real_time(self, own_s: float) -> float:
        """Return the inverse of `time_at`."""
        rate = 1 + self.drift_ppm * 1e-6
        return (own_s + self.drift_from_s * (rate - 1)) / rate - self.clock_s

    def set_drift(self, ppm: float) -> None:
        """Make the clock gain `ppm` microseconds a second from now on, in programs that start later."""
        library = self.lab.folder / "drift.so"
        source = Path(__file__).with_name("drift.c")
        run(f"cc -O2 -shared -fPIC -o {library} {source} -ldl")
        self.drift_ppm, self.drift_from_s = ppm, local_clock() + self.clock_s
        drift = {"DRIFT_PPM": str(ppm), "DRIFT_BASE_S": repr(self.drift_from_s)}
        self.environment |= {"LD_PRELOAD": str(library)} | drift

    def join(self, network: str, address: str) -> None:
        """Plug an interface with an address into a network of the lab."""
        self.lab.plug(self, network, address)

    def ip(self, arguments: str) -> None:
        """Run ``ip ARGUMENTS`` on this computer."""
        run(f"ip -n {self.namespace} {arguments}")

    def set_link(self, state: str) -> None:
        """Set the first interface ``up`` or ``down``, at the switch: its addresses and routes stay."""
        run(f"ip -n {self.lab.prefix}-sw link set {self.lab.port_of(self)} {state}")


class Lab:
    """Hosts on switches. `close` ends all processes and removes all namespaces."""

    def __init__(self, folder: Path) -> None:
        self.prefix = f"pt{secrets.token_hex(3)}"
        self.folder, self.session = folder, f"lab-{secrets.token_hex(4)}"
        self.children: list[Child] = []
        self.hosts: list[Host] = []
        self._namespaces: list[str] = []
        self._networks: dict[str, str] = {}  # bridges, by network
        self._network: dict[str, str] = {}  # of the first interface, by host
        self._ports: dict[tuple[str, int], str] = {}
        self._add_namespace("sw")

    def host(
        self,
        name: str,
        *,
        clock_s: int = 0,
        hostname: str = "",
        address: str = "",
        network: str = "lan",
        peers: tuple[str, ...] = (),
    ) -> Host:
        """Add a computer with an interface; `address` is by default the next one of 10.77.0.0/24."""
        config = self.folder / f"{name}.cfg"
        config.write_text(_CONFIG.format(session=self.session, peers=", ".join(peers)))
        host = Host(self, name, hostname or f"{name}-pc", clock_s, config)
        self._add_namespace(name)
        run(f"ip -n {host.namespace} link set lo up")
        self.hosts.append(host)
        self.plug(host, network, address or f"10.77.0.{len(self.hosts)}/24")
        return host

    def plug(self, host: Host, network: str, address: str) -> None:
        switch = f"{self.prefix}-sw"
        if network not in self._networks:
            bridge = self._networks[network] = f"br{len(self._networks)}"
            run(f"ip -n {switch} link add {bridge} type bridge")
            run(f"ip -n {switch} link set {bridge} up")
        n = len(host.addresses)
        inside, port = f"eth{n}", f"p{len(self._ports)}"
        run(f"ip -n {switch} link add {port} type veth peer name {inside} netns {host.namespace}")
        run(f"ip -n {switch} link set {port} master {self._networks[network]} up")
        run(f"ip -n {host.namespace} addr add {address} brd + dev {inside}")
        run(f"ip -n {host.namespace} link set {inside} up")
        if not n:
            run(f"ip -n {host.namespace} route add 224.0.0.0/4 dev {inside}")
        self._ports[host.name, n] = port
        self._network.setdefault(host.name, network)
        host.addresses.append(address.split("/", maxsplit=1)[0])

    def router(self, *hosts: Host) -> Host:
        """Join the networks of hosts by a router, which passes neither broadcast nor multicast on."""
        networks = {host.addresses[0].rpartition(".")[0]: host for host in hosts}
        router: Host | None = None
        for base, host in networks.items():
            address, network = f"{base}.254/24", self.network_of(host)
            if router is None:
                router = self.host("router", address=address, network=network)
            else:
                router.join(network, address)
        assert router is not None
        forward = ["ip", "netns", "exec", router.namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"]
        subprocess.run(forward, check=True)
        for host in hosts:
            host.ip(f"route add default via {host.addresses[0].rpartition('.')[0]}.254")
        return router

    def network_of(self, host: Host) -> str:
        return self._network[host.name]

    def port_of(self, host: Host) -> str:
        """Return the switch's port of a host's first interface."""
        return self._ports[host.name, 0]

    def now(self) -> float:
        """Return the time of this machine's LSL clock."""
        return local_clock()

    def wait(self, seconds: float) -> None:
        """Wait while the experiment runs on."""
        threading.Event().wait(seconds)

    def close(self) -> None:
        for child in self.children:
            child.end()
        for name in self._namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _add_namespace(self, name: str) -> None:
        run(f"ip netns add {self.prefix}-{name}")
        self._namespaces.append(f"{self.prefix}-{name}")
