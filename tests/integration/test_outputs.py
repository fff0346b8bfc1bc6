"""WebSocket, OSC and UDP beside the LSL streams: real services, sockets and clients."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from pretap_realtime.send.messages import Message
from real_lsl import python_path

client = pytest.importorskip("websockets.sync.client", reason="no websockets: pip install 'pretap[outputs]'")
exceptions = pytest.importorskip("websockets.exceptions")
WITHIN_S = 60


@pytest.fixture
def amp(kit):
    return kit.Amplifier()


@pytest.fixture
def serve(start, bundle, amp):
    """Start a service with a WebSocket; gives it and the address."""

    def serve(*more):
        hop = ("--hop-ms", "100", "--set", "outputs.websocket=:0")
        child = start("serve", str(bundle), "--query", f"name={amp.name}", *hop, *more)
        address = child.wait_for(r"ws://127\.0\.0\.1:\d+")
        amp.wait_for_reader()
        return child, address

    return serve


def read(connection, condition, what):
    """Receive messages until one fits; gives all of them."""
    messages = []
    while True:
        messages.append(msgspec.json.decode(connection.recv(timeout=WITHIN_S), type=Message, strict=True))
        if condition(messages[-1]):
            return messages
        assert len(messages) < 1000, what


def is_last(amp):
    last_s = amp.t0_s + (amp.n - 1) / amp.sfreq_hz
    return lambda m: m.type == "verdict" and m.t > last_s - 0.005


def test_websocket_and_udp_carry_the_very_messages_of_the_marker_stream(serve, kit, amp):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.settimeout(WITHIN_S)
    child, address = serve("--set", f"outputs.udp=:{udp.getsockname()[1]}")
    listener = kit.Listener()
    with client.connect(address) as connection:
        amp.push(kit.eeg(100))
        by_socket = read(connection, is_last(amp), "the last verdict")
        last = by_socket[-1]
        listener.wait_for(lambda m: m.seq == last.seq, "the last verdict")
        by_lsl = {m.seq: m for m in listener.messages}
        by_udp = {}
        while last.seq not in by_udp:
            message = json.loads(udp.recv(65536))
            by_udp[message["seq"]] = msgspec.convert(message, Message)
        verdicts = [m for m in by_socket if m.type == "verdict"]
        assert len([m for m in verdicts if m.valid]) == 6  # a window of 50 samples, a hop of 10
        assert verdicts == [by_lsl[m.seq] for m in verdicts] == [by_udp[m.seq] for m in verdicts]
        seqs = [m.seq for m in by_socket[1:]]  # the first one is the state, said again
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert child.interrupt() == 0
        with pytest.raises(exceptions.ConnectionClosedOK):
            read(connection, lambda _: False, "the goodbye")
    assert "dropped" not in child.said


def test_a_newcomer_gets_the_current_state_at_once(serve, kit, amp):
    child, address = serve()
    child.wait_for("-> STALE")  # the amplifier is silent
    with client.connect(address) as connection:
        first = msgspec.json.decode(connection.recv(timeout=WITHIN_S), type=Message)
    assert first.type in ("state", "heartbeat")
    assert first.state == "STALE"


def test_a_web_page_needs_a_listed_origin_and_a_program_none(serve):
    child, address = serve("--set", 'outputs.websocket_origins=["http://game.example"]')
    for origin in ("http://evil.example", "null", "http://game.example.evil.example", "http://127.0.0.1:8000"):
        with pytest.raises(exceptions.InvalidStatus) as refused:
            client.connect(address, origin=origin)
        assert refused.value.response.status_code == 403
    assert "refused a web page from 'http://evil.example'" in child.said
    for origin in ("http://game.example", None):
        with client.connect(address, origin=origin) as connection:
            assert connection.recv(timeout=WITHIN_S)


def test_a_client_that_speaks_and_one_too_many_are_disconnected(serve):
    from pretap_realtime.send.network.websocket import MAX_CLIENTS

    _, address = serve()
    for said, code in (("hello", 1008), ("x" * 2000, 1009)):
        with client.connect(address) as connection:
            connection.send(said)
            with pytest.raises(exceptions.ConnectionClosed) as closed:
                read(connection, lambda _: False, "the end")
            assert closed.value.rcvd.code == code
    with ExitStack() as stack:
        clients = [stack.enter_context(client.connect(address)) for _ in range(MAX_CLIENTS)]
        for each in clients:
            assert each.recv(timeout=WITHIN_S)
        with client.connect(address) as connection:
            with pytest.raises(exceptions.ConnectionClosed) as closed:
                connection.recv(timeout=WITHIN_S)
            assert closed.value.rcvd.code == 1013
        clients[0].close()
        with client.connect(address) as connection:
            assert connection.recv(timeout=WITHIN_S)


def test_connections_that_say_nothing_are_bounded_and_given_up(serve, kit):
    child, address = serve()
    port = int(address.rpartition(":")[2])
    mute = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    kit.until(lambda: n_connected(port) <= 32, "most are disconnected")
    kit.until(lambda: n_connected(port) == 0, "the others are given up")
    with client.connect(address) as connection:
        assert connection.recv(timeout=WITHIN_S)
    for each in mute:
        each.close()
    assert "Traceback" not in child.said


STUCK = """
import socket, sys, time
from websockets.sync.client import connect
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
sock.connect(("127.0.0.1", int(sys.argv[1])))
connection = connect(f"ws://127.0.0.1:{sys.argv[1]}", sock=sock)
print("connected", flush=True)
time.sleep(600)
"""


def test_a_frozen_client_is_disconnected_and_no_decision_waits_for_it(serve, kit, amp):
    child, address = serve("--hop-ms", "10")
    port = address.rpartition(":")[2]
    frozen = subprocess.Popen([sys.executable, "-c", STUCK, port], stdout=subprocess.PIPE, text=True)
    try:
        assert frozen.stdout.readline() == "connected\n"
        os.kill(frozen.pid, signal.SIGSTOP)
        listener = kit.Listener()
        with client.connect(address) as connection:
            x = kit.eeg(20)

            def dropped():
                amp.push(x, real_time=True)
                while (text := _waiting(connection)) is not None:
                    assert text
                listener.poll()
                return n_connected(int(port)) == 1

            kit.until(dropped, "the frozen one is disconnected")
        assert sum(m.valid for m in listener.verdicts()) > 50
        assert child.interrupt() == 0
        # If decisions waited for it, they would do so for as long as a ping may take: 10 s, or a thousand decisions.
        late = re.search(r"decisions, (\d+) skipped, (\d+) too old", child.said).groups()
        assert sum(map(int, late)) < 100
        assert "a client was too slow, and was disconnected" in child.said
    finally:
        frozen.kill()
        frozen.wait()


def _waiting(connection):
    try:
        return connection.recv(timeout=0)
    except TimeoutError:
        return None


def n_connected(port):
    """How many connections to this port are established at the server's end."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(local.endswith(f":{port:04X}") and state == "01" for _, local, _, state, *_ in rows)


