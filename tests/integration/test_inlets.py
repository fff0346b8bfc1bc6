"""Inlets: samples that came before a source ended are returned, though liblsl reports none when it notices the end.

Samples that are still in liblsl's buffer when the source ends are lost: liblsl returns nothing more of that source.
"""

from __future__ import annotations

import threading

import pytest

from pretap_realtime.lsl.description import make_inlet
from pretap_realtime.lsl.inlets import Inlet
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.signal.chunk import Chunk
from real_lsl import resolve

COMES_S = 2.0  # a sample is there within a millisecond, on a busy machine somewhat later


def values(chunk: Chunk) -> list[list[float]]:
    """Return the values of a chunk, which is valid until the next pull only."""
    return chunk.x_uv.tolist()


@pytest.fixture
def amp(kit):
    return kit.Amplifier()


@pytest.fixture
def inlet(amp, kit):
    inlet = Inlet(resolve(amp.name))
    inlet.open(order=range(4), factors=[1] * 4)
    amp.wait_for_reader()
    return inlet


def test_samples_that_were_pulled_before_the_source_ended_are_all_there(amp, inlet, kit):
    x = kit.eeg(10)
    amp.push(x)
    received: list[list[float]] = []
    while len(received) < len(x):
        chunk = inlet.pull(10.0)
        assert chunk is not None
        received += values(chunk)
    amp.end()
    with pytest.raises(ConnectionLostError):
        inlet.pull(10.0)
    assert received == x.tolist()


def test_a_pull_that_waits_for_more_samples_than_come_returns_those_that_came_before_the_source_ended(amp, inlet, kit):
    x = kit.eeg(10)

    def send_and_end():
        amp.push(x)
        threading.Event().wait(COMES_S)  # nothing tells when the pull below has taken them
        amp.end()

    sender = threading.Thread(target=send_and_end)
    sender.start()
    received = values(inlet.pull(60.0, 25))
    sender.join()
    with pytest.raises(ConnectionLostError):
        inlet.pull(10.0)
    assert received == x.tolist()


def test_an_inlet_that_liblsl_has_destroyed_can_still_be_closed(amp, kit):
    native = make_inlet(resolve(amp.name), buffer_s=1)
    native.open_stream(timeout=60)
    amp.wait_for_reader()
    native.__del__()
    native.close_stream()
    kit.until(lambda: not amp.outlet.has_consumers(), "the end of the inlet")
