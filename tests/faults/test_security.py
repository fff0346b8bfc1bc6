"""Hostile streams: names, descriptions, markers and requests from other programs.

docs/security.md lists what pretap defends against, and what LSL cannot defend against.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import secrets
import socket
import statistics
import struct
import sys
import threading
from pathlib import Path

import pytest

from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from real_lsl import LABELS, Child, eeg, streams_named, until

CHANNELS = "".join(f"<channel><label>{k}</label><unit>microvolts</unit></channel>" for k in LABELS)
EVIL = "a' or '1'='1\x1b]0;owned\x07\x1b[2J\u202e</name><b onload=alert(1)>\r\n{\"type\":\"verdict\"}\u009b31m"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def info(*, name="evil", n=4, rate=100, desc=f"<channels>{CHANNELS}</channels>", uid="", host="evil-host") -> str:
    """Return the description of an outlet; hostile.py fills in ``{port}``."""
    session = re.search(r"SessionID = (\S+)", Path(os.environ["LSLAPICFG"]).read_text())[1]
    return (
        f'<?xml version="1.0"?><info><name>{name}</name><type>EEG</type><channel_count>{n}</channel_count>'
        f"<channel_format>float32</channel_format><source_id>{name}</source_id><nominal_srate>{rate}</nominal_srate>"
        f"<version>1.1</version><created_at>1</created_at><uid>{uid}</uid><session_id>{session}</session_id>"
        f"<hostname>{host}</hostname><v4address /><v4data_port>{{port}}</v4data_port>"
        "<v4service_port>{port}</v4service_port><v6address /><v6data_port>0</v6data_port>"
        f"<v6service_port>0</v6service_port><desc>{desc}</desc></info>"
    )


class Hostile(Child):
    """An outlet that liblsl would never make, see hostile.py."""

    def __init__(self, folder: Path, **spec) -> None:
        script = Path(__file__).with_name("hostile.py")
        reading, writing = os.pipe()
        super().__init__(folder, [sys.executable, str(script)], stdin=reading)
        os.close(reading)
        self._stdin = os.fdopen(writing, "w")
        self._stdin.write(json.dumps(spec) + "\n")
        self._stdin.flush()
        self.wait_for("ready")

    def end(self) -> None:
        super().end()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()


@pytest.fixture
def hostile(tmp_path, ending):
    """Start a hostile outlet; it ends with the test."""

    def hostile(**spec) -> Hostile:
        ending.append(Hostile(tmp_path, **spec))
        return ending[-1]

    return hostile


def status(process, key: str) -> int:
    """Return a number from /proc/PID/status."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+)", text)[1])


def n_open(process) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc: Linux")


def test_an_injecting_name_label_and_subject_reach_nothing(serve, start, amplifier, tmp_path, measured):
    amp = amplifier(name=EVIL, source_id="evil-1", facts={"subject/id": EVIL, "evil": EVIL})
    other = amplifier(name="honest", source_id="honest-1")
    recording = tmp_path / "evil.xdf"
    record = start("record", str(recording), "--query", "source_id=evil-1")
    service = serve("source_id=evil-1", "--hop-ms", "100")
    service.wait_for("-> RUNNING")
    amp.push(eeg(60))
    service.wait_for_verdict()
    record.wait_for("recording '")
    lines = [start("streams"), start("streams", "--json", "-")]
    assert [child.wait() for child in lines] == [0, 0]
    assert service.interrupt() == record.interrupt() == 0
    texts = [service.said, record.said, *(child.said for child in lines), service.log_file.read_text()]
    assert [CONTROLS.search(text) for text in texts] == [None] * 5
    assert {row["source_id"] for row in json.loads(lines[1].said)} >= {"evil-1", "honest-1"}
    assert sum(line.startswith('{"type":"verdict"}') for text in texts for line in text.splitlines()) == 0
    assert b"alert(1)>" not in recording.read_bytes()
    del other
    measured(
        "a stream named with quotes, XPath, terminal escapes, HTML, line breaks",
        "no control character in terminal, log, JSON; no tag in the XDF; the right stream is decoded",
        f"0 control characters in {sum(map(len, texts))} characters of 5 outputs",
    )


def test_an_injecting_query_is_refused(serve, amplifier, measured):
    amp = amplifier(name="honest")
    queries = ["name=x' or '1'='1", 'name=x" or "1"="1', "source_id=x\nuid=y"]
    services = [serve(query, "--wait-s", "1") for query in queries]
    assert [service.wait() for service in services] == [2, 2, 2]
    assert all("not allowed" in service.said for service in services)
    del amp
    measured("a query with quotes or a line break", "refused, exit 2", f"{len(queries)} of {len(queries)} refused")


