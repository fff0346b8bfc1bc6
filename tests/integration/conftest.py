"""Real processes on real LSL, in the session that tests/conftest.py isolates."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pretap_realtime import lsl
from pretap_realtime.messages import Message

WITHIN_S = 30.0


def until(condition: Callable[[], object], what: str, within_s: float = WITHIN_S):
    """Wait for a condition; gives what it gave."""
    deadline_s = lsl.local_clock() + within_s
    tick = threading.Event()
    while not (result := condition()):
        assert lsl.local_clock() < deadline_s, f"{what}: not within {within_s:g} s"
        tick.wait(0.02)
    return result


class Child:
    """A pretap command as a real process."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], python: tuple[str, ...], **options) -> None:
        self.log = folder / f"{secrets.token_hex(4)}.log"
        with self.log.open("wb") as file:
            command = [sys.executable, *python, "-m", "pretap", *arguments]
            options = {"stdin": subprocess.DEVNULL} | options  # of subprocess.Popen
            self.process = subprocess.Popen(command, stdout=file, stderr=file, **options)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str) -> str:
        def look():
            found = re.search(pattern, self.said)
            assert found or self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
            return found

        return until(look, f"{pattern!r} in:\n{self.said}").group()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)

    def wait(self, within_s: float = WITHIN_S) -> int:
        return self.process.wait(within_s)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Child]]:
    """Start ``pretap ARGUMENTS`` as a process; it ends with the test."""
    children: list[Child] = []

    def start(*arguments: str, python: tuple[str, ...] = (), **options) -> Child:
        children.append(Child(tmp_path, arguments, python, **options))
        return children[-1]

    yield start
    for child in children:
        child.end()


class Amplifier:
    """A real outlet whose samples the test decides; stamps are ``t0 + n / fs``, t0 is when its clock was started."""

    def __init__(
        self,
        *,
        labels=("C3", "Cz", "C4", "O1"),
        sfreq_hz=100.0,
        unit="microvolts",
        format="float32",  # noqa: A002
        name=None,
        kind="EEG",
        source_id="",
        n_channels=None,
    ):
        self.name = name or f"amp-{secrets.token_hex(4)}"
        self.sfreq_hz = sfreq_hz
        labels = labels or [""] * n_channels
        self.outlet = lsl.Outlet(
            self.name, kind, labels=labels, format=format, sfreq_hz=sfreq_hz, unit=unit, source_id=source_id
        )
        self.n = 0
        self.start_clock()

    def start_clock(self):
        """Let the first sample be taken now: what is pushed long after that is old when it comes."""
        self.t0_s = lsl.local_clock()

    def stamps(self, n):
        return self.t0_s + np.arange(self.n, self.n + n) / self.sfreq_hz

    def push(self, x):
        """Send samples ten at a time: half a second of them at once would be an overload, and hops would be skipped."""
        pause = threading.Event()
        for start in range(0, len(x), 10):
            piece = x[start : start + 10]
            self.outlet.push_chunk(piece, self.stamps(len(piece)))
            self.n += len(piece)
            pause.wait(0.005)

    def skip(self, n):
        """Lose n samples."""
        self.n += n

    def wait_for_reader(self):
        until(self.outlet.has_consumers, f"a reader of {self.name}")


class Listener:
    """A real inlet on the marker stream of a service."""

    def __init__(self, name: str = "pretap-markers") -> None:
        found = until(lambda: lsl.find({"name": name}), f"the stream {name}")
        self._inlet = lsl.MarkerInlet(found[0])
        self._inlet.open()
        self.texts: list[str] = []
        self.stamps: list[float] = []

    def poll(self) -> None:
        for cue in self._inlet.pull(0.02):
            self.texts.append(cue.text)
            self.stamps.append(cue.t_s)

    @property
    def messages(self) -> list[Message]:
        self.poll()
        return [msgspec.json.decode(text, type=Message) for text in self.texts]

    def verdicts(self) -> list[Message]:
        return [m for m in self.messages if m.type == "verdict"]

    def wait_for(self, condition: Callable[[Message], bool], what: str) -> Message:
        return until(lambda: next((m for m in self.messages if condition(m)), None), what)


@pytest.fixture
def bundle(tmp_path, make_decoder) -> Path:
    """A bundle for 4 channels at 100 Hz with windows of 50 samples."""
    path = tmp_path / "random.safetensors"
    make_decoder(path=path)
    return path


def eeg(n, n_channels=4, seed=0):
    return np.random.default_rng(seed).normal(0, 20, (n, n_channels)).astype(np.float32)


@pytest.fixture(scope="session")
def kit():
    """What the tests of this folder share (pytest's importlib mode gives test modules no common import)."""

    class Kit:
        pass

    Kit.Amplifier, Kit.Listener, Kit.eeg, Kit.until = Amplifier, Listener, staticmethod(eeg), staticmethod(until)
    return Kit
