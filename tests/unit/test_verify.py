"""`pretap verify` fails for each way in which live decisions can differ from offline ones."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pretap_realtime.check.live_run import Collected
from pretap_realtime.check.verify import compare
from pretap_realtime.send.messages import Message

N_TRIALS, TRIAL_S, T0_S = 6, 0.5, 100.0
OFFLINE = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4], [0.3, 0.7], [0.75, 0.25]])


def end_s(trial):
    return T0_S + trial * TRIAL_S + 0.499


def perfect():
    live = Collected()
    for trial, p in enumerate(OFFLINE):
        label = ("left", "right")[int(p.argmax())]
        message = Message(
            type="verdict",
            seq=trial,
            label=label,
            p={"left": p[0], "right": p[1]},
            state="RUNNING",
            t=end_s(trial),
            sent=end_s(trial) + 0.002 * (trial + 1),
            cue=f"trial/{trial}/end",
        )
        live.verdicts.append(message)
        live.rows.append((end_s(trial), np.array([*p, 1.0], np.float32)))
        live.cues[f"trial/{trial}/end"] = end_s(trial)
        live.n_codes += 1
    return live


@pytest.fixture
def manifest(make_decoder):
    return make_decoder(sfreq_hz=1000.0, n_window=500).manifest


def judge(live, manifest, *, real_time=True):
    return compare(live, OFFLINE, manifest, real_time=real_time)


def change(live, trial, **fields):
    live.verdicts[trial] = msgspec.structs.replace(live.verdicts[trial], **fields)


def test_a_perfect_session_passes_with_its_latencies(manifest):
    parity = judge(perfect(), manifest)
    assert parity.passed is True
    assert (parity.n_expected, parity.n_received, parity.n_lost, parity.n_extra) == (6, 6, 0, 0)
    assert parity.max_abs_diff == 0.0
    assert parity.max_stamp_error_ms == 0.0
    assert parity.latency_ms == {"p50": 6.0, "p95": 12.0, "p99": 12.0}


def test_a_replay_that_is_not_in_real_time_has_no_latency(manifest):
    parity = judge(perfect(), manifest, real_time=False)
    assert (parity.passed, parity.latency_ms) == (True, None)


def test_the_time_of_a_marker_that_was_missed_follows_from_a_later_one(manifest):
    live = perfect()
    del live.cues["trial/0/end"], live.cues["trial/1/end"]
    assert judge(live, manifest).passed is True


def _lose(live):
    del live.verdicts[3], live.rows[3]
    live.n_codes -= 1


def _repeat(live):
    live.verdicts.append(live.verdicts[0])


def _swap(live):
    live.verdicts[1], live.verdicts[2] = live.verdicts[2], live.verdicts[1]


def _no_markers(live):
    live.cues.clear()


def _missed(live):
    live.n_missed = 1


def _row(live):
    live.rows[2] = (live.rows[2][0], live.rows[2][1] + np.float32(2e-6))


def _row_stamp(live):
    live.rows[2] = (live.rows[2][0] + 0.001, live.rows[2][1])


def _code(live):
    live.n_codes += 1


@pytest.mark.parametrize(
    "spoil",
    [
        _lose,
        _repeat,
        _swap,
        _no_markers,
        _missed,
        _row,
        _row_stamp,
        _code,
        lambda live: change(live, 4, p={"left": 0.3 + 1.1e-6, "right": 0.7}),
        lambda live: change(live, 4, label="left"),
        lambda live: change(live, 4, t=end_s(4) + 0.001),
        lambda live: change(live, 4, valid=False, why="gap", label="none", p={}),
    ],
)
def test_each_kind_of_difference_fails(manifest, spoil):
    live = perfect()
    spoil(live)
    assert judge(live, manifest).passed is False


def test_a_run_without_messages_fails_without_crashing(manifest):
    parity = judge(Collected(), manifest)
    assert (parity.passed, parity.n_received, parity.n_lost) == (False, 0, 6)