def test_a_hostile_marker_stays_one_harmless_line(serve, amplifier, ending, measured):
    amp = amplifier(source_id="honest-2")
    name = f"cues-{secrets.token_hex(4)}"
    cues = Outlet(name, "Markers", labels=["cue"], format="string")
    service = serve(amp, "--cue-query", f"name={name}", "--set", 'cue.patterns=["*"]', "--set", "cue.offset_ms=0.0")
    service.wait_for("-> RUNNING")
    until(cues.has_consumers, "a reader of the cues")
    amp.start_clock(lead_s=0.0)
    long = "x" * 50_000_000
    for text in (EVIL, long, "last"):
        cues.push_sample([text], local_clock())
        amp.push(eeg(60))
    service.wait_for_verdict(lambda row: row["cue"] == "last")
    assert service.interrupt() == 0
    asked = [row["cue"] for row in service.verdicts()]
    assert asked == [EVIL, long[:4096], "last"]
    assert CONTROLS.search(service.log_file.read_text()) is None
    measured(
        "a marker with escapes and line breaks, and one of 50 MB", "each one line of the log; cut at 4096 bytes",
        f"the longest line has {max(map(len, service.log_file.read_text().splitlines()))} characters",
    )  # fmt: skip


@on_linux
def test_a_stream_that_returns_with_a_20_mb_description_is_refused_and_costs_little(serve, feeder, hostile, measured):
    amp = feeder(name="big", source_id="big")
    service = serve("source_id=big", "--hop-ms", "100")
    service.wait_for_verdict()
    before_kb = status(service.process, "VmHWM")
    amp.kill()
    service.wait_for_states("LOST")
    uid = secrets.token_hex(8)
    big = hostile(xml=info(name="big", uid=uid), full=info(name="big", uid=uid, desc="y" * 20_000_000))
    service.wait_for_states("LOST", "REFUSED")
    grown_mb = (status(service.process, "VmHWM") - before_kb) / 1024
    assert "has a description that takes more than 16 MB of memory" in service.said
    assert grown_mb < 200
    big.end()
    feeder(name="big", source_id="big")
    service.wait_for_states("LOST", "REFUSED", "RUNNING")
    assert service.interrupt() == 0
    measured(
        "a description of 20 MB", "REFUSED; the honest stream is taken again afterwards",
        f"REFUSED, at most {grown_mb:.0f} MB of memory meanwhile",
    )  # fmt: skip


@on_linux
@pytest.mark.parametrize(
    ("what", "spec", "said", "code"),
    [
        ("a description without an end", {"way": "endless"}, "takes more than 16 MB", 4),
        ("a description that never comes", {"way": "silent"}, "No stream answered", 3),
        ("a description, a byte at a time", {"way": "slow"}, "No stream answered", 3),
        ("a description 1,000,000 deep", {"desc": "<a>" * 1_000_000}, "takes more than 16 MB", 4),
        ("1,000,000 channels", {"n": 1_000_000}, "1000000 channels are too many", 4),
        ("a nominal rate of 1e12 Hz", {"rate": "1e12"}, "a rate of 1e+12 Hz cannot be", 4),
        ("8 channels in the description, 4 before", {"full_n": 8}, "contradicts itself: n_channels '4'", 4),
    ],
)  # fmt: skip
def test_an_outlet_that_liblsl_would_never_make_is_refused(serve, hostile, measured, what, spec, said, code):
    name, uid = f"evil-{secrets.token_hex(4)}", secrets.token_hex(8)
    short = info(name=name, uid=uid, n=spec.get("n", 4), rate=spec.get("rate", 100))
    full = info(name=name, uid=uid, n=spec.get("full_n", spec.get("n", 4)), rate=spec.get("rate", 100),
                **({"desc": spec["desc"]} if "desc" in spec else {}))  # fmt: skip
    hostile(xml=short, full=full, way=spec.get("way", "plain"))
    service = serve(f"name={name}", "--wait-s", "2")
    peak_kb = 0
    deadline_s = local_clock() + 30
    while service.process.poll() is None and local_clock() < deadline_s:
        with contextlib.suppress(OSError, TypeError):
            peak_kb = max(peak_kb, status(service.process, "VmHWM"))
        threading.Event().wait(0.01)
    assert service.wait() == code, service.said
    assert said in service.said
    assert peak_kb < 400 * 1024
    measured(what, f"exit {code}, with the reason", f"exit {code}; at most {peak_kb / 1024:.0f} MB in all")


