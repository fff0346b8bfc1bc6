"""The search for the one stream of a service, and its connection, on real LSL."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pretap.bundle.file import load
from pretap.config.serve import CueConfig, ServeConfig, StreamConfig
from pretap.errors import StreamRefusedError
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.serve.connection import Connector, start_searches
from real_lsl import Mute, resolve


def config_of(amp, cue_query=""):
    return ServeConfig(stream=StreamConfig(query=f"name={amp.name}"), cue=CueConfig(query=cue_query))


@pytest.fixture
def connector(bundle):
    """Make a connector whose searches start at once; `said` are its messages and ``VALIDATING``."""

    def make(config, said=None):
        said = [] if said is None else said
        connect = Connector(load(bundle), config, searches=start_searches(config), say=said.append)
        return lambda: connect(lambda: said.append("VALIDATING"))

    return make


def connected(connect, kit):
    return kit.until(connect, "the connection")


def test_samples_are_read_from_the_moment_the_first_stream_answers(connector, kit):
    amp, said, sent = kit.Amplifier(), [], kit.eeg(30)
    sent_s = []

    def feed():
        amp.wait_for_reader()
        amp.push(sent, n_chunk=30)
        sent_s.append(local_clock())

    feeder = threading.Thread(target=feed)
    feeder.start()
    connection = connected(connector(config_of(amp), said), kit)
    feeder.join()
    assert said[0] == "VALIDATING"
    np.testing.assert_array_equal(connection.pull(60.0, 30).x_uv, sent)
    connection.close()
    kit.until(lambda: not amp.outlet.has_consumers(), "the end of the inlet")


def test_the_eeg_stream_is_not_opened_before_the_cue_stream(connector, kit):
    amp, said = kit.Amplifier(), []
    connect = connector(config_of(amp, cue_query="name=no-such-cues"), said)
    kit.until(lambda: connect() or said, "the EEG stream")
    assert [line.partition("; ")[2] for line in said] == ["no cue stream yet: name=no-such-cues"]
    assert not amp.outlet.has_consumers()


def test_two_streams_are_refused_and_neither_stays_open(connector, kit):
    amp = kit.Amplifier()
    twin = kit.Amplifier(name=amp.name, source_id="another")
    with pytest.raises(StreamRefusedError, match="2 streams answer"):
        connected(connector(config_of(amp)), kit)
    kit.until(lambda: not (amp.outlet.has_consumers() or twin.outlet.has_consumers()), "the end of all inlets")


def test_two_streams_are_refused_though_the_second_answers_later(connector, kit, ending):
    amp = kit.Amplifier()
    resolve(amp.name)
    ending.append(Mute(amp.name))
    with pytest.raises(StreamRefusedError, match="2 streams answer"):
        connected(connector(config_of(amp)), kit)


@pytest.mark.parametrize("same_port", [True, False])
def test_a_stream_that_has_ended_is_no_second_one(connector, kit, same_port):
    amp = kit.Amplifier()
    connect = connector(config_of(amp))
    resolve(amp.name)  # so the connector has found it, too
    if same_port:
        amp.end()
    successor = kit.Amplifier(name=amp.name, source_id="successor")
    amp.end()

    def once_found():
        try:
            return connect()
        except ConnectionLostError:
            return None

    connection = kit.until(once_found, "the connection")
    assert connection.description.source_id == "successor"
    connection.close()
    kit.until(lambda: not successor.outlet.has_consumers(), "the end of the inlet")


def test_a_stream_that_does_not_describe_itself_is_lost_while_it_is_validated(connector, kit, ending):
    mute = Mute("mute-stream")
    ending.append(mute)
    said = []
    connect = connector(ServeConfig(stream=StreamConfig(query="name=mute-stream")), said)
    resolve("mute-stream")
    for _ in range(2):  # opened before a second stream could have answered, then validated
        with pytest.raises(ConnectionLostError, match="no description"):
            connected(connect, kit)
    assert said[0] == "VALIDATING"


def test_a_stream_that_returns_is_connected_again_and_what_changed_is_told(connector, kit):
    amp = kit.Amplifier(source_id="before")
    connect = connector(config_of(amp))
    connection = connected(connect, kit)
    amp.end()
    with pytest.raises(ConnectionLostError):
        connection.pull(60.0)
    connection.close()
    assert connect() is None
    kit.Amplifier(name=amp.name, source_id="after")
    connection = connected(connect, kit)
    assert connection.changed == "not as before: source_id 'before', now 'after'"
    assert connection.newcomers() == []
    connection.close()


def test_a_second_stream_that_comes_later_is_announced_once(connector, kit):
    amp = kit.Amplifier()
    connection = connected(connector(config_of(amp)), kit)
    assert connection.newcomers() == []
    kit.Amplifier(name=amp.name, source_id="later")
    (line,) = kit.until(connection.newcomers, "the announcement")
    assert line.startswith("another stream answers to stream.query: ")
    assert "source_id 'later'" in line
    assert connection.newcomers() == []
    connection.close()


@pytest.mark.parametrize(
    "spec, says",
    [
        ({"format": "string", "labels": ("text",), "sfreq_hz": 0.0}, "carries string values"),
        ({"n_channels": 4097, "labels": None, "sfreq_hz": 1.0}, "4097 channels are too many"),
        ({"sfreq_hz": 2e6}, "a rate of 2e"),
    ],
    ids=["text", "channels", "rate"],
)
def test_a_stream_that_cannot_be_an_amplifier_is_refused_and_not_left_open(connector, kit, spec, says):
    amp = kit.Amplifier(**spec)
    with pytest.raises(StreamRefusedError, match=says):
        connected(connector(config_of(amp)), kit)
    kit.until(lambda: not amp.outlet.has_consumers(), "the end of the inlet")


def test_a_bundle_that_is_missing_opens_no_stream(start, kit):
    amp = kit.Amplifier()
    child = start("serve", "no-such-bundle", "--query", f"name={amp.name}")
    assert child.wait() == 6
    assert "no-such-bundle" in child.said
    assert not amp.outlet.has_consumers()
