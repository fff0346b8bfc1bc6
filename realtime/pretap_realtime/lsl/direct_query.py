"""Direct queries: asks computers for their streams over UDP without liblsl. Used by `doctor --network`.

liblsl searches in the same way, but does not tell from which address an answer came, and asks single computers only if
they are KnownPeers in ``lsl_api.cfg``.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

_ANSWER_S: Final = 1.0
_CONNECT_S: Final = 0.3
_MAX_ANSWERS: Final = 256
_FIELD = re.compile(rb"<(name|uid)>([^<]{0,200})</\1>")
_EVERYBODY: Final = ("255.255.255.255", "224.0.0.1", "224.0.0.183", "239.255.172.215")  # liblsl's, scope link and less


class Answer(NamedTuple):
    """A stream that answered, and the address from which it did."""

    uid: str
    name: str
    address: str


def search(interface: str, config: Mapping[str, str]) -> list[Answer]:
    """Ask all computers that the interface with this address reaches by broadcast and multicast.

    `config` are the keys of ``lsl_api.cfg``, see `api_config.settings`; also for the other functions.
    """
    port = int(config.get("multicastport", "16571"))
    return _ask([(each, port) for each in _EVERYBODY], config, interface=interface)


def ask(address: str, config: Mapping[str, str]) -> list[Answer]:
    """Ask one computer."""
    return _ask([(address, port) for port in _ports(config)], config)


def accepts_tcp(address: str, config: Mapping[str, str]) -> bool:
    """Whether a computer accepts a connection at one of LSL's ports."""
    for port in _ports(config):
        try:
            socket.create_connection((address, port), _CONNECT_S).close()
        except ConnectionRefusedError:  # the computer is there, and this port is closed
            continue
        except OSError:  # nothing answers, and nothing would at the other ports
            return False
        return True
    return False


def _ports(config: Mapping[str, str]) -> range:
    first = int(config.get("baseport", "16572"))
    return range(first, first + int(config.get("portrange", "32")))


def _ask(targets: Iterable[tuple[str, int]], config: Mapping[str, str], *, interface: str = "") -> list[Answer]:
    number, session = secrets.token_hex(4), config.get("sessionid", "default").replace("'", "")
    answers: dict[str, Answer] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asking.bind((interface, 0))
        if interface:
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        query = f"LSL:shortinfo\r\nsession_id='{session}'\r\n{asking.getsockname()[1]} {number}\r\n".encode()
        for target in targets:
            with contextlib.suppress(OSError):  # no route to it, or its port is closed
                asking.sendto(query, target)
        end_s = time.monotonic() + _ANSWER_S
        while (left_s := end_s - time.monotonic()) > 0 and len(answers) < _MAX_ANSWERS:
            asking.settimeout(left_s)
            with contextlib.suppress(OSError):
                text, (address, _) = asking.recvfrom(65536)
                fields = {key.decode(): value.decode("utf-8", "replace") for key, value in _FIELD.findall(text)}
                if text.startswith(number.encode()) and "uid" in fields:
                    answers[fields["uid"]] = Answer(fields["uid"], fields.get("name", ""), address)
    return list(answers.values())
