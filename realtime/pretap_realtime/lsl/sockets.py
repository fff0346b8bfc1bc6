"""The sockets of this process, and ways to disconnect those of a library from outside.

Used by `outlet` before an outlet is destroyed, and if a peer has frozen it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

Port = tuple[socket.SocketKind, int]  # TCP and UDP use the same numbers
Socket = tuple[int, int]  # descriptor and inode: a descriptor is soon used again, an inode is not


def of_this_process() -> frozenset[Socket]:
    """Return all open sockets; none on a system that does not list them (Windows)."""
    found = []
    with contextlib.suppress(OSError):
        for entry in Path("/dev/fd").iterdir():
            with contextlib.suppress(OSError):  # the descriptor of the list itself is closed by now
                status = os.fstat(int(entry.name))
                if stat.S_ISSOCK(status.st_mode):
                    found.append((int(entry.name), status.st_ino))
    return frozenset(found)


def end_connections(ports: Iterable[int]) -> frozenset[Socket]:
    """Accept no new connection to these TCP ports, and end the open ones; return those that their owner has to close.

    A listening socket is replaced as in `cut`.
    """
    ports, found = frozenset(ports), set()
    for _ in range(2):  # twice: the first time, a connection may be accepted while the sockets are listed
        for descriptor, inode in of_this_process():
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as each:
                is_internet = each.family in (socket.AF_INET, socket.AF_INET6)
                if not is_internet or each.type != socket.SOCK_STREAM or each.getsockname()[1] not in ports:
                    continue
                if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unbound:
                        os.dup2(unbound.fileno(), descriptor, inheritable=False)
                else:
                    found.add((descriptor, inode))
                    each.shutdown(socket.SHUT_RDWR)
    return frozenset(found)


def cut(candidates: Iterable[Socket], *, ports: Iterable[Port]) -> int:
    """Disconnect every socket bound to one of `ports`, and those of `candidates` that share their port with others.

    Each descriptor becomes that of an unbound socket. It is not closed: its owner still uses it, and the next file to
    be opened would get its number. Returns how many were disconnected.
    """
    candidates, ports = frozenset(candidates), frozenset(ports)
    n_cut = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound:
        for descriptor, inode in of_this_process():
            if descriptor == unbound.fileno():
                continue
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as each:
                is_internet = each.family in (socket.AF_INET, socket.AF_INET6)
                port = (each.type, each.getsockname()[1]) if is_internet else None
                shares = each.type == socket.SOCK_DGRAM and each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
                if port in ports or ((descriptor, inode) in candidates and shares):
                    os.dup2(unbound.fileno(), descriptor, inheritable=False)
                    n_cut += 1
    return n_cut
