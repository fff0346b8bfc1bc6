"""A feed's account: what was taken, sent and lost, exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pretap.errors import UsageError
from pretap.recordings.recording import Event, Recording
from pretap_realtime.lsl.inlets import Inlet
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.replay.faults import BadDay, Mishap, inject, parse_plan
from pretap_realtime.replay.outlets import COUNTER_WRAPS_AT, LslFeed
from pretap_realtime.replay.pieces import Piece, pieces

CHANNELS = ("C3", "Cz", "C4")


def feed_all(*plans, said, name, counter="COUNT", **day):
    x = np.random.default_rng(0).normal(0, 20, (1000, 3)).astype(np.float32)
    played = Recording(CHANNELS, 100.0, 1000, (Event(5, "go"),), lambda start, stop: x[start:stop], "noise")
    feed = LslFeed(played, name=name, speed=1.0, unit="uV", counter=counter, say=said.append)
    bad = BadDay(plans=tuple(parse_plan(kind, text) for kind, text in plans), **day)
    for item in inject(pieces(played, n_chunk=7, loop=False), bad, sfreq_hz=100.0, channels=CHANNELS, unit="uV"):
        feed.suffer(item) if isinstance(item, Mishap) else feed.push(item, 50.0)
    return feed


def test_taken_is_sent_plus_lost_and_the_report_says_which(tmp_path):
    said = []
    plans = (("gap", "@1:200"), ("disconnect", "@1.5:500"), ("nan", "@3:100"), ("unit-flip", "@4:100"))
    account = feed_all(*plans, said=said, name="account").account
    account.write(tmp_path / "account.json")
    told = json.loads((tmp_path / "account.json").read_text())
    assert told["n_taken"] == told["n_sent"] + told["n_lost"]
    assert told["n_lost"] == sum(lost["n_samples"] for lost in told["lost"])
    assert {"first_n": 400, "n_samples": 10} in told["lost"]
    assert told["n_nonfinite"] == 10
    assert (told["t0_s"], told["n_markers"]) == (50.0, 1)
    assert [(c["first_n"], c["last_n"] + 1, c["unit"]) for c in told["connected"]] == [
        (0, 150, "uV"),
        (200, 400, "uV"),
        (410, told["n_taken"], "V"),
    ]
    assert said == [
        "account: 1.000 s: gap: 20 samples lost, for 200 ms",
        "account: 1.500 s: disconnect: disconnected for 500 ms",
        "account: 2.000 s: connect: connected again: values in uV",
        said[3],
        "account: 4.000 s: disconnect: disconnected for 100 ms",
        "account: 4.100 s: connect: connected again: values in V",
    ]
    assert "is NaN for 100 ms" in said[3]


def test_a_report_that_cannot_be_written_says_so(tmp_path):
    account = feed_all(said=[], name="unwritable").account
    with pytest.raises(UsageError, match="Cannot write"):
        account.write(tmp_path / "nowhere" / "account.json")


def test_the_counter_is_the_last_channel_and_starts_again_where_a_float32_stops_counting():
    x = np.zeros((4, 3), np.float32)
    played = Recording(CHANNELS, 100.0, 4, (), lambda start, stop: x[start:stop], "zeros")
    feed = LslFeed(played, name="counted", speed=1.0, unit="uV", counter="COUNT", say=pytest.fail)
    (found,) = StreamResolver({"name": "counted"}).wait(2.0)
    inlet = Inlet(found)
    assert inlet.description.labels == (*CHANNELS, "COUNT")
    inlet.open(order=(3,), factors=(1.0,))
    feed.push(Piece(COUNTER_WRAPS_AT - 2, x, np.arange(4) / 100, ()), 50.0)
    got = []
    for _ in range(50):
        chunk = inlet.pull(0.1, 4)
        got += chunk.x_uv[:, 0].tolist() if chunk is not None else []
        if len(got) == 4:
            break
    assert got == [COUNTER_WRAPS_AT - 2, COUNTER_WRAPS_AT - 1, 0, 1]
