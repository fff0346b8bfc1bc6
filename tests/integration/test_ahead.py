"""The stream is open before numpy is loaded: what liblsl is asked through ctypes, and `lsl` takes over."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pylsl
import pytest

from pretap.bundle.file import load
from pretap.config.serve import ServeConfig, StreamConfig
from pretap.errors import StreamRefusedError
from pretap_realtime.lsl import library as lsl
from pretap_realtime.lsl.ahead import Ahead
from pretap_realtime.serve.connection import Connector, Looks

LATER_S = 5.0  # for the answers of several outlets; one answers at once


def config_of(amp, **stream) -> ServeConfig:
    return ServeConfig(stream=StreamConfig(query=f"name={amp.name}", **stream))


def connect(bundle, config, ahead):
    return Connector(load(bundle), config, looks=Looks(config, ahead=ahead), say=lambda _: None)(lambda: None)


def test_what_comes_from_the_look_on_is_read(bundle, kit):
    amp = kit.Amplifier()
    config = config_of(amp)
    ahead = Ahead(config.stream.query, opens=True)
    ahead.look(LATER_S)
    amp.wait_for_reader()
    sent = kit.eeg(30)
    amp.push(sent)
    connection = connect(bundle, config, ahead)
    received = connection.pull(1.0, 30)
    np.testing.assert_array_equal(received.x_uv, sent)
    connection.close()
    kit.until(lambda: not amp.outlet.has_consumers(), "the end of the only inlet")


def test_nothing_is_opened_for_a_decoder_that_opens_its_cues_first(kit):
    amp = kit.Amplifier()
    ahead = Ahead(f"name={amp.name}", opens=False)
    ahead.look(0.5)
    assert not amp.outlet.has_consumers()
    assert len(lsl.Watch({"name": amp.name}, ahead=ahead).first_look()) == 1


def test_of_two_streams_that_answer_none_is_decoded(bundle, kit):
    amp = kit.Amplifier()
    twin = kit.Amplifier(name=amp.name, source_id="another")
    config = config_of(amp)
    ahead = Ahead(config.stream.query, opens=True)
    ahead.look(LATER_S)
    with pytest.raises(StreamRefusedError, match="2 streams answer"):
        connect(bundle, config, ahead)
    kit.until(lambda: not (amp.outlet.has_consumers() or twin.outlet.has_consumers()), "the end of what was opened")


@pytest.mark.parametrize(
    "spec",
    [
        {"format": "string", "labels": ("text",), "sfreq_hz": 0.0},
        {"n_channels": 4097, "labels": None, "sfreq_hz": 1.0},
        {"sfreq_hz": 2e6},
    ],
    ids=["text", "channels", "rate"],
)
def test_what_no_amplifier_sends_is_left_to_the_checks(spec, kit):
    amp = kit.Amplifier(**spec)
    ahead = Ahead(f"name={amp.name}", opens=True)
    ahead.look(LATER_S)
    (found,) = lsl.Watch({"name": amp.name}, ahead=ahead).first_look()
    assert ahead.take_inlet(found.uid) == 0
    assert not amp.outlet.has_consumers()


def test_what_nobody_takes_over_ends(kit):
    amp = kit.Amplifier()
    ahead = Ahead(f"name={amp.name}", opens=True)
    ahead.look(LATER_S)
    amp.wait_for_reader()
    del ahead
    kit.until(lambda: not amp.outlet.has_consumers(), "the end of the inlet")


def test_another_library_than_pylsls_is_not_taken_over(bundle, kit, monkeypatch, tmp_path):
    library = tmp_path / "liblsl.so"
    shutil.copy(Path(pylsl.__file__).parent / "lib" / "liblsl.so", library)
    monkeypatch.setenv("PYLSL_LIB", str(library))
    amp = kit.Amplifier()
    config = config_of(amp)
    ahead = Ahead(config.stream.query, opens=True)
    assert ahead.library == str(library)
    ahead.look(LATER_S)
    amp.wait_for_reader()
    connection = connect(bundle, config, ahead)
    amp.push(kit.eeg(5))
    assert len(connection.pull(1.0, 5).t_s) == 5
    connection.close()
    kit.until(lambda: not amp.outlet.has_consumers(), "the end of both inlets")


def test_without_the_library_nothing_is_asked(kit, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ahead = Ahead("type=EEG", opens=True)
    ahead.look(LATER_S)
    assert (ahead.library, ahead.take_resolver()) == ("", 0)


def test_a_bundle_that_is_missing_ends_the_stream_that_was_open_already(start, kit):
    amp = kit.Amplifier()
    child = start("serve", "no-such-bundle", "--query", f"name={amp.name}")
    assert child.wait() == 6
    assert "no-such-bundle" in child.said
    kit.until(lambda: not amp.outlet.has_consumers(), "the end of the inlet")