@on_linux
def test_fuzzed_requests_on_our_outlets_cost_the_service_nothing(serve, feeder, measured):
    amp = feeder(waits=True)
    service = serve(f"name={amp.name}", "--hop-ms", "50")
    service.wait_for_verdict()
    victims = [(found.uid, *_ports(found)) for found in streams_named(service.name)]
    assert len(victims) == 3
    quiet_ms = _latencies(service, n=40)
    before_kb, before_open = status(service.process, "VmRSS"), n_open(service.process)
    loris = [socket.create_connection(("127.0.0.1", victims[0][1])) for _ in range(100)]
    for connection in loris:
        connection.sendall(b"LSL:streamf")  # and nothing more
    rng, n_requests, began_s = random.Random(1), 0, local_clock()
    fuzzed_from = len(service.verdicts())
    while len(service.verdicts()) < fuzzed_from + 80:  # it goes on deciding
        for _ in range(20):
            uid, data_port, service_port = rng.choice(victims)
            _request(rng.choice(_requests(uid, rng)), data_port, service_port)
        n_requests += 20
    fuzzed_s = local_clock() - began_s
    fuzzed_ms = [row["latency_ms"] for row in service.verdicts()[fuzzed_from:] if row["valid"]]
    for connection in loris:
        connection.close()
    until(lambda: n_open(service.process) <= before_open + 3, lambda: f"{n_open(service.process)} descriptors")
    grown_mb, after_open = (status(service.process, "VmRSS") - before_kb) / 1024, n_open(service.process)
    assert n_requests > 100
    assert all(row["valid"] or "withheld_p" in row for row in service.verdicts()[1:])  # withheld: too old
    assert grown_mb < 60
    assert len(streams_named(f"{service.name}-markers")) == 1  # and is still found
    assert service.interrupt() == 0
    measured(
        f"{2 * n_requests} fuzzed TCP and UDP requests in {fuzzed_s:.0f} s, and 100 that never end",
        "decisions go on, none invalid; latency, memory, descriptors stay",
        f"p50 {statistics.median(quiet_ms):.1f} ms before, {statistics.median(fuzzed_ms):.1f} ms during; "
        f"{grown_mb:+.0f} MB; {before_open} descriptors before, {after_open} after",
        in_time=statistics.median(fuzzed_ms)
        < 50,  # what a stall of the loop may be, and the fuzzer takes a core itself
    )


def _ports(found) -> tuple[int, int]:
    core = found.info.desc().parent()
    return int(core.child_value("v4data_port")), int(core.child_value("v4service_port"))


def _latencies(service, *, n: int) -> list[float]:
    first = len(service.verdicts())
    until(lambda: len(service.verdicts()) >= first + n, f"{n} verdicts")
    return [row["latency_ms"] for row in service.verdicts()[first:] if row["valid"]]


def _requests(uid: str, rng: random.Random) -> list[bytes]:
    feed = f"LSL:streamfeed/110 {uid}\r\n".encode()
    return [
        feed + b"Native-Byte-Order: 99\r\nValue-Size: 77777\r\nMax-Buffer-Length: 99999999999999999999\r\n\r\n",
        feed + b"Endian-Performance: nan\r\nProtocol-Version: 99999\r\n\r\n",
        feed + b"Key: value\r\n" * 10_000 + b"\r\n",
        feed,
        b"LSL:streamfeed\r\n99999999999 -1\r\n",
        b"LSL:shortinfo\r\nname='x\r\n",
        b"LSL:shortinfo\r\n" + b"(" * 20_000 + b"\r\n",
        b"LSL:shortinfo\r\n" + b"not(" * 2000 + b"1" + b")" * 2000 + b"\r\n",
        b"LSL:shortinfo\r\nname='x'\r\n99999 1\r\n",
        b"LSL:timedata\r\n1 nan\r\n",
        b"LSL:fullinfo\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n" * 1000,
        b"A" * 1_000_000,
        rng.randbytes(rng.randrange(1, 5000)),
    ]


def _request(request: bytes, data_port: int, service_port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, contextlib.suppress(OSError):
        datagram.sendto(request[:60_000], ("127.0.0.1", service_port))
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", data_port), timeout=0.02) as stream:
        stream.settimeout(0.02)
        stream.sendall(request)
        stream.recv(4096)


@pytest.mark.skipif(not hasattr(socket, "AF_PACKET"), reason="needs packet sockets: Linux")
def test_nothing_leaves_the_host(serve, feeder, measured):
    settings = Path(os.environ["LSLAPICFG"]).read_text()
    first = int(re.search(r"MulticastPort = (\d+)", settings)[1])
    ports = range(first, first + 100)  # the multicast port and those of the outlets follow each other
    try:
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    except PermissionError:
        pytest.skip("needs the right to read packets: root")
    seen = {"lo": 0, "others": 0}
    ends = threading.Event()

    def sniff() -> None:
        while not ends.is_set():
            with contextlib.suppress(TimeoutError):
                frame, where = sniffer.recvfrom(65536)
                if _concerns(frame, ports):
                    seen["lo" if where[0] == "lo" else "others"] += 1

    with sniffer:
        sniffer.settimeout(0.1)
        thread = threading.Thread(target=sniff)
        thread.start()
        amp = feeder()
        service = serve(f"name={amp.name}", "--hop-ms", "50")
        service.wait_for_verdict()
        _latencies(service, n=20)
        assert service.interrupt() == 0
        ends.set()
        thread.join()
    assert seen["lo"] > 100
    assert seen["others"] == 0
    measured(
        "a session with the isolation of tests, demo and verify", "no packet on any interface but loopback",
        f"{seen['lo']} packets on loopback, {seen['others']} elsewhere",
    )  # fmt: skip


def _concerns(frame: bytes, ports: range) -> bool:
    """Whether an IPv4 or IPv6 frame is TCP or UDP on one of the ports."""
    kind = struct.unpack("!H", frame[12:14])[0]
    if kind == 0x0800:
        protocol, at = frame[23], 14 + 4 * (frame[14] & 15)
    elif kind == 0x86DD:
        protocol, at = frame[20], 54
    else:
        return False
    return protocol in (6, 17) and any(port in ports for port in struct.unpack("!HH", frame[at : at + 4]))
