"""`pretap verify --jitter-ms` fails if a session differs from its recording, or decides on other samples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from device_timestamps import Device
from pretap_realtime.check.recorded_parity import compare_recorded
from xdf_files import write_streams

N_TRIALS, N_WINDOW, FS, DELAY = 24, 50, 100.0, 2
DEVICE = Device(FS, 9, "quick", 0.003)


def perfect():
    """Rows of a log and of `score`, by trial: each decision is `DELAY` samples after the end of its trial."""
    live, offline = {}, {}
    for trial in range(1, N_TRIALS):
        sample = (trial + 1) * N_WINDOW - 1 + DELAY
        cue, p = f"trial/{trial}/end/left", {"left": 0.25, "right": 0.75}
        origin = {"t_s": 1e4 + trial, "cue_offset_s": 0.0, "eeg_offset_s": 0.0, "first_s": 1e4, "sample": sample}
        live[trial] = {"type": "verdict", "valid": True, "cue": cue, "p": p, "origin": origin}
        offline[trial] = {"why": "", "cue": cue, "p": dict(p), "sample": sample}
    return live, offline


@pytest.fixture
def judge(tmp_path, make_decoder):
    manifest = make_decoder(sfreq_hz=FS, n_window=N_WINDOW).manifest
    t_s = DEVICE.stamp(DEVICE.take(13.0), seed=0)
    eeg = {"name": "cap", "kind": "EEG", "format": "float32", "sfreq_hz": FS, "t_s": t_s}
    eeg |= {"values": np.zeros((len(t_s), 1)), "channels": [("C3", "EEG")]}

    def judge(live, offline, *, jitter_s=0.003):
        write_streams(tmp_path / "session.xdf", eeg)
        (tmp_path / "decisions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in live.values()))
        (tmp_path / "scored.json").write_text(json.dumps({"decisions": list(offline.values())}))
        return compare_recorded(tmp_path, tmp_path / "scored.json", manifest, n_trials=N_TRIALS, jitter_s=jitter_s)

    return judge


def move(rows, trial, n):
    (rows[trial]["origin"] if "origin" in rows[trial] else rows[trial])["sample"] += n


def test_a_perfect_session_passes_with_its_delay(judge):
    parity = judge(*perfect())
    assert (parity.passed, parity.n_expected, parity.n_decided, parity.n_settled) == (True, 23, 23, 18)
    assert (parity.delay_ms, parity.max_sample_error_ms, parity.allowed_ms) == (20.0, 0.0, 10.0)
    assert (parity.n_other_samples, parity.max_abs_diff, parity.n_covered) == (0, 0.0, 18)
    assert 0 < parity.max_uncertainty_ms < 10


def test_a_sample_next_to_the_right_one_passes_and_an_early_trial_is_not_judged(judge):
    live, offline = perfect()
    for trial, n in ((1, 5), (20, 1)):
        move(live, trial, n)
        move(offline, trial, n)
    parity = judge(live, offline)
    assert (parity.passed, parity.max_sample_error_ms) == (True, 10.0)


def _lose(live, offline):
    del live[7], offline[7]


def _lose_offline(live, offline):
    del offline[7]


def _withhold(live, offline):
    live[7]["valid"] = False


def _twice(live, offline):
    live["again"] = live[7]


def _other_sample(live, offline):
    move(offline, 7, 1)


def _other_p(live, offline):
    offline[7]["p"]["left"] += 2e-6


def _wrong_sample(live, offline):
    move(live, 20, 2)
    move(offline, 20, 2)


@pytest.mark.parametrize("spoil", [_lose, _lose_offline, _withhold, _twice, _other_sample, _other_p, _wrong_sample])
def test_each_kind_of_difference_fails(judge, spoil):
    live, offline = perfect()
    spoil(live, offline)
    assert judge(live, offline).passed is False


def test_with_more_jitter_samples_may_be_off_as_far_as_the_stated_uncertainty_says(judge):
    live, offline = perfect()
    _wrong_sample(live, offline)
    parity = judge(live, offline, jitter_s=0.01)
    assert (parity.allowed_ms, parity.n_covered) == (None, 17)
    assert parity.passed is False  # 17 of 18 trials are less than 95 %


def test_a_session_without_a_settled_trial_fails(judge):
    live, offline = perfect()
    for trial in range(6, N_TRIALS):
        del live[trial], offline[trial]
    parity = judge(live, offline)
    assert (parity.passed, parity.n_decided, parity.n_settled) == (False, 5, 0)