def test_where_nobody_listens_to_udp_and_osc_the_session_goes_on(start, bundle, kit, amp, free_port):
    pytest.importorskip("pythonosc", reason="no python-osc: pip install 'pretap[outputs]'")
    to = [f"outputs.{key}=:{free_port}" for key in ("udp", "osc")]
    child = start("serve", str(bundle), "--query", f"name={amp.name}", "--set", to[0], "--set", to[1])
    listener = kit.Listener()
    amp.wait_for_reader()
    amp.push(kit.eeg(200))
    listener.wait_for(is_last(amp), "the last verdict")
    assert child.interrupt() == 0
    assert "failed" not in child.said
    assert "dropped" not in child.said


def test_a_taken_port_and_another_network_are_said(start, bundle, amp):
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    child = start("serve", str(bundle), "--query", f"name={amp.name}", "--set", f"outputs.websocket=:{port}")
    assert child.wait() == 2
    assert re.search(f"cannot listen on 127.0.0.1 port {port}: .* Each decoder needs a port of its own", child.said)
    taken.close()
    open_to_all = start("serve", str(bundle), "--query", f"name={amp.name}", "--set", "outputs.websocket=0.0.0.0:0")
    open_to_all.wait_for(r"ws://0\.0\.0\.0:\d+ \(WARNING: not this machine alone")
    nowhere = start("serve", str(bundle), "--query", f"name={amp.name}", "--set", "outputs.udp=no-such-host.invalid:1")
    assert nowhere.wait() == 2
    assert "outputs.udp = 'no-such-host.invalid:1': no such host" in nowhere.said


def test_a_missing_library_is_exit_9_with_the_command(start, bundle, tmp_path):
    for name in ("websockets", "pythonosc"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    for name, key in (("websockets", "websocket"), ("python-osc", "osc")):
        child = start("serve", str(bundle), "--set", f"outputs.{key}=:9876", env=python_path(tmp_path))
        assert child.wait() == 9
        assert f"outputs.{key} needs {name}, which is not installed. Run: pip install 'pretap[outputs]'" in child.said


def test_without_outputs_nothing_of_them_is_loaded(start, bundle, kit, amp):
    child = start("serve", str(bundle), "--query", f"name={amp.name}", python=("-X", "importtime"))
    amp.wait_for_reader()
    child.wait_for("-> RUNNING")
    assert child.interrupt() == 0
    loaded = set(re.findall(r"\| +([\w.]+)$", child.said, re.MULTILINE))
    assert "pretap_realtime.send.outlet_sink" in loaded
    assert not {"pretap_realtime.send.network", "asyncio", "websockets", "pythonosc", "ssl"} & loaded
