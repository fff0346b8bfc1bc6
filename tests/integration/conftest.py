"""Real processes on real LSL, in the session that tests/conftest.py isolates."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from real_lsl import Amplifier, Child, Listener, eeg, until


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Child]]:
    """Start ``pretap ARGUMENTS`` as a process; it ends with the test."""
    children: list[Child] = []

    def start(*arguments: str, python: tuple[str, ...] = (), **options) -> Child:
        children.append(Child(tmp_path, [sys.executable, *python, "-m", "pretap", *arguments], **options))
        return children[-1]

    yield start
    for child in children:
        child.end()


@pytest.fixture
def bundle(tmp_path, make_decoder) -> Path:
    """A bundle for 4 channels at 100 Hz with windows of 50 samples."""
    path = tmp_path / "random.safetensors"
    make_decoder(path=path)
    return path


@pytest.fixture
def kit():
    """What the tests of this folder share; its amplifiers end with the test, whoever still refers to them."""
    amplifiers: list[Amplifier] = []

    def amplifier(**spec) -> Amplifier:
        amplifiers.append(Amplifier(**spec))
        return amplifiers[-1]

    class Kit:
        pass

    Kit.Amplifier, Kit.Listener = staticmethod(amplifier), Listener
    Kit.eeg, Kit.until = staticmethod(eeg), staticmethod(until)
    yield Kit
    for each in amplifiers:
        each.end()


@pytest.fixture
def ending() -> Iterator[list]:
    """Holds everything that must end with the test."""
    things: list = []
    yield things
    for thing in reversed(things):
        thing.end()


@pytest.fixture
def free_port() -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def recorder(start, tmp_path, kit):
    """Start a recorder on streams of these outlets, and wait until it reads them all."""

    def begin(*sources, more=(), out=tmp_path / "out.xdf", **options):
        queries = [each for source in sources for each in ("--query", f"name={source.name}")]
        child = start("record", str(out), *queries, *more, **options)
        for source in sources:
            child.wait_for(f"recording '{source.name}'")
        return child

    begin.path = tmp_path / "out.xdf"
    return begin
