"""A reader of a stream that speaks liblsl's protocol by itself: it asks for a buffer of its own size.

Its only argument is JSON: the `name` of the stream, `buffer` (samples that the outlet keeps for it; 1 is what freezes
an outlet, liblsl #156), and `again` (it comes back when it was disconnected, as readers that recover do).
"""

from __future__ import annotations

import json
import re
import socket
import sys
import time

import pylsl


def attach(name: str, n_buffer: int) -> socket.socket | None:
    for info in pylsl.resolve_bypred(f"name='{name}'", 1, 1.0):
        port = int(re.search(r"<v4data_port>(\d+)<", info.as_xml()).group(1))
        wants = {
            "Native-Byte-Order": 1234, "Endian-Performance": 1, "Has-IEEE754-Floats": 1, "Supports-Subnormals": 1,
            "Value-Size": 4, "Data-Protocol-Version": 110, "Max-Buffer-Length": n_buffer, "Max-Chunk-Length": 0,
            "Hostname": "reader", "Source-Id": "reader", "Session-Id": info.session_id(),
        }  # fmt: skip
        lines = [f"LSL:streamfeed/110 {info.uid()}", *(f"{key}: {value}" for key, value in wants.items()), "", ""]
        try:
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            peer.settimeout(2)
            peer.connect(("127.0.0.1", port))
            peer.sendall("\r\n".join(lines).encode())
        except OSError:
            continue
        if peer.recv(4096).startswith(b"LSL/110 200"):
            print("attached", pylsl.local_clock(), flush=True)
            return peer
    return None


def main(spec: dict) -> None:
    while True:
        peer = attach(spec["name"], spec["buffer"])
        if peer is None:
            continue
        peer.settimeout(None)
        try:
            if spec["reads"]:
                while peer.recv(65536):
                    pass
            while peer.recv(1, socket.MSG_PEEK): time.sleep(0.1)
        except OSError:
            pass
        print("disconnected", pylsl.local_clock(), flush=True)
        if not spec["again"]:
            while True:
                time.sleep(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
