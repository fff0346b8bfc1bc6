"""Sockets of an outlet are cut, or its connections ended, and no others."""

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


@linux
def test_connections_that_end_are_returned_until_their_owner_closes_them_and_no_new_one_opens():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as peer, server.accept()[0] as connection:
            peer.settimeout(60)
            connection.sendall(b"sent before")
            ending = sockets.end_connections([port])
            assert [descriptor for descriptor, _ in ending] == [connection.fileno()]
            assert peer.recv(100) == b"sent before"
            assert peer.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=60)
            assert ending <= sockets.of_this_process()
            connection.close()
            assert not ending & sockets.of_this_process()
        with socket.create_connection(("127.0.0.1", other.getsockname()[1]), timeout=60):
            pass
