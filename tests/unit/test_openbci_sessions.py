"""Twelve sessions of the OpenBCI GUI, recorded by LabRecorder: late packets, backlogs of 0.9 s, and real losses."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pretap.config.train import TrainConfig, TrialsConfig
from pretap.networks import LstmSpec
from pretap.recordings.continuous import open_recording
from pretap.recordings.xdf.sample_times import sample_times
from pretap_offline.trials.cut import cut_trials
from pretap_realtime.signal.losses import LossDetector

FS = 125.0
SESSIONS = [(head, session) for head in (1, 2) for session in range(1, 7)]
UNBROKEN = [(2, 1), (2, 2), (2, 3), (2, 6)]
BROKEN = [(1, 2), (1, 3), (2, 4)]
RECIPE = TrainConfig(
    network=LstmSpec(hidden=(2,)),
    events={"left": ("2.0*",), "right": ("1.0*",)},
    trials=TrialsConfig(window_ms=(500.0, 2500.0), reject_uv=0.0, flat_uv=0.0),
)
AT_A_BREAK = {"across a break", "in a span marked bad", "in a pause or outside the recording"}


@pytest.fixture
def recording(openbci_dir, request):
    head, session = request.param
    return open_recording(openbci_dir / f"head-{head}" / f"session-{session}.xdf")


def timestamps(recording):
    return recording.timestamps_s(0, recording.n_samples)


@pytest.mark.parametrize("recording", UNBROKEN, ids=str, indirect=True)
def test_a_session_without_losses_is_one_piece_at_the_nominal_rate(recording):
    assert (recording.segments, recording.bad) == ((0,), ())
    assert sample_times(timestamps(recording), FS).rate_hz == pytest.approx(FS, rel=0.0025)


@pytest.mark.parametrize("recording", BROKEN, ids=str, indirect=True)
def test_a_session_with_losses_reports_breaks_and_how_much_was_lost(recording):
    t_s = timestamps(recording)
    late = (t_s - t_s[0]) * FS - np.arange(len(t_s))  # (n_samples,)
    ten_s = round(10 * FS)
    # Backlogs only delay, so that the earliest timestamps of both ends differ by what was lost for good.
    shift = np.quantile(late[-ten_s:], 0.05) - np.quantile(late[:ten_s], 0.05)
    assert len(recording.segments) > 1
    assert sample_times(t_s, FS).n_lost == pytest.approx(shift, rel=0.2)
    n_breaks = len(recording.segments) - 1
    pattern = rf"The timestamps have {n_breaks} breaks?; [1-9]\d* samples were lost\."
    assert any(re.fullmatch(pattern, note) for note in recording.notes)


@pytest.mark.parametrize("recording", SESSIONS, ids=str, indirect=True)
def test_the_rate_within_pieces_is_nominal_and_undetectable_losses_are_named(recording):
    assert sample_times(timestamps(recording), FS).rate_hz == pytest.approx(FS, rel=0.005)
    assert any(note.endswith("shorter losses cannot be detected.") for note in recording.notes)


@pytest.mark.parametrize("recording", [(2, 1), (2, 2), (2, 6)], ids=str, indirect=True)
def test_at_the_events_the_live_sample_is_that_of_the_recording(recording):
    losses, t_s = LossDetector(sfreq_hz=FS), timestamps(recording)
    live_s = losses.check(np.zeros((len(t_s), 1), np.float32), t_s).times_s
    apart = []
    for event in recording.events:
        live = int(np.abs(live_s - recording.event_s(event)).argmin())
        apart.append(abs(live - event.sample))
    assert len(apart) >= 10
    assert np.median(apart) <= 1
    assert np.quantile(apart, 0.95) <= 3


@pytest.mark.parametrize("recording", SESSIONS, ids=str, indirect=True)
def test_every_event_is_kept_unless_it_meets_a_break(recording):
    _, report = cut_trials([recording], RECIPE)
    (file,) = report.files
    reasons = dict(file.dropped)
    assert sum(file.n_trials) + sum(reasons.values()) == sum(file.n_events)
    assert reasons.keys() <= (AT_A_BREAK if len(recording.segments) > 1 else set())
    assert sum(file.n_trials) >= 0.9 * sum(file.n_events)
