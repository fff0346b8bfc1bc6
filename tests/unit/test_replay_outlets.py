"""Outlets and report of a replay: which samples were taken, sent and lost, exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pretap.errors import UsageError
from pretap.recordings.recording import Event, Recording
from pretap_realtime.lsl.inlets import Inlet
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.replay.faults import Fault, FaultSettings, parse_schedule
from pretap_realtime.replay.injector import inject
from pretap_realtime.replay.outlets import COUNTER_WRAPS_AT, LslFeed
from pretap_realtime.replay.pieces import Piece, pieces

CHANNELS = ("C3", "Cz", "C4")


def replayed(*schedules, said, name, report_file=None):
    """Return the report of a replay with these faults."""
    x = np.random.default_rng(0).normal(0, 20, (1000, 3)).astype(np.float32)
    played = Recording(CHANNELS, 100.0, 1000, (Event(5, "go"),), lambda start, stop: x[start:stop], "noise")
    feed = LslFeed(played, name=name, speed=1.0, unit="uV", counter="COUNT", report_file=report_file, say=said.append)
    settings = FaultSettings(schedules=tuple(parse_schedule(kind, text) for kind, text in schedules))
    for item in inject(pieces(played, n_chunk=7, loop=False), settings, sfreq_hz=100.0, channels=CHANNELS, unit="uV"):
        feed.apply(item) if isinstance(item, Fault) else feed.send(item, 50.0)
    feed.close()


def test_the_report_lists_what_was_sent_and_lost(tmp_path):
    said = []
    schedules = (("gap", "@1:200"), ("disconnect", "@1.5:500"), ("nan", "@3:100"), ("unit-flip", "@4:100"))
    replayed(*schedules, said=said, name="account", report_file=tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [each["kind"] for each in report["mishaps"]][:2] == ["gap", "disconnect"]
    assert set(report["mishaps"][2]["wiring"]) == {"unit", "order", "said_unit", "said_order"}
    assert "words" in report["mishaps"][0]
    assert report["n_taken"] == report["n_sent"] + report["n_lost"]
    assert report["n_lost"] == sum(lost["n_samples"] for lost in report["lost"])
    assert {"first_n": 400, "n_samples": 10} in report["lost"]
    assert report["n_nonfinite"] == 10
    assert (report["t0_s"], report["n_markers"]) == (50.0, 1)
    assert [(c["first_n"], c["last_n"] + 1, c["unit"]) for c in report["connected"]] == [
        (0, 150, "uV"),
        (200, 400, "uV"),
        (410, report["n_taken"], "V"),
    ]
    assert said[:-1] == [
        "account: 1.000 s: gap: 20 samples lost, for 200 ms",
        "account: 1.500 s: disconnect: disconnected for 500 ms",
        "account: 2.000 s: connect: reconnected: values in uV",
        said[3],
        "account: 4.000 s: disconnect: disconnected for 100 ms",
        "account: 4.100 s: connect: reconnected: values in V",
    ]
    assert "is NaN for 100 ms" in said[3]


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(UsageError, match="Cannot write"):
        replayed(said=[], name="unwritable", report_file=tmp_path / "nowhere" / "report.json")


def test_the_counter_is_the_last_channel_and_wraps_at_the_limit_of_float32():
    x = np.zeros((4, 3), np.float32)
    played = Recording(CHANNELS, 100.0, 4, (), lambda start, stop: x[start:stop], "zeros")
    feed = LslFeed(played, name="counted", speed=1.0, unit="uV", counter="COUNT", say=pytest.fail)
    (found,) = StreamResolver({"name": "counted"}).wait(60.0)
    inlet = Inlet(found)
    assert inlet.description.labels == (*CHANNELS, "COUNT")
    inlet.open(order=(3,), factors=(1.0,))
    feed.send(Piece(COUNTER_WRAPS_AT - 2, x, np.arange(4) / 100, ()), 50.0)
    got = []
    for _ in range(50):
        chunk = inlet.pull(0.1, 4)
        got += chunk.x_uv[:, 0].tolist() if chunk is not None else []
        if len(got) == 4:
            break
    assert got == [COUNTER_WRAPS_AT - 2, COUNTER_WRAPS_AT - 1, 0, 1]
