"""An outlet that liblsl would never make: a process that speaks LSL's protocol itself and sends what it is told to.

The first line of its standard input is JSON: `xml` is what it answers to every look (``{port}`` is filled in, a lone
surrogate becomes the byte that it stands for), `full` what it answers to who asks for its description, and `way` how:
``plain``, ``endless`` (never ends the text), ``silent`` (accepts, and says nothing) or ``slow`` (a byte each tenth of a
second). `sample` is base64 of what follows the head of a stream feed. It ends with its standard input.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path


def _settings() -> dict[str, str]:
    lines = Path(os.environ["LSLAPICFG"]).read_text().splitlines()
    return {key.strip(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}


def _serve_looks(answer: bytes) -> None:
    """Answer each look for streams that comes to a port of the session, as an outlet on it does."""
    settings = _settings()
    for port in range(int(settings["BasePort"]), int(settings["BasePort"]) + int(settings["PortRange"])):
        looks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            looks.bind(("127.0.0.1", port))
        except OSError:
            looks.close()
            continue
        break
    while True:
        request, (host, _) = looks.recvfrom(65536)
        lines = request.split(b"\r\n")
        if lines[0] == b"LSL:shortinfo":
            return_port, query_id = lines[2].split()
            with contextlib.suppress(OSError):
                looks.sendto(query_id + b"\r\n" + answer, (host, int(return_port)))


def _serve(connection: socket.socket, full: bytes, way: str, sample: bytes) -> None:
    with connection, contextlib.suppress(OSError):
        request = connection.recv(65536)
        if request.startswith(b"LSL:fullinfo"):
            _describe(connection, full, way)
        elif request.startswith(b"LSL:streamfeed"):
            uid = request.split()[1]
            head = b"LSL/110 200 OK\r\nUID: " + uid + b"\r\nByte-Order: 1234\r\nSuppress-Subnormals: 0\r\n"
            connection.sendall(head + b"Data-Protocol-Version: 110\r\n\r\n" + sample)
            connection.recv(1)  # until the other end closes


def _describe(connection: socket.socket, full: bytes, way: str) -> None:
    if way == "silent":
        connection.recv(1)
    elif way == "slow":
        for k in range(len(full)):
            connection.sendall(full[k : k + 1])
            time.sleep(0.1)
    else:
        connection.sendall(full)
        while way == "endless":
            connection.sendall(b"x" * (1 << 20))


def main(spec: dict) -> None:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(64)

    def filled(text: str) -> bytes:
        text = text.replace("{port}", str(server.getsockname()[1]))
        return text.encode("utf-8", "surrogateescape")

    short, sample = filled(spec["xml"]), base64.b64decode(spec.get("sample", ""))
    full = filled(spec.get("full") or spec["xml"])
    threading.Thread(target=_serve_looks, args=(short,), daemon=True).start()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve, args=(connection, full, spec.get("way", "plain"), sample), daemon=True).start()


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
