"""Hosts in network namespaces, each with an ``lsl_api.cfg``, so that no configuration disturbs another session."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from real_lsl import Child

_PROGRAMS = Path(__file__).with_name("discovery_programs.py")


def why_impossible() -> str:
    """Return why this machine cannot have such hosts; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root on Linux, and the command ip"
    tried = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return tried.stderr.decode().strip() if tried.returncode else ""


class Host:
    """A computer; `config` is the text of its ``lsl_api.cfg``, empty for liblsl's defaults."""

    def __init__(self, net: Net, namespace: str, config: str) -> None:
        self._net, self.namespace = net, namespace
        self._config = net.folder / f"{namespace}.cfg"
        self._config.write_text(config + "\n[log]\nlevel = -3\n")

    def start(self, *command: str) -> Child:
        """Start a command; it ends with the network."""
        environment = os.environ | {"LSLAPICFG": str(self._config)}
        child = Child(self._net.folder, ["ip", "netns", "exec", self.namespace, *command], env=environment)
        self._net.children.append(child)
        return child

    def pretap(self, *arguments: str) -> Child:
        """Start ``pretap ARGUMENTS``."""
        return self.start(sys.executable, "-m", "pretap", *arguments)

    def open_outlets(self, *specs: str) -> Child:
        """Open outlets ``NAME:TYPE``, and wait until they are open."""
        child = self.program("outlets", *specs)
        child.wait_for("open")
        return child

    def search(self) -> list[str]:
        """Return the names of the streams that ``pylsl.resolve_streams(2.0)`` finds."""
        child = self.program("search")
        assert child.wait() == 0, child.said
        return json.loads(child.said)

    def program(self, *arguments: str) -> Child:
        """Start one of `discovery_programs`."""
        return self.start(sys.executable, str(_PROGRAMS), *arguments)


class Net:
    """Hosts on switches. `close` ends all processes and removes all namespaces."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.children = folder, []
        self._prefix, self._namespaces, self._n_ports = f"dsc{secrets.token_hex(3)}", [], 0
        self._switch = self._add_namespace("sw")

    def host(self, name: str, *networks: str, config: str = "", gateway: str = "") -> Host:
        """Add a computer with an interface in each network, given as the address ``10.77.1.5`` of 10.77.1.0/24."""
        namespace = self._add_namespace(name)
        self._ip(namespace, "link set lo up")
        for n, address in enumerate(networks):
            bridge = f"br{address.split('.')[2]}"
            if self._ip(self._switch, f"link show {bridge}", check=False):
                self._ip(self._switch, f"link add {bridge} type bridge")
                self._ip(self._switch, f"link set {bridge} up")
            self._n_ports += 1
            self._ip(self._switch, f"link add p{self._n_ports} type veth peer name eth{n} netns {namespace}")
            self._ip(self._switch, f"link set p{self._n_ports} master {bridge} up")
            self._ip(namespace, f"addr add {address}/24 brd + dev eth{n}")
            self._ip(namespace, f"link set eth{n} up")
            if not n:
                self._ip(namespace, "route add 224.0.0.0/4 dev eth0")
        if gateway:
            self._ip(namespace, f"route add default via {gateway}")
        return Host(self, namespace, config)

    def router(self, *networks: str) -> None:
        """Add a computer that joins networks, but passes neither broadcast nor multicast on."""
        namespace = self.host("router", *networks).namespace
        forward = ["ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"]
        subprocess.run(forward, check=True)

    def close(self) -> None:
        for child in self.children:
            child.end()
        for name in self._namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _add_namespace(self, name: str) -> str:
        self._namespaces.append(f"{self._prefix}-{name}")
        subprocess.run(["ip", "netns", "add", self._namespaces[-1]], check=True, capture_output=True)
        return self._namespaces[-1]

    def _ip(self, namespace: str, arguments: str, *, check: bool = True) -> int:
        command = ["ip", "-n", namespace, *arguments.split()]
        return subprocess.run(command, check=check, capture_output=True).returncode
