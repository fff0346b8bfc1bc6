"""Real processes, outlets and inlets. Used by the tests of `integration`, `faults` and `browser`.

Every wait has a limit, but only a test that hangs should reach it: the limits leave room for a busy machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pylsl
from pylsl.lib import lib

from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import MarkerInlet
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.send.messages import Message

WITHIN_S = 120.0
LEAD_S = 60.0  # see `Amplifier`
SPEED = 2  # see `Amplifier.push`
LABELS = ("C3", "Cz", "C4", "O1")


def until(condition: Callable[[], object], what: str | Callable[[], str], within_s: float = WITHIN_S):
    """Wait for a condition, and return its value."""
    deadline_s = local_clock() + within_s
    tick = threading.Event()
    while not (result := condition()):
        if local_clock() > deadline_s:
            raise AssertionError(f"not within {within_s:g} s: {what() if callable(what) else what}")
        tick.wait(0.02)
    return result


def resolve(name: str, within_s: float = WITHIN_S) -> StreamInfo:
    """Wait for the stream with this name."""
    found = StreamResolver({"name": name}).wait(within_s)
    assert found, f"not within {within_s:g} s: the stream {name!r}"
    return found[0]


def streams_named(prefix: str) -> list[StreamInfo]:
    """Return the streams whose names start with `prefix`, after half a second in which they can answer."""
    return [stream for stream in StreamResolver().streams(gather_s=0.5) if stream.name.startswith(prefix)]


def eeg(n, n_channels=4, seed=0):
    """Return noise of 20 uV: (n, n_channels)."""
    return np.random.default_rng(seed).normal(0, 20, (n, n_channels)).astype(np.float32)


def python_path(folder: Path) -> dict[str, str]:
    """Return an environment in which modules of a folder come before all others."""
    before = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), before] if before else [str(folder)])}


class Child:
    """A command as a real process; `said` is its stdout and stderr."""

    def __init__(self, folder: Path, command: list[str], **options) -> None:
        self.log = folder / f"{secrets.token_hex(4)}.log"
        with self.log.open("wb") as file:
            options = {"stdin": subprocess.DEVNULL} | options  # of subprocess.Popen
            self.process = subprocess.Popen(command, stdout=file, stderr=file, **options)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, within_s: float = WITHIN_S) -> str:
        """Wait for output that matches the pattern, and return the match."""

        def look():
            found = re.search(pattern, self.said)
            assert found or self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
            return found

        return until(look, lambda: f"{pattern!r} in:\n{self.said}", within_s).group()

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Send SIGINT or another signal that ends it, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def wait(self, within_s: float = WITHIN_S) -> int:
        return self.process.wait(within_s)

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()


class Feeder(Child):
    """An amplifier as a process of its own, which sends `sfreq_hz` samples a second from its start; see feeder.py."""

    def __init__(self, folder: Path, spec: dict, **options) -> None:
        self.count = folder / f"{secrets.token_hex(4)}.count"
        script = Path(__file__).parent / "faults" / "feeder.py"
        super().__init__(
            folder, [sys.executable, str(script), json.dumps(spec | {"count": str(self.count)})], **options
        )
        self.name: str = spec["name"]

    @property
    def n_sent(self) -> int:
        """How many samples it has sent; still true after its death."""
        return int(self.count.read_text() or 0) if self.count.exists() else 0


class Mute:
    """A peer that answers queries for a stream of its name, accepts connections, and then sends nothing.

    It hears unicast queries only, which liblsl sends 0.1 s after the multicast ones: outlets answer before it.
    """

    def __init__(self, name: str) -> None:
        config = Path(os.environ["LSLAPICFG"]).read_text()
        base = int(re.search(r"BasePort = (\d+)", config)[1])
        session = re.search(r"SessionID = (\S+)", config)[1]
        self._name = name.encode()
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", base + 63))  # the last port of those where an outlet may be
        port = self._tcp.getsockname()[1]
        self._answer = (
            f"<?xml version='1.0'?><info><name>{name}</name><type>EEG</type><channel_count>4</channel_count>"
            "<channel_format>float32</channel_format><source_id>mute</source_id><nominal_srate>100</nominal_srate>"
            f"<version>1.10</version><created_at>1</created_at><uid>{secrets.token_hex(8)}</uid>"
            f"<session_id>{session}</session_id><hostname>{socket.gethostname()}</hostname>"
            f"<v4address>127.0.0.1</v4address><v4data_port>{port}</v4data_port><v4service_port>{base + 63}"
            "</v4service_port><v6address/><v6data_port>0</v6data_port><v6service_port>0</v6service_port><desc/></info>"
        ).encode()
        self._udp.settimeout(0.1)
        self._ends = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends:
            with contextlib.suppress(TimeoutError):
                asked, (host, _) = self._udp.recvfrom(65536)
                lines = asked.split(b"\r\n")
                if lines[0] == b"LSL:shortinfo" and self._name in lines[1]:
                    port, number = lines[2].split()
                    self._udp.sendto(number + b"\r\n" + self._answer, (host, int(port)))

    def end(self) -> None:
        self._ends = True
        self._thread.join()
        self._udp.close()
        self._tcp.close()


class Amplifier:
    """A real outlet whose samples the test decides; their timestamps are ``t0 + n / fs``.

    t0 lies `LEAD_S` after the start of its clock. The service withholds a decision on samples that are more than a
    second old, and a busy machine can need longer than that from one line of a test to the next.

    A channel labelled ``COUNTER`` carries the number of each sample, lost ones included.
    """

    def __init__(
        self,
        *,
        labels=LABELS,
        sfreq_hz=100.0,
        unit="microvolts",
        format="float32",  # noqa: A002
        name=None,
        kind="EEG",
        source_id="",
        n_channels=None,
        facts=None,
    ):
        self.name = name or f"amp-{secrets.token_hex(4)}"
        self.sfreq_hz = sfreq_hz
        labels = labels or [""] * n_channels
        self.outlet = Outlet(
            self.name,
            kind,
            labels=labels,
            format=format,
            sfreq_hz=sfreq_hz,
            unit=unit,
            source_id=source_id,
            facts=facts,
        )
        self._counter = labels.index("COUNTER") if "COUNTER" in labels else None
        self.n = 0  # the next sample's number: sent and skipped ones
        self.n_sent = 0
        self._set_s = 0.0
        self.start_clock()

    def start_clock(self, *, lead_s=LEAD_S):
        """Start the clock again: the next sample's timestamp lies `lead_s` after now."""
        self._lead_s = lead_s
        self.t0_s = local_clock() + lead_s - (self.n / self.sfreq_hz if self.sfreq_hz else 0.0)

    def set_clock(self, step_s):
        """Set the clock of the timestamps, as happens to computers."""
        self.t0_s += step_s
        self._set_s += step_s

    def stamps(self, n):
        return self.t0_s + np.arange(self.n, self.n + n) / self.sfreq_hz

    def push(self, x, *, n_chunk=10, stamps_s=None, one_stamp=False, speed=SPEED, real_time=False):
        """Send samples `n_chunk` at a time, at `speed` times the stream's rate.

        Half a second of them at once would be an overload, and decisions be skipped. At twice the rate that takes a
        service that stands still for a quarter of a second.

        `stamps_s` (n,) replaces the timestamps. `one_stamp` sends only the last one of each chunk, and the receiver
        deduces the others. `real_time` sends each chunk when its last sample is due, by a clock without a lead.
        """
        if real_time and self._lead_s:
            self.start_clock(lead_s=0.0)
        pause = threading.Event()
        for start in range(0, len(x), n_chunk):
            piece = np.array(x[start : start + n_chunk])
            t_s = self.stamps(len(piece)) if stamps_s is None else np.asarray(stamps_s[start : start + n_chunk])
            if self._counter is not None:
                piece[:, self._counter] = np.arange(self.n, self.n + len(piece))
            chunk_s = len(piece) / self.sfreq_hz if self.sfreq_hz else 0.0
            due_s = t_s[-1] - self._set_s - local_clock() if real_time else max(chunk_s / speed, 0.005)
            pause.wait(max(0.0, due_s))
            if one_stamp:
                self._push_with_one_stamp(piece, float(t_s[-1]))
            else:
                self.outlet.push_chunk(piece, t_s)
            self.n += len(piece)
            self.n_sent += len(piece)

    def _push_with_one_stamp(self, x, t_s):
        """Push samples with the timestamp of the last one only, which `Outlet` never does."""
        x = np.ascontiguousarray(x, np.float32)
        lib.lsl_push_chunk_ftp(
            ctypes.c_void_p(self.outlet.native[1]),
            x.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_ulong(x.size),
            ctypes.c_double(t_s),
            ctypes.c_int(1),
        )

    def window(self, x, t_s, *, n_window=50):
        """Return the window of the samples x, the first that were sent, that ends at a timestamp."""
        end = round((t_s - self.t0_s) * self.sfreq_hz) + 1
        return x[end - n_window : end]

    def skip(self, n):
        """Lose the next n samples."""
        self.n += n

    def wait_for_reader(self):
        until(self.outlet.has_consumers, f"a reader of {self.name}")

    def end(self):
        self.outlet = None


