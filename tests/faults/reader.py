"""A hostile reader: attaches to a stream again and again, in liblsl's protocol, and asks for a buffer of one sample.

Its arguments: the name of the stream, and how often it freezes it. One attachment freezes an outlet (liblsl #156) only
where two samples come within microseconds; so it attaches once more every 50 ms, keeps and reads all of them, and
begins anew where it was disconnected, as readers that recover do.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time

import pylsl

_ASKS = """LSL:streamfeed/110 {uid}\r
Native-Byte-Order: 1234\r
Endian-Performance: 1\r
Has-IEEE754-Floats: 1\r
Supports-Subnormals: 1\r
Value-Size: 4\r
Data-Protocol-Version: 110\r
Max-Buffer-Length: 1\r
Max-Chunk-Length: 0\r
Hostname: reader\r
Source-Id: reader\r
Session-Id: {session}\r
\r
"""


def freeze(name: str) -> str:
    """Attach until the outlet disconnects; gives its uid, empty where it is not there."""
    info = next(iter(pylsl.resolve_bypred(f"name='{name}'", 1, 1.0)), None)
    if info is None:
        return ""
    port = int(re.search(r"<v4data_port>(\d+)<", info.as_xml()).group(1))
    asks = _ASKS.format(uid=info.uid(), session=info.session_id()).encode()
    with selectors.DefaultSelector() as peers:
        try:
            while True:
                peer = socket.create_connection(("127.0.0.1", port), timeout=2)
                peer.sendall(asks)
                peers.register(peer, selectors.EVENT_READ)
                print("attached", pylsl.local_clock(), flush=True)
                until_s = time.monotonic() + 0.05
                while time.monotonic() < until_s:
                    for key, _ in peers.select(0.05):
                        if not key.fileobj.recv(65536):
                            return info.uid()
        except OSError:
            return info.uid()


def main(name: str, n_times: int) -> None:
    frozen = set()
    while len(frozen - {""}) < n_times:
        frozen.add(freeze(name))  # one that is about to go may be found twice
    print("done", pylsl.local_clock(), flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
