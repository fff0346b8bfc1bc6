"""The updates for the monitor's page, and the positions of electrodes."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from pretap_realtime.monitor.dashboard import Dashboard
from pretap_realtime.monitor.positions import positions
from pretap_realtime.monitor.view import About, Cursor, Update, View

CLASSES = ("left", "right")


def test_electrodes_have_positions_and_other_channels_have_none():
    left, middle, right, other = positions(["EEG C3-Ref", "cz", "C4", "COUNTER"])
    assert left[0] == pytest.approx(-right[0], abs=0.02)
    assert middle == pytest.approx((0, 0), abs=0.01)
    assert other is None
    assert positions(["Fpz"])[0][1] > 0.7  # the nose is up


def test_the_channel_a2_of_a_large_cap_is_not_shown_at_the_ear():
    assert positions(["A1", "A2"])[1][0] > 1
    cap = [f"{bank}{k}" for bank in "ABCD" for k in range(1, 33)]
    assert positions(cap)[0] == pytest.approx((0, 0), abs=0.01)  # its A1 is at the vertex
    assert positions(cap)[1] is None


def test_an_update_is_json_that_a_browser_reads():
    board = Dashboard(CLASSES)
    board.add_probabilities(np.array([[0.25, 0.75, 1.0]], np.float32), np.array([3.5]), now_s=3.5)
    update = Update(about=About(places=[None, (0.5, 0.5)]), decisions=board.decisions.since(0), now=4.0)
    read = json.loads(msgspec.json.encode(update))
    assert read["decisions"] == [[3.5, [0.25, 0.75]]]
    assert read["about"]["places"] == [None, [0.5, 0.5]]


def test_each_browser_gets_everything_once_and_a_new_service_starts_afresh():
    view = View()
    view.start_service("anna", CLASSES)
    view.describe_streams(service="anna")
    view.dashboard.add_note("hello", t_s=1.0)
    update, frame, cursor = view.update(Cursor(), now_s=2.0, with_figures=False)
    assert (update.fresh, update.about.service, [event.text for event in update.events]) == (True, "anna", ["hello"])
    assert update.figures is not None
    assert frame == b""
    update, _, cursor = view.update(cursor, now_s=2.1, with_figures=False)
    assert update == Update(now=2.1)
    view.start_service("anna", CLASSES)
    assert not view.update(cursor, now_s=2.2, with_figures=False)[0].fresh
    view.start_service("ben", CLASSES)
    assert view.update(cursor, now_s=2.3, with_figures=False)[0].fresh


def test_traces_start_afresh_if_the_channels_or_the_rate_change():
    view = View()
    view.start_eeg(("C3", "C4"), 100.0)
    view.describe_streams(channels=("C3", "C4"), sfreq_hz=100.0)
    view.traces.append(np.ones((5, 2), np.float32), np.arange(5) / 100)
    frame, cursor = view.update(Cursor(), now_s=1.0, with_figures=False)[1:]
    assert len(frame) == 16 + 5 * (8 + 2 * 4)
    view.start_eeg(("C3", "C4"), 100.0)
    assert view.update(cursor, now_s=1.0, with_figures=False)[1] == b""
    assert view.traces.n == 5
    view.start_eeg(("C3", "C4"), 200.0)
    assert view.traces.n == 0