class Listener:
    """A real inlet on the marker stream of a service."""

    def __init__(self, name: str = "pretap-markers") -> None:
        self._inlet = MarkerInlet(resolve(name))
        self._inlet.start()
        self.texts: list[str] = []
        self.stamps: list[float] = []
        self.arrived: list[float] = []

    def poll(self) -> None:
        for cue in self._inlet.pull(0.02):
            self.texts.append(cue.text)
            self.stamps.append(cue.t_s)
            self.arrived.append(local_clock())

    @property
    def messages(self) -> list[Message]:
        self.poll()
        return [msgspec.json.decode(text, type=Message) for text in self.texts]

    def verdicts(self) -> list[Message]:
        return [m for m in self.messages if m.type == "verdict"]

    def wait_for(self, condition: Callable[[Message], bool], what: str, within_s: float = WITHIN_S) -> Message:
        return until(
            lambda: next((m for m in self.messages if condition(m)), None),
            lambda: f"{what}, in:\n" + "\n".join(self.texts[-30:]),
            within_s,
        )

    def wait_for_state(self, state: str, *, after: int = -1, within_s: float = WITHIN_S) -> Message:
        """Wait for the message that the service has entered a state, with a number above `after`."""
        return self.wait_for(lambda m: m.type == "state" and m.state == state and m.seq > after, state, within_s)


class Numbers:
    """A real inlet on the codes or the probabilities of a service, with all `rows` and `stamps` it has received."""

    def __init__(self, name: str) -> None:
        self._inlet = pylsl.StreamInlet(resolve(name).info, recover=False)
        self._inlet.open_stream(timeout=WITHIN_S)
        self.rows: list[list[float]] = []
        self.stamps: list[float] = []

    def poll(self) -> list[list[float]]:
        rows, stamps = self._inlet.pull_chunk(timeout=0.02, min_samples=1)
        self.rows += rows
        self.stamps += stamps
        return self.rows
