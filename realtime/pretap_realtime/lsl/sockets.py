"""The sockets of this process, and a way to cut those of a library that cannot close them any more."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Port", "cut", "of_this_process"]

Port = tuple[socket.SocketKind, int]  # TCP and UDP have the same numbers
Socket = tuple[int, int]  # its descriptor and its inode: a descriptor is used again, an inode is not so soon


def of_this_process() -> frozenset[Socket]:
    """Give all sockets that are open; none on a system that does not list them (Windows)."""
    found = []
    with contextlib.suppress(OSError):
        for entry in Path("/dev/fd").iterdir():
            with contextlib.suppress(OSError):  # the descriptor of the list itself is closed by now
                status = os.fstat(int(entry.name))
                if stat.S_ISSOCK(status.st_mode):
                    found.append((int(entry.name), status.st_ino))
    return frozenset(found)


def cut(candidates: Iterable[Socket], *, ports: Iterable[Port]) -> int:
    """Cut every socket bound to one of `ports`, and those among `candidates` that share their port with others.

    Each descriptor becomes that of a socket that nobody can reach: it is not closed, since its owner still uses it, and
    the next file to be opened would get its number. Gives how many were cut.
    """
    candidates, ports = frozenset(candidates), frozenset(ports)
    n_cut = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        for descriptor, inode in of_this_process():
            if descriptor == deaf.fileno():
                continue
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as each:
                is_internet = each.family in (socket.AF_INET, socket.AF_INET6)
                port = (each.type, each.getsockname()[1]) if is_internet else None
                shares = each.type == socket.SOCK_DGRAM and each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
                if port in ports or ((descriptor, inode) in candidates and shares):
                    os.dup2(deaf.fileno(), descriptor, inheritable=False)
                    n_cut += 1
    return n_cut
