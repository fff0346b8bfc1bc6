"""Sockets of an abandoned outlet are cut, and no others."""

from __future__ import annotations

import socket
import sys

import pytest

from pretap_realtime.lsl import sockets

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")


@linux
def test_sockets_that_are_cut_are_gone_for_their_peers_and_others_stay():
    before = sockets.of_this_process()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port = server.getsockname()[1]
        ours = sockets.of_this_process() - before
        with socket.create_connection(("127.0.0.1", port)) as peer, server.accept()[0]:
            peer.settimeout(60)
            assert sockets.cut(ours, ports=[(socket.SOCK_DGRAM, port)]) == 0  # another outlet's, of the same number
            assert sockets.cut(ours, ports=[(socket.SOCK_STREAM, port)]) == 2  # the listening one and the connection
            assert peer.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=60)
        with socket.create_connection(("127.0.0.1", other.getsockname()[1]), timeout=60):
            pass
